"""The code blocks of a page."""

from __future__ import annotations

import re


def fenced(text: str, language: str) -> list[str]:
    """What stands in this language on the page, block by block, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
