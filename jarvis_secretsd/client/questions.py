"""Operations -> the frames that ask, and back: what blocking and asyncio clients have in common."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypedDict, TypeVar

from jarvis_secretsd import messages as m
from jarvis_secretsd.client.access import Access
from jarvis_secretsd.client.errors import BadRequest, DaemonUnreachable
from jarvis_secretsd.errors import MalformedInput, TooLarge
from jarvis_secretsd.values import Kind, SecretName, SecretValue
from jarvis_secretsd.wire.codec import decode_reply, encode_request
from jarvis_secretsd.wire.frames import pack
from jarvis_secretsd.wire.table import TABLE

if TYPE_CHECKING:
    from jarvis_secretsd.client.url import Address

R = TypeVar("R", bound=m.Result)

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two attempts while a daemon is waited for; each pause doubles."""

_REPEATABLE = (
    m.Health
    | m.WhoAmI
    | m.Get
    | m.List
    | m.Versions
    | m.Can
    | m.TokenList
    | m.AuditHead
    | m.AuditLog
    | m.Denials
    | m.SignJwt
    | m.VerifyJwt
    | m.Jwks
)


def is_repeatable(operation: m.Operation) -> bool:
    """Does it change nothing, so that asking twice is asking once?"""
    return isinstance(operation, _REPEATABLE)


def is_confidential(operation: m.Operation, access: Access) -> bool:
    """Could whoever hears it use it: a secret's value, or somebody's token?"""
    if access.token is not None or isinstance(operation, m.VerifyJwt):
        return True
    return isinstance(operation, m.Put) and operation.value is not None


def framed(operation: m.Operation, access: Access) -> bytes:
    """The frame that asks for this. Raises BadRequest."""
    try:
        return pack(encode_request(operation, access.claim, access.token))
    except TooLarge:
        raise BadRequest(
            "too_large", "this text is too large once it is escaped; put it as bytes"
        ) from None


def answers_in(
    bodies: Iterable[bytes], result: type[R], address: Address
) -> tuple[R | m.Failure, ...]:
    """What these frames say. Raises DaemonUnreachable where they aren't a daemon's."""
    try:
        return tuple(decode_reply(body, result) for body in bodies)
    except MalformedInput as error:
        raise DaemonUnreachable(f"what answers at {address} is not the daemon") from error


def result_of(operation: m.Operation) -> type[m.Result]:
    """The result that an operation has on the wire."""
    return next(row.result for row in TABLE if row.operation is type(operation))


class Care(TypedDict, total=False):
    """What a put may say of a secret besides its value; what it doesn't say stays (docs/wire.md).

    `expect_kid` is the kid that must be current, "" that the name must not exist. `length` and
    `alphabet` say how a value is generated, now and later.
    """

    kind: Kind | None
    rotation_days: int | None
    grace_days: int | None
    auto_rotate: bool | None
    expect_kid: str | None
    length: int | None
    alphabet: str | None


def put_of(name: SecretName, value: SecretValue | None, care: Care) -> m.Put:
    """To store this value, or to have one generated."""
    encoding: Literal["base64"] | None = None if value is None or value.is_text else "base64"
    return m.Put(name, None if value is None else _text(value), encoding, **care)


def _text(value: SecretValue) -> str:
    """The value as it stands in a request."""
    if value.is_text:
        return value.reveal_text()
    return base64.b64encode(value.reveal()).decode()
