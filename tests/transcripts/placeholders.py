"""Words for what differs from run to run, chosen so that a wrong one still shows.

The same id has the same number wherever it stands, and a day says how far it is from today.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

from jarvis_secretsd import __version__

_UID = os.geteuid()
_DAY = r"\d{4}-\d\d-\d\d"

_PATTERNS: Mapping[str, str] = {
    "TOKEN": r"\bjst_[\w-]{43}(?![\w-])",
    "FINGERPRINT": r"\bSHA256:[0-9a-f]{64}\b",
    "LOG": r"\b[0-9a-f]{32}\b",
    "ID": r"\b[0-9a-f]{16}\b",
    "SLOT": r"(?m:^)[0-9a-f]{8}(?=  )",
    "TIME": rf"\b{_DAY}T\d\d:\d\d:\d\d(?:\.\d{{6}})?Z",
    "DAY": rf"\b{_DAY}\b",
    "CLOCK": r"(?<=\d-\d\d )\d\d:\d\d:\d\d\b",
    "UPTIME": r"(?<=\bup )\d+ seconds?\b|(?<=\"uptime_secs\":)\d+\b",
    "VERSION": rf"(?:(?<=\bversion )|(?<=\"version\":\")){re.escape(__version__)}\b",
    "SEQ": r"(?<=\"seq\":)\d+\b",
    "UID": rf"(?<=\"uid\":){_UID}\b|(?<=\badd ){_UID}(?= to `users`)",
    "GID": rf"(?<=\"gid\":){os.getegid()}\b",
    "PID": r"(?<=\"pid\":)\d+\b",
}
"""What each word stands for. An id is a kid, or a token's."""


def today() -> date:
    """The day as the daemon counts it."""
    return datetime.now(UTC).date()


class Placeholders:
    """Puts words in the place of ids, tokens, days, times, the user and the directory."""

    def __init__(self, directory: Path, day: date) -> None:
        self._day = day
        self._seen: dict[str, list[str]] = {"ID": [], "TOKEN": []}
        patterns = {**_PATTERNS, "DIR": re.escape(str(directory)), "USER": _user()}
        patterns["NAME"] = _name()
        self._pattern = re.compile("|".join(f"(?P<{w}>{p})" for w, p in patterns.items()))

    def __call__(self, text: str) -> str:
        """The text with these words; columns stay where they are."""
        return self._pattern.sub(self._placed, text)

    def _placed(self, found: re.Match[str]) -> str:
        is_cell = found.string.startswith("  ", found.end())
        return self._word(found).ljust(len(found[0]) if is_cell else 0)

    def _word(self, found: re.Match[str]) -> str:
        match found.lastgroup:
            case "ID" | "TOKEN" as kind:
                seen = self._seen[kind]
                if found[0] not in seen:
                    seen.append(found[0])
                return f"{kind}-{seen.index(found[0]) + 1}"
            case "DAY":
                return self._days(found[0])
            case "TIME":
                return f"{self._days(found[0][:10])}@TIME"
            case word:
                return str(word)

    def _days(self, text: str) -> str:
        """The day by its distance, where it is one."""
        with suppress(ValueError):
            ahead = (date.fromisoformat(text) - self._day).days
            return f"TODAY{ahead:+}" if ahead else "TODAY"
        return text


def _name() -> str:
    """The user's name alone, as a table has it beside a client's."""
    with suppress(KeyError):
        return rf"(?<=\(){re.escape(pwd.getpwuid(_UID).pw_name)}(?=\))"
    return rf"(?<=\()uid {_UID}(?=\))"


def _user() -> str:
    """The user as messages name them: by name and uid, or by uid alone."""
    alone = rf"\buid {_UID}\b|(?<=\bchecked as ){_UID}\b"
    with suppress(KeyError):
        return rf"\b{re.escape(pwd.getpwuid(_UID).pw_name)} \(uid {_UID}\)|{alone}"
    return alone
