"""Values that somebody still has to fill in, as they stay behind in a copied example file."""

from __future__ import annotations

import re

from jarvis_secretsd.values import SecretValue

MAX_LENGTH = 120
"""A longer text is a key or a certificate; nobody writes so long a hint."""

_SIGNS = {
    "it is empty": r"\s*",
    "it asks to be changed": r"""
        (?:.*[^a-z0-9])? change [ _.-]? (?:me|this|it|now|in|before) \w*  (?:[^a-z0-9].*)?
        | (?:.*[^a-z0-9])? be [ _-] (?:changed|updated|replaced) (?:[^a-z0-9].*)?
        """,
    "it asks to be filled in": r"""
        (?:replace|insert|enter|put|paste|generate) [ _-] .*
        | (?:todo|tbd|fixme|placeholder|replaceme|fill[ _-]?me) (?:[^a-z0-9].*)?
        """,
    "it says what should be there": r"""
        (?:my|your) (?:[ _.-]+ (?:[a-z]+|\d+))+ | your (?:api)? (?:password|secret|token|key) \w*
        | .* [ _-] here
        """,
    "it is a word in brackets": r"""
        < [\w .,:/'-]+ > | \[ [\w ./'-]+ \] | \{\{ .+ \}\} | __ \w+ __ | % [a-z_]+ %
        """,
    "it is a reference that nothing filled in": r"\$ (?-i:[A-Z_]{3,}) | \$\{ [^{}]+ \}",
    "it is made of x's, dots or stars": r".{0,12}? (?:x{3,}|\*{3,}|\.{3,}) (?:-x+)* | .* x{8,} .*",
    "it is one character over and over": r"(?P<one>.) (?P=one){3,}",
    "it is an example": r"(?:.*[^a-z0-9])? (?:example|sample|dummy) (?:[^a-z0-9].*)?",
    "it stands for nothing": r"null | none | nil | undefined | n/?a | -",
    "it is among the first that anybody tries": r"""
        (?:pass | passw(?:or)?d | p[@a]ssw[o0]rd | secret | supersecret | admin | root | test
        | default | postgres | letmein | qwerty | foobar | changeit | 12345\d*) [0-9!]{0,4}
        """,
}
_PATTERNS = {
    reason: re.compile(pattern, re.VERBOSE | re.IGNORECASE | re.DOTALL)
    for reason, pattern in _SIGNS.items()
}


def placeholder(value: SecretValue) -> str | None:
    """Why the value looks like one that was never filled in, in words without it; or None."""
    if not value.is_text or len(value) > MAX_LENGTH:
        return None
    text = value.reveal_text()
    return next((why for why, sign in _PATTERNS.items() if sign.fullmatch(text)), None)
