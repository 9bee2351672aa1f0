"""JSON <-> messages, for both dialects and both ends."""

from __future__ import annotations

import re
from typing import cast

from msgspec import UNSET, DecodeError, Struct, ValidationError, structs

from jarvis_secretsd.errors import InvalidRequest, MalformedInput
from jarvis_secretsd.messages import (
    MAX_PAGE,
    AnyOperation,
    Failure,
    FailureInfo,
    List,
    Operation,
    Reply,
    Request,
    RequestId,
    Rotated,
)
from jarvis_secretsd.values import BearerToken, ClientId
from jarvis_secretsd.wire.shapes import (
    ENCODER,
    MAX_ID_BYTES,
    STRANGER,
    FoundText,
    HttpError,
    NothingRotated,
    R,
    Refusal,
    Success,
    answer_decoder,
    body_decoder,
    frame_decoder,
    frame_type,
)

MAX_MESSAGE = 300
"""A message may quote a field's name, which the sender chose; this much of it explains."""

# msgspec lets these three through; of ValueError UnicodeDecodeError is one.
_FAULTS = (DecodeError, ValueError, RecursionError)


class Asked(Struct, frozen=True):
    """What a frame asks for, or why it can't. `last`: it follows no rule, so the talk ends."""

    what: Request | Failure
    id: RequestId | None = None
    last: bool = False


def encode_request(
    operation: Operation,
    client: ClientId | None = None,
    token: BearerToken | None = None,
    id: RequestId | None = None,
) -> bytes:
    """The body of the frame that asks for this."""
    frame = frame_type(type(operation))
    fields = structs.astuple(operation)
    return ENCODER.encode(frame(*fields, client=client, token=token, id=id))


def decode_request(body: bytes) -> Asked:
    """What the body of a frame asks for. Never raises: what is wrong with it is the answer.

    A list without `limit` gets that of a page, because a frame can't hold any number of names.
    """
    try:
        frame = frame_decoder().decode(body)
        _check_id(frame.id)
        operation = frame.operation()
    except _FAULTS as fault:
        return _refused(body, fault)
    if isinstance(operation, List) and operation.limit is None:
        operation = List(operation.after, MAX_PAGE)
    return Asked(Request(operation, frame.client, frame.token), frame.id)


def encode_reply(reply: Reply, id: RequestId | None = None) -> bytes:
    """The body of the frame that answers the request of this id."""
    told = UNSET if id is None else id
    if isinstance(reply, Failure):
        return ENCODER.encode(Refusal(told, False, reply))
    return ENCODER.encode(Success(told, True, reply))


def decode_reply(body: bytes, result: type[R]) -> R | Failure:
    """What the daemon answered to a request for `result`. Raises MalformedInput."""
    try:
        answer = answer_decoder(result).decode(body)
        given = answer.result if answer.ok else answer.error
        if isinstance(given, FoundText):
            given = given.found()
    except _FAULTS as fault:
        raise MalformedInput(f"not a reply: {explain(fault)}") from None
    if given is None:
        raise MalformedInput("not a reply: it has neither a result nor an error")
    return cast("R | Failure", given)


def decode_body(body: bytes, operation: type[Operation]) -> AnyOperation:
    """The operation whose fields an HTTP body holds; no body holds none. Raises InvalidRequest."""
    try:
        return body_decoder(operation).decode(body or b"{}").operation()
    except _FAULTS as fault:
        raise InvalidRequest(explain(fault)) from None


def encode_body(reply: Reply) -> bytes:
    """The HTTP body that says this."""
    if isinstance(reply, Failure):
        return ENCODER.encode(HttpError(reply.code, reply.message, reply.reason or UNSET))
    if isinstance(reply, Rotated) and (first := nothing_rotated(reply)):
        each = structs.astuple(reply)
        return ENCODER.encode(NothingRotated(first.code, first.message, *each))
    return ENCODER.encode(reply)


def nothing_rotated(reply: Rotated) -> FailureInfo | None:
    """The first name's error, if all names failed and none is on its way."""
    if reply.rotated or reply.pending:
        return None
    return next(iter(reply.failed.values()), None)


def explain(fault: Exception) -> str:
    """What is wrong and where, without a word of any value: it may be a secret."""
    match fault:
        case UnicodeDecodeError():
            return "not UTF-8"
        case RecursionError():
            return "nested too deeply"
        case DecodeError():
            return _printable(_QUOTED_VALUE.sub("Not a value that can stand here", str(fault)))
        case _:
            return "a number has too many digits, or a text isn't what it is said to be"


_QUOTED_VALUE = re.compile(r"(?s)^Invalid (enum )?value .*(?= - at `)")
"""msgspec quotes the value only where an enumeration or the tag was expected."""


def _printable(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text[:MAX_MESSAGE])
    return shown if len(text) <= MAX_MESSAGE else f"{shown}..."


def _check_id(id: RequestId | None) -> None:
    if isinstance(id, str) and len(id.encode()) > MAX_ID_BYTES:
        raise ValidationError(f"Expected `str` of at most {MAX_ID_BYTES} bytes - at `$.id`")


def _refused(body: bytes, fault: Exception) -> Asked:
    """A wrong request is told so under its id; what isn't an object with a valid id ends all."""
    try:
        body.decode()
        stranger = STRANGER.decode(body)
        _check_id(stranger.id)
    except _FAULTS as malformed:
        return Asked(Failure(MalformedInput.code, explain(malformed)), last=True)
    return Asked(Failure(InvalidRequest.code, explain(fault)), stranger.id)
