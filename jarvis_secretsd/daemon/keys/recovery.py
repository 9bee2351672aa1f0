"""The recovery code: 160 random bits that a person can write down, read back, and mistype.

Crockford's base32 (no I, L, O, U) with four check characters, in nine groups of four:
`7K3M-9QXT-…`. So much randomness can't be searched, so a fast hash may derive a key from it.
"""

from __future__ import annotations

import os
from hashlib import blake2b

from jarvis_secretsd.errors import KeyRefused

CODE_BYTES = 20
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHARACTERS = 36
_GROUP = 4
_CHECK_BITS = 20
_TOLERATED = str.maketrans("OIL", "011", " -\t\r\n")


def new_recovery_code() -> str:
    """A new code, to be shown once."""
    return format_recovery_code(os.urandom(CODE_BYTES))


def format_recovery_code(secret: bytes) -> str:
    """`secret` (20 bytes) with its check characters, as groups joined by hyphens."""
    number = int.from_bytes(secret) << _CHECK_BITS | _check(secret)
    places = range((_CHARACTERS - 1) * 5, -1, -5)
    text = "".join(_DIGITS[number >> place & 31] for place in places)
    return "-".join(text[i : i + _GROUP] for i in range(0, _CHARACTERS, _GROUP))


def parse_recovery_code(text: str) -> bytes:
    """The 20 bytes of a code, whatever its case, spaces and hyphens, with O for 0 and I, L for 1.

    Raises KeyRefused, which says what is wrong and never repeats the code.
    """
    code = text.upper().translate(_TOLERATED)
    if len(code) != _CHARACTERS:
        raise KeyRefused(f"a recovery code has {_CHARACTERS} characters, this one has {len(code)}")
    number = 0
    for place, character in enumerate(code):
        digit = _DIGITS.find(character)
        if digit < 0:
            raise KeyRefused(
                f"character {place % _GROUP + 1} of group {place // _GROUP + 1} is in no code"
            )
        number = number << 5 | digit
    secret = (number >> _CHECK_BITS).to_bytes(CODE_BYTES)
    if _check(secret) != number & (1 << _CHECK_BITS) - 1:
        raise KeyRefused("the recovery code is mistyped: its check characters don't fit the rest")
    return secret


def _check(secret: bytes) -> int:
    digest = blake2b(secret, digest_size=4, person=b"jarvis-check").digest()
    return int.from_bytes(digest) >> 32 - _CHECK_BITS
