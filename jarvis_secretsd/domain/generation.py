"""New values: what the daemon can make by itself, and in which form."""

from __future__ import annotations

import base64
import string
from collections.abc import Callable

from jarvis_secretsd.errors import Conflict, InvalidRequest
from jarvis_secretsd.messages import Generate
from jarvis_secretsd.values import Kid, Kind, SecretValue

Fresh = Callable[[int], bytes]
"""Gives so many fresh random bytes; the caller of the domain brings it."""

SAFE_ALPHABET = string.ascii_letters + string.digits + "-_"
"""Means itself in a URL, a shell word and an SQL string."""

MAX_LENGTH = 4096
"""Longer generated values are a mistake: no program takes such a password."""

KEY_BYTES = 32

_LENGTHS = {Kind.PASSWORD: 64, Kind.API_KEY: 32, Kind.TOKEN: 43}
_ALPHABETS = {Kind.API_KEY: string.ascii_letters + string.digits}
_KEYS = frozenset({Kind.JWT_SIGNING_KEY, Kind.ENCRYPTION_KEY})


def can_generate(kind: Kind) -> bool:
    """The daemon can make a value of this kind: it was neither issued elsewhere nor chosen."""
    return kind in _LENGTHS or kind in _KEYS


def generate(wish: Generate, fresh: Fresh) -> SecretValue:
    """A new value: a key is base64 of 32 bytes, anything else characters of an alphabet.

    Raises InvalidRequest for a length or alphabet that can't be, Conflict for a kind that is only
    issued elsewhere.
    """
    check(wish)
    if wish.kind in _KEYS:
        return SecretValue(base64.b64encode(fresh(KEY_BYTES)))
    if wish.kind not in _LENGTHS:
        raise Conflict(
            f"a secret of kind {wish.kind} isn't made here; put the value that its issuer gave you"
        )
    return SecretValue(_draw(*_measures(wish), fresh).encode())


def check(wish: Generate) -> None:
    """Raises InvalidRequest for a length or alphabet by which no value of the kind can be made."""
    if wish.length is None and wish.alphabet is None:
        return
    if wish.kind in _KEYS:
        raise InvalidRequest(f"a {wish.kind} is base64 of {KEY_BYTES} bytes; leave out length")
    if wish.kind in _LENGTHS:
        _check(*_measures(wish))


def new_kid(fresh: Fresh) -> Kid:
    """A new version's key id."""
    return Kid(fresh(8).hex())


def _measures(wish: Generate) -> tuple[int, str]:
    """Length and alphabet."""
    length = _LENGTHS[wish.kind] if wish.length is None else wish.length
    return length, wish.alphabet or _ALPHABETS.get(wish.kind, SAFE_ALPHABET)


def _check(length: int, alphabet: str) -> None:
    if not 8 <= length <= MAX_LENGTH:
        raise InvalidRequest(f"length is {length}; it can be 8 to {MAX_LENGTH}")
    if len(set(alphabet)) != len(alphabet) or not 10 <= len(alphabet) <= 94:
        raise InvalidRequest("an alphabet is 10 to 94 different characters")
    if not all("!" <= character <= "~" for character in alphabet):
        raise InvalidRequest("an alphabet has only printable ASCII characters, and no space")


def _draw(length: int, alphabet: str, fresh: Fresh) -> str:
    """Each character with equal chance; no leading hyphen, which commands take for an option."""
    unbiased = 256 - 256 % len(alphabet)
    drawn = ""
    while len(drawn) < length:
        for byte in fresh(length):
            character = alphabet[byte % len(alphabet)]
            if byte < unbiased and not (drawn == "" and character == "-"):
                drawn += character
    return drawn[:length]
