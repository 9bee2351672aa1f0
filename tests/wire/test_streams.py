"""A watch on the wire: a reply, then messages, in both dialects, and nothing else."""

from __future__ import annotations

import json

import pytest

from jarvis_secretsd.messages import Failure, Get, Request, Told, Watch
from jarvis_secretsd.values import SecretName
from jarvis_secretsd.wire.conversation import Conversation
from jarvis_secretsd.wire.frames import Frames
from tests.wire.talk import FOUND, KID, NAME, UNIX, frames, get, responses

WATCH = get("/watch", "X-Jarvis-Client: backend")
FRAMED = frames(b'{"op":"watch","id":9}')
GET = get(f"/secret/{NAME}")
DENIED = Failure("denied", "the policy does not allow this")
CHANGE = Told({NAME: KID}, 812)


def begun(stream: bytes) -> Conversation:
    """A conversation whose one request, a watch, was allowed."""
    conversation = Conversation(UNIX)
    conversation.feed(stream)
    (request,) = conversation.take(9)
    assert isinstance(request, Request)
    assert isinstance(request.operation, Watch)
    conversation.reply(Told())
    return conversation


def asked(stream: bytes) -> Watch | Failure:
    """What the watch at the front of this stream asks for, or why it can't."""
    conversation = Conversation(UNIX)
    conversation.feed(stream)
    (request,) = conversation.take(1)
    if isinstance(request, Failure):
        return request
    assert isinstance(request.operation, Watch)
    return request.operation


def messages(output: bytes) -> list[object]:
    """What these frames say."""
    split, found = Frames(), list[object]()
    split.feed(output)
    while (body := split.next()) is not None:
        found.append(json.loads(body))
    assert not split.partial
    return found


@pytest.mark.parametrize(
    ("target", "headers", "watch"),
    [
        ("/watch", (), Watch()),
        ("/watch?names=a", (), Watch((SecretName("a"),))),
        ("/watch?names=a,b%2Fc", (), Watch((SecretName("a"), SecretName("b/c")))),
        ("/watch", ("Last-Event-ID: 812",), Watch(after=812)),
    ],
)
def test_http_asks_as_a_frame_does(target: str, headers: tuple[str, ...], watch: Watch) -> None:
    """Names stand in the query, and what was heard last in the header of readers of events."""
    assert asked(get(target, *headers)) == watch
    members = {"op": "watch", "names": watch.names, "after": watch.after}
    assert asked(frames(json.dumps(members).encode())) == watch


@pytest.mark.parametrize("target", ["/watch?names=", "/watch?names=a,", "/watch?names=a&names=b"])
def test_a_wrong_list_of_names_is_refused(target: str) -> None:
    """Nobody watches all because a variable was empty."""
    assert isinstance(asked(get(target)), Failure)


@pytest.mark.parametrize("id", ["", "x", "-1", "1, 2", "9" * 19])
def test_a_wrong_event_id_is_refused(id: str) -> None:
    """Only ids that this daemon can have sent."""
    refused = asked(get("/watch", f"Last-Event-ID: {id}"))
    assert isinstance(refused, Failure)
    assert refused.message.startswith("last-event-id: ")


def test_frames_say_only_the_messages() -> None:
    """Each under the id of the request; the first frame is the first message."""
    conversation = begun(FRAMED)
    assert conversation.output() == b""
    for told in (CHANGE, Told()):
        conversation.say(told)
    assert messages(conversation.output()) == [
        {"id": 9, "ok": True, "result": {"secrets": {NAME: KID}, "seq": 812}},
        {"id": 9, "ok": True, "result": {}},
    ]


def test_events_carry_an_id_only_where_one_can_go_on() -> None:
    """A part has none, so that nobody goes on after the middle of something."""
    conversation = begun(get("/watch").replace(b"1.1", b"1.0"))
    head = conversation.output()
    assert b"chunked" not in head
    conversation.say(Told({NAME: None}, more=True))
    conversation.say(CHANGE)
    conversation.end_stream()
    part, last, rest = conversation.output().split(b"\n\n")
    assert part == b'data: {"secrets":{"postgres_password":null},"more":true}'
    assert last.startswith(b"id: 812\ndata: ")
    assert rest == b""


def test_a_stream_in_chunks_ends_with_the_last_chunk() -> None:
    """So its reader knows that it wasn't cut off."""
    conversation = begun(WATCH)
    conversation.output()
    conversation.end_stream()
    assert conversation.output() == b"0\r\n\r\n"
    assert conversation.closing
    conversation.say(CHANGE)
    assert conversation.output() == b""


def test_head_tells_what_a_watch_would_be_and_begins_none() -> None:
    """The head of the stream, and the end."""
    conversation = Conversation(UNIX)
    conversation.feed(get("/watch", method="HEAD") + GET)
    assert len(conversation.take(9)) == 1
    conversation.reply(Told())
    (response,) = responses(conversation.output())
    assert response.headers["Content-Type"] == "text/event-stream"
    assert not conversation.is_streaming
    assert conversation.closing


@pytest.mark.parametrize("stream", [WATCH, FRAMED])
def test_whatever_is_said_to_a_stream_ends_it(stream: bytes) -> None:
    """A request that would never be answered isn't left without an answer."""
    for more in (GET, b"\0"):
        at_once = begun(stream + more)
        assert not at_once.is_streaming
        later = begun(stream)
        assert later.is_streaming
        later.feed(more)
        assert not later.is_streaming
        assert later.closing
        assert later.take(1) == []


@pytest.mark.parametrize("stream", [WATCH, FRAMED])
def test_the_end_of_the_peer_ends_the_stream(stream: bytes) -> None:
    """Also where it comes before the reply does."""
    conversation = begun(stream)
    conversation.feed_eof()
    assert not conversation.is_streaming
    early = Conversation(UNIX)
    early.feed(stream)
    early.feed_eof()
    early.take(1)
    assert not early.closing
    early.reply(Told())
    assert not early.is_streaming
    assert early.closing


def test_a_refused_watch_is_a_request_like_another() -> None:
    """The talk goes on with what came behind it, in both dialects."""
    for stream in (WATCH + GET, FRAMED + frames(b'{"op":"get","name":"postgres_password"}')):
        conversation = Conversation(UNIX)
        conversation.feed(stream)
        assert len(conversation.take(9)) == 1
        conversation.reply(DENIED)
        (request,) = conversation.take(9)
        assert isinstance(request, Request)
        assert request.operation == Get(NAME)
        conversation.reply(FOUND)
        assert not conversation.closing


def test_what_was_asked_before_is_answered_before() -> None:
    """A watch waits for its turn."""
    conversation = Conversation(UNIX)
    conversation.feed(GET + WATCH)
    assert len(conversation.take(9)) == 2
    conversation.reply(FOUND)
    conversation.reply(Told())
    conversation.say(CHANGE)
    first, second = conversation.output().split(b"HTTP/1.1 200 OK")[1:]
    assert b"s3cret" in first
    assert b"id: 812" in second
