"""Conversations: the first byte decides, replies keep their order, and what is held is bounded."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.messages import Failure, Get, Health, Listing, Request
from jarvis_secretsd.values import SecretName
from jarvis_secretsd.wire.conversation import Conversation
from jarvis_secretsd.wire.frames import MAX_FRAME
from tests.wire.talk import FOUND, TCP, UNIX, answer, frames, get, hold, post, responses, talk

HEALTH = b'{"op":"health"}'


def test_frames_and_http_mean_the_same() -> None:
    """Two dialects, one request."""
    framed = talk(frames(b'{"op":"get","name":"a","client":"web"}')).asked
    assert framed == talk(get("/secret/a", "X-Jarvis-Client: web")).asked
    assert isinstance(framed[0], Request)
    assert framed[0].operation == Get(SecretName("a"))


def test_no_opening_of_two_bytes_executes_anything() -> None:
    """Of all 65,536, none is a request, and none makes what another program says next one."""
    behind = b"\r\n\r\n" + get("/secret/a") + frames(b'{"op":"get","name":"a"}')
    for opening in range(65536):
        conversation = Conversation(TCP)
        conversation.feed(opening.to_bytes(2, "big"))
        conversation.feed(behind)
        assert not any(isinstance(asked, Request) for asked in conversation.take(9))


@pytest.mark.parametrize(
    "opening", [b"\x16\x03\x01\x02\x00\x01", b"get / HTTP/1.1\r\n\r\n", b"\r\n", b"\xff", b"{"]
)
def test_another_opening_is_counted_and_gets_no_answer(opening: bytes) -> None:
    """A TLS hello, lower case, JSON without a frame: refused in silence."""
    conversation = talk(opening)
    assert [type(asked) for asked in conversation.asked] == [Failure]
    assert (conversation.output, conversation.closing) == (b"", True)


def test_a_dialect_is_for_the_whole_connection() -> None:
    """HTTP behind a frame is a frame out of bounds; a frame behind HTTP is malformed HTTP."""
    conversation = talk(frames(HEALTH) + get("/secret/a"))
    assert [type(asked) for asked in conversation.asked] == [Request, Failure]
    conversation = talk(get("/healthz") + frames(HEALTH))
    assert [type(asked) for asked in conversation.asked] == [Request, Failure]


@pytest.mark.parametrize("length", [b"\0\0\0\0", b"\0\x10\0\1", b"\0\xff\xff\xff"])
def test_a_frame_out_of_bounds_gets_an_error_and_the_end(length: bytes) -> None:
    """Before its body is there."""
    conversation = talk(length)
    assert json.loads(conversation.output[4:])["error"]["code"] == "too_large"
    assert conversation.closing


def test_a_malformed_frame_is_the_last() -> None:
    """Nothing behind it is read: there is no resynchronising."""
    conversation = talk(frames(HEALTH, b"{", HEALTH))
    assert [type(asked) for asked in conversation.asked] == [Request, Failure]
    assert conversation.closing


def test_a_wrong_request_is_not_the_last() -> None:
    """An error under its id, and the next is answered."""
    conversation = talk(frames(b'{"op":"nope","id":1}', b'{"op":"health","id":2}'))
    assert [type(asked) for asked in conversation.asked] == [Failure, Request]
    assert not conversation.closing


def test_a_reply_too_long_for_a_frame_says_so() -> None:
    """The connection goes on, and the message says how to get it."""
    conversation = Conversation(UNIX)
    conversation.feed(frames(b'{"op":"list","id":9}'))
    conversation.take(1)
    conversation.reply(Listing((), "x" * MAX_FRAME))
    reply = json.loads(conversation.output()[4:])
    assert (reply["id"], reply["error"]["code"]) == (9, "too_large")
    assert not conversation.closing


@pytest.mark.parametrize("one", [get("/healthz"), frames(HEALTH)])
def test_pipelined_requests_are_taken_a_few_at_a_time(one: bytes) -> None:
    """Each turn has its limit; the rest waits, and none is lost."""
    conversation = Conversation(UNIX)
    conversation.feed(one * 5)
    sizes = []
    while conversation.backlog:
        sizes.append(len(conversation.take(2)))
    assert sizes == [2, 2, 1]
    assert conversation.unanswered == 5
    assert not conversation.mid_request


def test_replies_keep_the_order_of_requests() -> None:
    """The oldest unanswered is the one that is answered, under its id."""
    conversation = Conversation(UNIX)
    conversation.feed(frames(*(b'{"op":"health","id":%d}' % n for n in range(3))))
    for asked in conversation.take(3):
        conversation.reply(answer(asked))
    replies = conversation.output().split(b'{"id":')[1:]
    assert [reply[:1] for reply in replies] == [b"0", b"1", b"2"]
    assert conversation.output() == b""


def test_a_hundred_continue_waits_for_the_replies_before_it() -> None:
    """It belongs to the last request, so it may not stand before an earlier one's response."""
    conversation = Conversation(UNIX)
    body = b'{"name":"a","value":"v"}'
    conversation.feed(get("/healthz") + post("/secret", body, "Expect: 100-continue")[: -len(body)])
    (asked,) = conversation.take(9)
    assert conversation.output() == b""
    conversation.reply(answer(asked))
    assert [each.status for each in responses(conversation.output())] == [200, 100]
    conversation.feed(body)
    (asked,) = conversation.take(9)
    conversation.reply(answer(asked))
    assert [each.status for each in responses(conversation.output())] == [200]


