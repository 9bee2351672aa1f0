"""A signed token as it travels: header, claims and signature in base64url (RFC 7515, 7.1).

Reading is strict: one way to write each token, and nothing in it chooses how it is verified.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, encode

from jarvis_secretsd.errors import InvalidToken
from jarvis_secretsd.values import Kid

ALGORITHM = "EdDSA"
"""RFC 8037. RFC 9864 calls it `Ed25519`, which today's verifiers don't know."""

MAX_TOKEN = 8192
"""Characters. What common servers take as one header line, in which tokens travel."""


class Jws(Struct, frozen=True):
    """A token taken apart. Nothing of it is to be believed before `signature` is verified.

    `signed` is what the key that `kid` names must have signed, `payload` its claims in JSON.
    """

    kid: Kid
    payload: bytes
    signed: bytes
    signature: bytes


def to_sign(kid: Kid, claims: dict[str, Any]) -> bytes:
    """Header and claims as they are signed: ASCII, without the third part."""
    header = {"alg": ALGORITHM, "typ": "JWT", "kid": str(kid)}
    return f"{_base64url(encode(header))}.{_base64url(encode(claims))}".encode()


def token_of(signed: bytes, signature: bytes) -> str:
    """The whole token."""
    return f"{signed.decode()}.{_base64url(signature)}"


def take_apart(token: str) -> Jws:
    """The parts of a token that says it is ours. Raises InvalidToken."""
    if len(token) > MAX_TOKEN:
        raise InvalidToken(f"a token is at most {MAX_TOKEN:,} characters long")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidToken("a token is three parts, joined by dots")
    header, payload, signature = map(_from_base64url, parts)
    signed, _, _ = token.rpartition(".")
    return Jws(_kid(read_object(header, "header")), payload, signed.encode(), signature)


def read_object(text: bytes, part: str) -> dict[str, Any]:
    """The JSON object that this part of a token is. Raises InvalidToken.

    A member that stands twice is an error: two readers could take a different one for true.
    """
    try:
        found = _OBJECT.decode(text)
        json.loads(text, object_pairs_hook=_all_different)
    except (DecodeError, ValueError, RecursionError):
        raise InvalidToken(f"its {part} isn't a JSON object, or repeats a member") from None
    return found


def _kid(header: dict[str, Any]) -> Kid:
    """The key that the header names; `alg` may only say what is so anyway (RFC 8725, 3.1)."""
    if header.get("alg") != ALGORITHM:
        raise InvalidToken(f"its alg isn't {ALGORITHM}, and no other is accepted")
    if "crit" in header:
        raise InvalidToken("its header asks for extensions (crit), and none is known here")
    try:
        return Kid(header["kid"])
    except (KeyError, TypeError, ValueError):
        raise InvalidToken("its header names no key of this daemon (kid)") from None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(part: str) -> bytes:
    """The bytes of base64url without padding. What isn't written as we would is refused."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        data = b""
    if _base64url(data) != part:
        raise InvalidToken("its parts must be base64url, without padding")
    return data


def _all_different(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member stands twice")
    return found


_OBJECT = Decoder(dict[str, Any])
