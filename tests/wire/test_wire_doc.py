"""docs/wire.md: its examples are what the daemon says and takes, and nothing is left out of it."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from jarvis_secretsd import messages, values
from jarvis_secretsd.errors import Reason
from jarvis_secretsd.messages import Failure, Request, Result, Told
from jarvis_secretsd.wire import frames, guard, http, responses, shapes
from jarvis_secretsd.wire.codec import decode_reply, decode_request, encode_body, encode_reply
from jarvis_secretsd.wire.conversation import Conversation
from jarvis_secretsd.wire.table import TABLE, Row
from tests.fences import fenced
from tests.wire.talk import FOUND, TCP, UNIX, hold, post, talk

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
BLOCKS = re.findall(r"^```(\w+) ([^\n]+)\n(.*?)^```$", PAGE, flags=re.M | re.S)
FRAMED = [row for row in TABLE if row.framed]


def blocks(language: str, kind: str) -> list[tuple[str, str]]:
    """The rest of the info string, and the text, of each block of this kind."""
    return [
        (info.removeprefix(kind).strip(), text)
        for found, info, text in BLOCKS
        if found == language and info.split()[0] == kind
    ]


def asked(text: str) -> Request:
    """The request that this example is."""
    request = decode_request(text.encode()).what
    assert isinstance(request, Request), request
    return request


def test_every_block_is_checked() -> None:
    """An example of a kind that no test knows would be one that nobody checks."""
    kinds = {(language, info.split()[0]) for language, info, _ in BLOCKS}
    json_kinds = {("json", kind) for kind in ("request", "reply", "error", "body", "http-error")}
    assert kinds == json_kinds | {("http", "request"), ("http", "response")}
    assert PAGE.count("```") == 2 * (len(BLOCKS) + PAGE.count("```python\n"))


@pytest.mark.parametrize("text", [text for _, text in blocks("json", "request")])
def test_a_request_is_one(text: str) -> None:
    """The daemon takes it."""
    asked(text)


@pytest.mark.parametrize(("kind", "text"), blocks("json", "reply"))
def test_a_reply_is_what_the_daemon_says(kind: str, text: str) -> None:
    """Decoded and said again it is the same, member by member."""
    result: Any = decode_reply(text.encode(), getattr(messages, kind))
    assert not isinstance(result, Failure)
    example = json.loads(text)
    assert json.loads(encode_reply(result, example.get("id"))) == example


@pytest.mark.parametrize("text", [text for _, text in blocks("json", "error")])
def test_an_error_is_what_the_daemon_says(text: str) -> None:
    """In a frame and in the body of a response."""
    failure = decode_reply(text.encode(), messages.Found)
    assert isinstance(failure, Failure)
    example = json.loads(text)
    assert json.loads(encode_reply(failure, example.get("id"))) == example
    bodies = [json.loads(body) for _, body in blocks("json", "http-error")]
    if failure.reason:
        assert json.loads(encode_body(failure)) in bodies


@pytest.mark.parametrize(("where", "text"), blocks("json", "body"))
def test_a_body_is_taken_where_the_page_says(where: str, text: str) -> None:
    """By the method and at the path beside it."""
    method, path = where.split()
    assert method == "POST"
    (request,) = talk(post(path, text.strip().encode())).asked
    assert isinstance(request, Request), request


def said(request: str, reply: Result, *messages: Told) -> str:
    """What passes after a request of the page, with the page's ends of lines."""
    conversation = Conversation(TCP)
    conversation.feed(request.replace("\n", "\r\n").encode())
    assert len(conversation.take(2)) == 1
    conversation.reply(reply)
    for message in messages:
        conversation.say(message)
    return conversation.output().decode().replace("\r\n", "\n") + "\n"


def test_the_http_exchanges_are_to_the_byte() -> None:
    """Requests and responses are those that really pass."""
    (plain, watch), (found, events) = blocks("http", "request"), blocks("http", "response")
    assert said(plain[1], FOUND) == found[1]
    told = Told({FOUND.name: FOUND.kid}, 812)
    assert said(watch[1], Told(), told, Told()) == events[1]


class Line:
    """A connection to a daemon that knows one secret, as far as the page's client uses one."""

    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def makefile(self, mode: str) -> BytesIO:
        assert mode == "rb"
        return BytesIO(hold([self.sent], UNIX, lambda _: FOUND).output)


def test_the_client_on_the_page_works() -> None:
    """As it stands there, it gets a secret."""
    (source,) = fenced(PAGE, "python")
    page: dict[str, Any] = {}
    exec(source, page)
    assert page["call"](Line(), op="get", name=FOUND.name)["value"] == "s3cret"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.path)
def test_every_operation_is_on_the_page(row: Row) -> None:
    """With its place over HTTP and the name of each of its members."""
    path = row.path + ("NAME" if row.path.endswith("/") else "")
    assert f"`{row.method} {path}`" in PAGE
    assert all(f"{name}=" in PAGE for name in row.query)
    assert all(f"`{name.decode()}`" in PAGE.lower() for name, _ in row.headers.values())
    for field in structs.fields(row.operation):
        assert f"`{field.name}`" in PAGE
        assert f"`{field.encode_name}`" in PAGE


def test_every_operation_and_result_has_an_example() -> None:
    """Nobody has to guess what one looks like."""
    shown = {type(asked(text).operation) for _, text in blocks("json", "request")}
    assert shown == {row.operation for row in FRAMED}
    assert {kind for kind, _ in blocks("json", "reply")} == {row.result.__name__ for row in FRAMED}


def test_every_word_of_the_contract_is_on_the_page() -> None:
    """Codes with their status, reasons, kinds, states, permissions."""
    for code, status in responses._STATUS.items():
        assert re.search(rf"^\| `{code}` \| {status}\b", PAGE, flags=re.M)
    for words in (Reason, values.Kind, values.State, values.Permission):
        assert all(f"`{word}`" in PAGE for word in words)


def test_every_limit_on_the_page_is_the_one_in_force() -> None:
    """The numbers stand in the code once, and here as it has them."""
    limits = [
        frames.MAX_FRAME,
        guard.MAX_BODY,
        guard.MAX_HEAD,
        http.MAX_CHUNKING,
        messages.MAX_PAGE,
    ]
    limits += [
        values.MAX_VALUE_BYTES,
        values.MAX_NAME_BYTES,
        guard.MAX_HEADERS,
        shapes.MAX_ID_BYTES,
    ]
    table = PAGE.partition("## Limits")[2]
    assert all(f"{limit:,}" in table for limit in limits)
