"""Frames -> requests, and what opens with neither a frame nor HTTP."""

from __future__ import annotations

from msgspec import Struct

from jarvis_secretsd.errors import MalformedInput, TooLarge
from jarvis_secretsd.messages import Failure, Reply, Request, RequestId, Watch
from jarvis_secretsd.wire.codec import decode_request, encode_reply
from jarvis_secretsd.wire.frames import MAX_FRAME, Frames, pack
from jarvis_secretsd.wire.streams import FramedStream


class FramedExchange(Struct, frozen=True):
    """A frame's request, and how its reply is said."""

    asked: Request | Failure
    id: RequestId | None = None
    last: bool = False
    stream: FramedStream | None = None

    def render(self, reply: Reply) -> bytes:
        """The frame that says this, or that it has no room for it."""
        if self.stream is not None and not isinstance(reply, Failure):
            return self.stream.opening
        body = encode_reply(reply, self.id)
        if len(body) > MAX_FRAME:
            limit = f"the reply is longer than a frame ({MAX_FRAME:,} bytes); ask for it over HTTP"
            body = encode_reply(Failure(TooLarge.code, limit), self.id)
        return pack(body)


class FramedRequests:
    """Splits a stream of frames into requests; a malformed one is the last."""

    def __init__(self) -> None:
        self._frames = Frames()

    @property
    def partial(self) -> bool:
        """Do bytes wait that no request was made of?"""
        return self._frames.partial

    def feed(self, data: bytes) -> None:
        """Take in what arrived, cut anywhere."""
        self._frames.feed(data)

    def next(self) -> FramedExchange | None:
        """The next request, or None until more is fed."""
        try:
            body = self._frames.next()
        except TooLarge as fault:
            return FramedExchange(Failure(fault.code, fault.message), last=True)
        if body is None:
            return None
        asked = decode_request(body)
        stream = FramedStream(asked.id) if _is_watch(asked.what) else None
        return FramedExchange(asked.what, asked.id, asked.last, stream)


def _is_watch(asked: Request | Failure) -> bool:
    return isinstance(asked, Request) and isinstance(asked.operation, Watch)


class SilentExchange(Struct, frozen=True):
    """An opening that is no dialect of ours. It is counted, and gets no answer to learn from."""

    asked: Request | Failure = Failure(MalformedInput.code, "neither a frame nor HTTP")
    last: bool = True
    stream: None = None

    def render(self, reply: Reply) -> bytes:
        """Nothing."""
        return b""


class UnknownDialect:
    """What a TLS hello, or a program that took the wrong port, gets."""

    partial = False

    def feed(self, data: bytes) -> None:
        """Nothing is kept."""

    def next(self) -> SilentExchange:
        """The end."""
        return SilentExchange()
