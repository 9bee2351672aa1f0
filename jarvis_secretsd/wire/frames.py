"""Frames: four bytes, big-endian length N, then N bytes, which are the codec's business."""

from __future__ import annotations

from jarvis_secretsd.errors import TooLarge

MAX_FRAME = 1024 * 1024
"""Room for the largest value in base64, or as text four times over. Below 16 MiB on purpose: so a
frame's first byte is always 0x00, which no HTTP method and no TLS hello begins with."""

_LENGTH = 4


def pack(body: bytes) -> bytes:
    """The frame around `body`. Raises TooLarge over 1 MiB."""
    if not 1 <= len(body) <= MAX_FRAME:
        raise TooLarge(_limit(len(body)))
    return len(body).to_bytes(_LENGTH, "big") + body


class Frames:
    """Splits a stream into the bodies of its frames; holds at most one frame and what was fed.

    After an error nothing of the stream can be trusted: there is no resynchronising.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Do bytes wait that no `next` has taken?"""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take in what arrived, cut anywhere."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole body, or None until more is fed.

        Raises TooLarge as soon as a length is out of bounds, before its body arrives.
        """
        if len(self._buffer) < _LENGTH:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH], "big")
        if not 1 <= length <= MAX_FRAME:
            raise TooLarge(_limit(length))
        end = _LENGTH + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_LENGTH:end])
        del self._buffer[:end]
        return body


def _limit(length: int) -> str:
    return f"a frame is 1 to {MAX_FRAME:,} bytes long, this one says {length:,}"
