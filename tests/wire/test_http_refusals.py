"""HTTP that is refused: what browsers send, what smugglers send, what is too much."""

from __future__ import annotations

import json

import pytest

from jarvis_secretsd.messages import Failure, Request
from jarvis_secretsd.wire.conversation import Conversation, WireRules
from jarvis_secretsd.wire.guard import MAX_BODY
from jarvis_secretsd.wire.http import MAX_CHUNKING
from tests.wire.talk import TCP, UNIX, chunked, get, hold, one, post, responses, talk

BROWSER = [
    "Origin: http://evil.example",
    "Origin: null",
    "Origin:",
    "Referer: http://localhost/",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Site: same-origin",
    "sec-fetch-dest: image",
]


def refused(stream: bytes, rules: WireRules, status: int) -> None:
    """The stream gets exactly this refusal, and the connection ends."""
    conversation = talk(stream, rules)
    (response,) = responses(conversation.output)
    assert response.status == status, response.body
    assert response.headers["Connection"] == "close"
    assert all(isinstance(asked, Failure) for asked in conversation.asked)
    assert conversation.closing


@pytest.mark.parametrize("rules", [UNIX, TCP])
@pytest.mark.parametrize("header", BROWSER)
def test_a_browsers_request_is_refused(header: str, rules: WireRules) -> None:
    """Whatever it asks for, on either listener, before anything else is looked at."""
    refused(get("/secret/a", header), rules, 403)
    refused(get("/nowhere", header, method="OPTIONS"), rules, 403)
    refused(get("/secret/a", header, "Host: x", "Expect: x"), rules, 403)
    refused(get("/secret/a", header, "Connection: Upgrade", "Upgrade: websocket"), rules, 403)
    refused(post("/secret", b'{"name":"a","value":"v"}', header), rules, 403)
    refused(get("/secret", header, f"Content-Length: {MAX_BODY + 1}", method="POST"), rules, 403)


def test_what_node_sends_passes() -> None:
    """A lone Sec-Fetch-Mode is no browser's."""
    assert one(get("/healthz", "Sec-Fetch-Mode: cors"), TCP).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8081",
        "localhost:8081",
        "[::1]:8081",
        "host.docker.internal:8081",
        "host.docker.internal",
    ],
)
def test_a_loopback_name_with_our_port_passes_over_tcp(host: str) -> None:
    """So does what the configuration lists."""
    assert one(get("/healthz", host=host), TCP).status == 200


