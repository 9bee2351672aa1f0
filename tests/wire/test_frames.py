"""Frames: what their length says holds, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.errors import TooLarge
from jarvis_secretsd.wire.frames import MAX_FRAME, Frames, pack


def _split(pieces: list[bytes]) -> list[bytes]:
    frames = Frames()
    found = []
    for piece in pieces:
        frames.feed(piece)
        while (body := frames.next()) is not None:
            found.append(body)
    return found


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(1, 9))
def test_bodies_come_back_however_the_stream_is_cut(bodies: list[bytes], step: int) -> None:
    """What was packed comes out whole and in order, in pieces of any size."""
    stream = b"".join(map(pack, bodies))
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert _split(pieces) == bodies == _split([stream])


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 0x47455420, 0xFFFFFFFF])
def test_a_length_out_of_bounds_is_refused_before_its_body_comes(length: int) -> None:
    """Four bytes are enough to refuse; `GET ` read as a length is such a case."""
    frames = Frames()
    frames.feed(length.to_bytes(4, "big"))
    with pytest.raises(TooLarge, match=f"{length:,}"):
        frames.next()


def test_the_largest_frame_passes_and_one_byte_more_does_not() -> None:
    """The limit belongs to what is allowed, at both ends."""
    largest = b"x" * MAX_FRAME
    assert _split([pack(largest)]) == [largest]
    with pytest.raises(TooLarge):
        pack(largest + b"x")
    with pytest.raises(TooLarge):
        pack(b"")


def test_a_frame_begins_with_a_zero_byte() -> None:
    """So no frame can be taken for HTTP, nor HTTP for a frame."""
    assert pack(b"x" * MAX_FRAME)[0] == 0 == pack(b"x")[0]


def test_a_cut_frame_is_partial_until_its_last_byte() -> None:
    """A short read is never taken for a frame."""
    frames = Frames()
    for byte in pack(b"ab"):
        assert frames.next() is None
        frames.feed(bytes([byte]))
        assert frames.partial
    assert frames.next() == b"ab"
    assert not frames.partial
