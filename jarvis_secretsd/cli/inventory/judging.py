"""Does a variable hold a secret? Its name says so often, its value sometimes; neither is sure."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.rotation import DEFAULT_KINDS
from jarvis_secretsd.values import Kind, SecretValue

LEAST_RANDOM = 20
"""Characters from which on a text can look random."""

RANDOM_BITS = 2.8
"""Shannon entropy of its characters: what repeats has less."""

RANDOM_CHANGES = 0.3
"""Changes between a-z, A-Z and 0-9 for each character: words have fewer."""

_KINDS = [(Pattern.of(text), kind) for kind, patterns in DEFAULT_KINDS.items() for text in patterns]
_SECRET_WORDS = re.compile(
    r"(?:^|_)(?:PASS|PWD|PASSPHRASE|PASSCODE|SECRETS?|CREDENTIALS?|CREDS|DSN|SALT|PEPPER|PIN"
    r"|(?:PRIVATE|SIGNING|ACCESS|SSH|SHARED|HMAC|LICEN[SC]E)_?KEYS?|AUTH)(?:_|\d|$)|_KEYS?$"
)
_PLAIN_NAME = re.compile(
    r"(?:^|_)PUBLIC(?:_|$)|_(?:FILE|PATH|DIR|TTL|URL|HOST|PORT|LENGTH|LIMIT|ALGORITHM|ALGO|TYPE"
    r"|EXPIR\w*|MINUTES|SECONDS|SECS|HOURS|DAYS|ENABLED|HEADER|ISSUER|METHOD)$|^MAX_|(?:^|_)TOKENS$"
    r"|_(?:PRIMARY|FOREIGN|CACHE|SORT)_KEY$"
)
_PLAIN_VALUE = re.compile(
    r"(?i)true|false|yes|no|on|off|[0-9]{1,5}(?:\.[0-9]+)?|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_SHAPES = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"),
    "a URL with a password": re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s:@]*:[^/?#\s@]+@[\s\S]*"),
    "a JSON Web Token": re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"),
    "a token of a known service": re.compile(
        r"(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)[-_][\w-]{8,}|sk-[A-Za-z0-9]{20,}|gh[pousr]_\w{20,}"
        r"|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}"
        r"|AIza[\w-]{35}|hvs\.[\w-]{20,}|jst_[\w-]{40,}|npm_\w{30,}|dckr_pat_[\w-]{20,}|SG\.[\w.-]{40,}"
    ),
}
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9+/=_-]+")


def why_secret(variable: str, value: SecretValue | None) -> str | None:
    """Why this looks like a secret, in words without its value; None where it doesn't.

    `value` None is one that couldn't be read.
    """
    text = value.reveal_text() if value is not None and value.is_text else ""
    shape = next((what for what, sign in _SHAPES.items() if sign.fullmatch(text)), None)
    if shape is not None:
        return f"its value is {shape}"
    if _PLAIN_VALUE.fullmatch(text) and not _is_password(variable):
        return None
    if _says_secret(variable):
        return "its name"
    return "its value looks random" if _is_random(text) else None


def _says_secret(variable: str) -> bool:
    name = variable.upper()
    if _PLAIN_NAME.search(name):
        return False
    kind = _kind_of(variable)
    return kind not in (None, Kind.STATIC) or _SECRET_WORDS.search(name) is not None


def _is_password(variable: str) -> bool:
    return _kind_of(variable) is Kind.PASSWORD


def _kind_of(variable: str) -> Kind | None:
    """What kind of secret the daemon would take it for by its name, if the name says any."""
    name = variable.lower()
    return next((kind for pattern, kind in _KINDS if pattern.matches(name)), None)


def _is_random(text: str) -> bool:
    """Letters and digits in no order: neither words, nor a path, nor a number."""
    if len(text) < LEAST_RANDOM or not _TOKEN_LIKE.fullmatch(text) or text.count("/") > 3:
        return False
    kinds = ["0" if char.isdigit() else "A" if char.isupper() else "a" for char in text]
    changes = sum(one != other for one, other in pairwise(kinds))
    counts = Counter(text).values()
    bits = -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
    return "0" in kinds and changes >= RANDOM_CHANGES * len(text) and bits >= RANDOM_BITS
