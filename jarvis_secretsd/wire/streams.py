"""How the messages of a watch are said: as frames, or as server-sent events (WHATWG HTML, 9.2).

A watch's reply only begins its stream. The connection carries nothing else from then on.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from jarvis_secretsd.messages import RequestId, Told
from jarvis_secretsd.wire.codec import encode_body, encode_reply
from jarvis_secretsd.wire.frames import pack

_HEARTBEAT = b":\n\n"
"""A comment, which every reader of events passes over."""

_LAST_CHUNK = b"0\r\n\r\n"


class Stream(Protocol):
    """What follows a reply. `opening` stands in the reply's place."""

    @property
    def opening(self) -> bytes: ...
    @property
    def closing(self) -> bytes: ...
    def say(self, told: Told) -> bytes: ...


class FramedStream(Struct, frozen=True):
    """Each message is a frame, under the id of the request. Nothing opens or ends it."""

    id: RequestId | None = None
    opening: bytes = b""
    closing: bytes = b""

    def say(self, told: Told) -> bytes:
        """The frame that says this."""
        return pack(encode_reply(told, self.id))


class EventStream(Struct, frozen=True):
    """Each message is an event whose id is its `seq`, and a chunk where HTTP has them."""

    is_chunked: bool

    @property
    def opening(self) -> bytes:
        """The head of the response."""
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Cache-Control: no-store\r\nConnection: close\r\n"
        )
        return head + (b"Transfer-Encoding: chunked\r\n\r\n" if self.is_chunked else b"\r\n")

    @property
    def closing(self) -> bytes:
        """What says that it is over, and wasn't cut off."""
        return _LAST_CHUNK if self.is_chunked else b""

    def say(self, told: Told) -> bytes:
        """The event that says this."""
        event = _event(told)
        return b"%x\r\n%b\r\n" % (len(event), event) if self.is_chunked else event


def _event(told: Told) -> bytes:
    if told == Told():
        return _HEARTBEAT
    id = b"" if told.seq is None else b"id: %d\n" % told.seq
    return b"%bdata: %b\n\n" % (id, encode_body(told))
