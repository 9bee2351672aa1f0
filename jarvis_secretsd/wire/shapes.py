"""The shapes that JSON has on the wire, made from the messages.

A frame's object is an operation's fields beside the envelope `op`, `client`, `token`, `id`. An HTTP
body is the fields alone, so there `client` is free to be the operation's subject.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from functools import cache, reduce
from operator import attrgetter, or_
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct, structs
from msgspec.json import Decoder, Encoder

from jarvis_secretsd.errors import Reason
from jarvis_secretsd.messages import (
    AnyOperation,
    Failure,
    FailureInfo,
    Found,
    Operation,
    RequestId,
    Result,
)
from jarvis_secretsd.values import BearerToken, ClientId, Kid, SecretName, SecretValue
from jarvis_secretsd.wire.table import TABLE

MAX_ID_BYTES = 64
"""An id is repeated in the reply and means nothing to us."""

Id = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    | Annotated[str, Meta(max_length=MAX_ID_BYTES)]
    | None
)

R = TypeVar("R", bound=Result)


class Fields(Struct):
    """The base of the classes that are made from the operations, to decode into."""

    def operation(self) -> AnyOperation:
        """The operation that these fields are."""
        raise NotImplementedError


class Envelope(Fields, kw_only=True, omit_defaults=True, tag_field="op"):
    """What a frame says beside the operation's own fields."""

    client: ClientId | None = None
    token: BearerToken | None = None
    id: Id = None


class Stranger(Struct):
    """Any object at all, for the id of a request that is otherwise wrong."""

    id: Id = None


class Success(Struct):
    """A frame that answers with a result."""

    id: RequestId | UnsetType
    ok: Literal[True]
    result: Result


class Refusal(Struct):
    """A frame that says why not."""

    id: RequestId | UnsetType
    ok: Literal[False]
    error: Failure


class Answer(Struct, Generic[R]):
    """Either of the two as the client reads it. What a newer daemon adds is passed over."""

    ok: bool
    result: R | None = None
    error: Failure | None = None


class FoundText(Result, frozen=True):
    """`Found` before its encoding is undone: a value's base64 may be longer than a value may be."""

    name: SecretName
    value: str
    kid: Kid
    expires_at: datetime
    version: int
    encoding: Literal["base64"] | None = None

    def found(self) -> Found:
        """The message. Raises ValueError when the value isn't what `encoding` says."""
        if self.encoding:
            value = SecretValue(base64.b64decode(self.value, validate=True), is_text=False)
        else:
            value = SecretValue.from_text(self.value)
        return Found(self.name, value, self.kid, self.expires_at, self.version, self.encoding)


class HttpError(Struct):
    """The body of an HTTP error."""

    error: str
    message: str
    reason: Reason | UnsetType = UNSET


class NothingRotated(Struct):
    """`Rotated` under the status of an error: reads as an error, and says each name's own."""

    error: str
    message: str
    rotated: tuple[SecretName, ...]
    rotated_count: int
    pending: tuple[SecretName, ...]
    failed: dict[str, FailureInfo]


@cache
def frame_type(operation: type[Operation]) -> type[Envelope]:
    """The object of a frame that asks for this; its fields in the operation's order come first."""
    made = defstruct(
        f"{operation.__name__}Frame",
        _declared(operation),
        bases=(Envelope,),
        namespace={"operation": _constructor(operation)},
        tag=operation.__struct_config__.tag,
        forbid_unknown_fields=True,
    )
    return cast("type[Envelope]", made)


@cache
def body_decoder(operation: type[Operation]) -> Decoder[Fields]:
    """Reads the HTTP body that asks for this: no tag, and the names that bodies use."""
    made = defstruct(
        f"{operation.__name__}Body",
        _declared(operation),
        bases=(Fields,),
        namespace={"operation": _constructor(operation)},
        rename={field.name: field.encode_name for field in structs.fields(operation)},
        forbid_unknown_fields=True,
    )
    return Decoder(cast("type[Fields]", made), dec_hook=_construct)


@cache
def answer_decoder(result: type[Result]) -> Decoder[Answer[Any]]:
    """Reads the frame that answers a request for this result."""
    shape = FoundText if result is Found else result
    return Decoder(Answer[shape], dec_hook=_construct)  # type: ignore[valid-type]  # a type as data


def _declared(operation: type[Operation]) -> list[Any]:
    return [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in structs.fields(operation)
    ]


def _constructor(operation: type[Operation]) -> Callable[[Any], Operation]:
    """How fields become their operation: by position, which takes a tenth of what convert does."""
    names = operation.__struct_fields__
    if not names:
        whole = operation()
        return lambda self: whole
    pick = attrgetter(*names)
    if len(names) == 1:
        return lambda self: operation(pick(self))
    return lambda self: operation(*pick(self))


def _construct(kind: Any, text: object) -> object:
    if not isinstance(text, str):
        raise TypeError(f"Expected `str`, got `{type(text).__name__}`")
    return kind(text)


def _plain(value: object) -> str:
    """What msgspec can't write by itself. Here, and nowhere else in this room, a value leaves."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, SecretValue):
        if value.is_text:
            return value.reveal_text()
        return base64.b64encode(value.reveal()).decode()
    if isinstance(value, BearerToken):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} has no place on the wire")


ENCODER = Encoder(enc_hook=_plain)

STRANGER: Decoder[Stranger] = Decoder(Stranger)


@cache
def frame_decoder() -> Decoder[Envelope]:
    """Reads a frame that asks for anything; made for the end that is asked."""
    shapes = (frame_type(row.operation) for row in TABLE if row.framed)
    return Decoder(cast("Any", reduce(or_, shapes)), dec_hook=_construct)