FOREIGN = [
    "evil.example",
    "127.0.0.1.evil.com",
    "127.0.0.1.evil.com:8081",
    "localhost.:8081",
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "127.0.0.1:80",
    "127.0.0.1:08081",
    "127.0.0.2:8081",
    "127.1:8081",
    "[::1]",
    "::1:8081",
    "0.0.0.0:8081",
    "user@localhost:8081",
    "localhost:8081, evil.example",
    "host.docker.internal.:8081",
    "",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_another_host_is_refused_over_tcp_and_passes_on_the_socket(host: str) -> None:
    """Only TCP can be reached by a name that a page chose."""
    refused(get("/healthz", host=host), TCP, 403)
    assert one(get("/healthz", host=host), UNIX).status == 200


def test_the_authority_of_an_absolute_target_is_a_host() -> None:
    """curl with a proxy set names the far end in both places; either alone is enough to refuse."""
    refused(get("http://jarvis.invalid/healthz"), TCP, 403)
    refused(get("http://localhost:8081/healthz", host="jarvis.invalid"), TCP, 403)
    refused(get("http://u@localhost:8081/healthz"), TCP, 403)
    assert one(get("http://127.0.0.1:8081/healthz"), TCP).status == 200


def test_port_80_may_be_left_out() -> None:
    """Clients do so by themselves."""
    rules = WireRules(is_tcp=True, port=80)
    assert one(get("/healthz", host="localhost"), rules).status == 200


MALFORMED = {
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": get("/healthz", "Host: localhost"),
    "two clients": get("/secrets", "X-Jarvis-Client: web", "x-jarvis-client: web"),
    "two authorizations": get("/secrets", "Authorization: Bearer a", "Authorization: Bearer a"),
    "two content types": post("/secret", b"{}", "Content-Type: application/json"),
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": b"FOO /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "upgrade": get("/healthz", "Connection: Upgrade", "Upgrade: h2c"),
    "upgrade with a body": post("/secret", b"{}", "Connection: Upgrade", "Upgrade: h2c"),
    "ftp target": get("ftp://localhost/healthz"),
    "https target": get("https://localhost/healthz"),
    "raw UTF-8 in the target": "GET /secret/ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "NUL in the target": b"GET /secret/a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the target": b"GET /secret/a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare LF": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "bare LF in a header": b"GET /healthz HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare CR in a header": b"GET /healthz HTTP/1.1\r\nHost: x\ry\r\n\r\n",
    "folded header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "space before the colon": b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
    "no colon": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "TE and CL": chunked("/secret", b"2\r\n{}\r\n0\r\n\r\n", "Content-Length: 2"),
    "CL and TE": post("/secret", b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "CL -1": get("/secret", "Content-Length: -1", method="POST"),
    "CL +5": get("/secret", "Content-Length: +5", method="POST"),
    "CL 5, 5": get("/secret", "Content-Length: 5, 5", method="POST"),
    "CL 0x5": get("/secret", "Content-Length: 0x5", method="POST"),
    "CL empty": get("/secret", "Content-Length:", method="POST"),
    "CL twice": get("/secret", "Content-Length: 5", "Content-Length: 5", method="POST"),
    "CL over 64 bits": get("/secret", f"Content-Length: {2**64}", method="POST"),
    "TE with a control character": get("/secret", "Transfer-Encoding: \x0bchunked", method="POST"),
    "TE identity": get("/secret", "Transfer-Encoding: identity", method="POST"),
    "TE gzip, chunked": get("/secret", "Transfer-Encoding: gzip, chunked", method="POST"),
    "TE chunked, identity": get("/secret", "Transfer-Encoding: chunked, identity", method="POST"),
    "TE twice": chunked("/secret", b"", "Transfer-Encoding: chunked"),
    "TE in HTTP/1.0": b"POST /secret HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunk size 0x2": chunked("/secret", b"0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk size -2": chunked("/secret", b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunk size empty": chunked("/secret", b"\r\n{}\r\n0\r\n\r\n"),
    "chunk with bare LF": chunked("/secret", b"2\n{}\n0\n\n"),
    "chunk longer than its size": chunked("/secret", b"2\r\n{}}\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("stream", MALFORMED.values(), ids=MALFORMED)
def test_what_two_programs_could_read_differently_is_refused(stream: bytes) -> None:
    """One answer, 400, and the connection ends: nothing behind it is read."""
    refused(stream + get("/healthz"), UNIX, 400)


def test_an_unknown_expectation_is_417() -> None:
    """RFC 9110, 10.1.1."""
    refused(get("/healthz", "Expect: foo"), UNIX, 417)


def test_too_much_head_is_431() -> None:
    """In bytes or in headers, complete or not."""
    refused(get("/healthz", f"X: {'y' * 65536}"), UNIX, 431)
    refused(b"GET /" + b"a" * 65536, UNIX, 431)
    refused(get("/healthz", *[f"X{n}: y" for n in range(1000)]), UNIX, 431)
    assert one(get("/healthz", *[f"X{n}: y" for n in range(63)])).status == 200
    refused(get("/healthz", *[f"X{n}: y" for n in range(64)]), UNIX, 431)
    hidden = [*[f"X{n}: y" for n in range(150)], "Origin: x"]
    refused(get("/healthz", *hidden), UNIX, 431)


def test_too_much_body_is_413_before_it_is_there() -> None:
    """Its length is enough to refuse it."""
    refused(get("/secret", f"Content-Length: {MAX_BODY + 1}", method="POST"), UNIX, 413)


def fed(stream: bytes, step: int = 65536) -> tuple[int, int]:
    """Status of the one response, and how much had to be fed for it."""
    conversation = Conversation(UNIX)
    for at in range(0, len(stream), step):
        conversation.feed(stream[at : at + step])
        if taken := conversation.take(1):
            assert isinstance(taken[0], Failure)
            conversation.reply(taken[0])
            return responses(conversation.output())[0].status, at + step
    raise AssertionError("no response")


def test_too_much_in_chunks_is_413() -> None:
    """A body without a length is bounded all the same, and so is what surrounds its chunks."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    status, needed = fed(chunked("/secret", chunk * 32))
    assert status == 413
    assert needed <= MAX_BODY + 3 * 65536
    for padding in (b"1\r\nx\r\n" * MAX_CHUNKING, b"0\r\nT: " + b"x" * 2 * MAX_CHUNKING):
        status, needed = fed(chunked("/secret", padding))
        assert status == 413
        assert needed <= 2 * MAX_CHUNKING + 65536


def test_the_largest_body_passes_in_both_framings() -> None:
    """1 MiB is what a frame holds, too."""
    body = b'{"name":"a","value":"%s"}' % (b"x" * (MAX_BODY - 23))
    assert len(body) == MAX_BODY
    for stream in (
        post("/secret", body),
        chunked("/secret", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    ):
        (asked,) = hold([stream], UNIX).asked
        assert isinstance(asked, Request)


def test_refusals_are_errors_in_json() -> None:
    """Every refusal has the body of an error, whatever was wrong."""
    for stream in (get("/x", "Origin: x"), get("/x", "Expect: y"), b"GET x\r\n\r\n"):
        assert json.loads(one(stream).body).keys() == {"error", "message"}
    assert json.loads(one(get("/x", "Origin: x")).body)["error"] == "denied"
