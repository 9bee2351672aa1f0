"""One conversation held three ways, and what the tests say in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from jarvis_secretsd.messages import (
    AuditHeadStatus,
    AuditPage,
    Deleted,
    DenialListing,
    Failure,
    Found,
    HealthStatus,
    Identity,
    JwtVerified,
    Listing,
    MetricsText,
    Reloaded,
    Reply,
    Request,
    Result,
    Rotated,
    Stored,
    TokenCreated,
    TokenListing,
    TokenRevoked,
    Told,
    Verdict,
)
from jarvis_secretsd.values import BearerToken, ClientId, Kid, SecretName, SecretValue
from jarvis_secretsd.wire.conversation import Conversation, WireRules
from jarvis_secretsd.wire.frames import pack
from jarvis_secretsd.wire.table import TABLE

UNIX = WireRules(is_tcp=False)
TCP = WireRules(is_tcp=True, port=8081, allowed_hosts=frozenset({"host.docker.internal"}))

NAME = SecretName("postgres_password")
KID = Kid("5f2c01a99be37d10")
DUE = datetime(2026, 11, 25, 9, 41, 7, tzinfo=UTC)
FOUND = Found(NAME, SecretValue.from_text("s3cret"), KID, DUE, 3)

RESULTS: tuple[Result, ...] = (
    HealthStatus("ok", "0.1.0", 17, 3),
    Identity(1001, 1001, 812, "unix", ("backend",), "backend", {"read": ("postgres_*",)}),
    FOUND,
    Stored(NAME, KID, 3, DUE),
    Listing(()),
    Rotated((NAME,), 1, (), {}),
    Deleted(NAME, DUE),
    Told({NAME: KID}, 812),
    JwtVerified({"sub": "user-17"}, KID),
    Verdict(True, "clients.backend.allow[0]"),
    TokenCreated("t1", BearerToken("t" * 43), ClientId("mcp"), DUE),
    TokenListing(()),
    TokenRevoked("t1"),
    AuditHeadStatus("log", "key", 41, "9f", "2c", "c2ln"),
    AuditPage((), 41),
    DenialListing((), DUE),
    Reloaded("5e", 4),
    MetricsText(b"jarvis_up 1\n"),
)


class Talk(Struct, frozen=True):
    """What was asked, what was answered, and whether the connection ends."""

    asked: list[Request | Failure]
    output: bytes
    closing: bool


class Response(Struct, frozen=True):
    """An HTTP response, taken apart by a reader that knows only ours."""

    status: int
    headers: dict[str, str]
    body: bytes


def answer(asked: Request | Failure) -> Reply:
    """A refusal goes back as it came; a request gets a result of its kind."""
    if isinstance(asked, Failure):
        return asked
    (kind,) = (row.result for row in TABLE if row.operation is type(asked.operation))
    (result,) = (result for result in RESULTS if type(result) is kind)
    return result


def hold(
    pieces: list[bytes], rules: WireRules, reply: Callable[[Request | Failure], Reply] = answer
) -> Talk:
    """The conversation in which these pieces arrive one by one, each answered at once."""
    conversation = Conversation(rules)
    asked: list[Request | Failure] = []
    output = b""
    for piece in pieces:
        conversation.feed(piece)
        output += conversation.output()
        while taken := conversation.take(1):
            asked += taken
            conversation.reply(reply(taken[0]))
            output += conversation.output()
    return Talk(asked, output, conversation.closing)


def talk(stream: bytes, rules: WireRules = UNIX) -> Talk:
    """The conversation about whole requests: at once, byte by byte, and with more behind them."""
    at_once = hold([stream], rules)
    assert hold([bytes([byte]) for byte in stream], rules) == at_once
    behind = b"\0\0" if stream[0] == 0 else b"GET /health"
    assert hold([stream + behind], rules) == at_once
    return at_once


def frames(*bodies: bytes) -> bytes:
    """A stream of frames around these bodies."""
    return b"".join(pack(body) for body in bodies)


def get(path: str, *headers: str, host: str = "localhost:8081", method: str = "GET") -> bytes:
    """A request without a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request with a JSON body of known length."""
    return (
        get(
            path,
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *headers,
            method="POST",
        )
        + body
    )


def chunked(path: str, chunks: bytes, *headers: str) -> bytes:
    """A request whose JSON body comes in these chunks."""
    head = ("Content-Type: application/json", "Transfer-Encoding: chunked", *headers)
    return get(path, *head, method="POST") + chunks


def responses(output: bytes, *, head_only: bool = False) -> list[Response]:
    """The responses in `output`, of which nothing may be left over."""
    found = []
    while output:
        head, _, output = output.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(each.split(": ", 1) for each in lines)
        length = 0 if head_only else int(headers.get("Content-Length", "0"))
        found.append(Response(int(line.split()[1]), headers, output[:length]))
        output = output[length:]
    return found


def one(stream: bytes, rules: WireRules = UNIX, *, head_only: bool = False) -> Response:
    """The one response to `stream`, however it is fed."""
    (response,) = responses(talk(stream, rules).output, head_only=head_only)
    return response