def test_a_hundred_continue_is_left_out_when_the_body_came_unasked() -> None:
    """The response to the body says it all; RFC 9110, 10.1.1."""
    conversation = Conversation(UNIX)
    stream = post("/secret", b'{"name":"a","value":"v"}', "Expect: 100-continue")
    conversation.feed(get("/healthz") + stream)
    taken = conversation.take(9)
    for asked in taken:
        conversation.reply(answer(asked))
    assert [each.status for each in responses(conversation.output())] == [200, 200]


@pytest.mark.parametrize("request_", [post("/restore", b'{"name":"a"}'), frames(HEALTH)])
def test_a_peer_in_the_middle_of_a_request_is_known(request_: bytes) -> None:
    """From its first byte to its last, and not between requests."""
    conversation = Conversation(UNIX)
    assert not conversation.mid_request
    for byte in request_[:-1]:
        conversation.feed(bytes([byte]))
        assert conversation.mid_request
    conversation.feed(request_[-1:])
    assert not conversation.mid_request
    conversation.take(1)
    assert not conversation.mid_request


@pytest.mark.parametrize("request_", [get("/healthz"), frames(HEALTH)])
def test_what_came_before_the_end_is_answered(request_: bytes) -> None:
    """A peer that shuts its side still gets its replies; its half a request gets none."""
    conversation = Conversation(UNIX)
    conversation.feed(request_ * 2 + request_[:-1])
    conversation.feed_eof()
    assert not conversation.closing
    taken = conversation.take(1) + conversation.take(1)
    assert [type(asked) for asked in taken] == [Request, Request]
    assert conversation.closing
    assert not conversation.mid_request
    for asked in taken:
        conversation.reply(answer(asked))
    assert conversation.output()


def test_an_end_before_anything_is_an_end() -> None:
    """A peer that connects and goes is no failure."""
    conversation = Conversation(UNIX)
    conversation.feed_eof()
    assert conversation.closing
    assert not conversation.backlog


def test_nothing_is_taken_in_behind_the_last_request() -> None:
    """Input to a closing conversation is ignored, so it costs no memory."""
    conversation = Conversation(UNIX)
    conversation.feed(get("/healthz", "Connection: close"))
    conversation.feed(get("/healthz"))
    assert len(conversation.take(9)) == 1
    conversation.feed(get("/healthz"))
    assert not conversation.backlog


@given(
    st.lists(
        st.sampled_from(
            [get("/healthz"), post("/restore", b'{"name":"a"}'), get("/x"), post("/x", b"{}")]
        ),
        max_size=5,
    ),
    st.integers(1, 80),
)
def test_a_stream_means_the_same_in_pieces_of_any_size(requests: list[bytes], step: int) -> None:
    """Where the network cuts is nobody's business."""
    stream = b"".join(requests)
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert hold(pieces, UNIX) == hold([stream], UNIX)
    assert len(hold(pieces, UNIX).asked) == len(requests)


@given(
    st.binary(max_size=80),
    st.sampled_from(
        [
            b"",
            b"\0\0\0\x0f",
            b"GET /healthz HTTP/1.1\r\n",
            b"POST /secret HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
        ]
    ),
)
def test_no_bytes_raise(noise: bytes, opening: bytes) -> None:
    """Whatever a peer sends, the conversation goes on or ends; it never breaks."""
    hold([opening + noise, noise], TCP)


def test_health_needs_nobody() -> None:
    """Neither client nor token: what a probe sends."""
    (asked,) = talk(b"GET /healthz HTTP/1.0\r\n\r\n").asked
    assert asked == Request(Health())
    assert FOUND.value.reveal()
