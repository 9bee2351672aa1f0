"""HTTP requests that are answered, and the operations that they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial

import pytest

from jarvis_secretsd.errors import Reason
from jarvis_secretsd.messages import (
    AuditHead,
    AuditLog,
    Can,
    Created,
    Delete,
    Denials,
    Failure,
    FailureInfo,
    Get,
    Health,
    HealthStatus,
    List,
    Metrics,
    Operation,
    Put,
    Reload,
    Reply,
    Request,
    Restore,
    Rotate,
    Rotated,
    TokenCreate,
    TokenList,
    TokenRevoke,
    WhoAmI,
)
from jarvis_secretsd.values import ClientId, Permission, SecretName
from jarvis_secretsd.wire.guard import MAX_HEAD
from tests.wire.talk import (
    DUE,
    FOUND,
    KID,
    NAME,
    TCP,
    UNIX,
    Response,
    chunked,
    get,
    hold,
    one,
    post,
    responses,
    talk,
)


def asked(stream: bytes) -> Request:
    """The one request that `stream` is, however it is fed."""
    (request,) = talk(stream).asked
    assert isinstance(request, Request), request
    return request


def replied(stream: bytes, reply: Reply) -> Response:
    """The response to `stream` when the service says `reply`."""
    (response,) = responses(hold([stream], UNIX, lambda _: reply).output)
    return response


EVERY_OPERATION: list[tuple[bytes, Operation]] = [
    (get("/healthz"), Health()),
    (get("/whoami"), WhoAmI()),
    (get("/metrics"), Metrics()),
    (get("/audit/head"), AuditHead()),
    (get("/audit/log"), AuditLog()),
    (get("/audit/log?before=41&limit=2&pattern=db%2F*"), AuditLog(41, None, 2, "db/*")),
    (
        get("/audit/log?after=41&subject=web"),
        AuditLog(after=41, subject=ClientId("web")),
    ),
    (
        get("/audit/log?since=2026-11-25T09:41:07%2B01:00"),
        AuditLog(since=datetime(2026, 11, 25, 8, 41, 7, tzinfo=UTC)),
    ),
    (get("/audit/denials"), Denials()),
    (get("/secret/a"), Get(SecretName("a"))),
    (get(f"/secret/a?kid={KID}"), Get(SecretName("a"), KID)),
    (get("/secrets"), List()),
    (get("/secrets?after=a%2Fb&limit=20"), List("a/b", 20)),
    (get("/secret/a", method="DELETE"), Delete(SecretName("a"))),
    (post("/secret", b'{"name":"a","value":"v"}'), Put(SecretName("a"), "v")),
    (post("/rotate", b'{"names":["a"]}'), Rotate((SecretName("a"),))),
    (post("/rotate", b""), Rotate()),
    (post("/restore", b'{"name":"a"}'), Restore(SecretName("a"))),
    (
        post("/can", b'{"client":"web","permission":"read"}'),
        Can(ClientId("web"), Permission.READ),
    ),
    (post("/tokens/create", b'{"client":"web"}'), TokenCreate(ClientId("web"))),
    (get("/tokens/list", method="POST"), TokenList()),
    (post("/tokens/list", b"{}"), TokenList()),
    (post("/tokens/revoke", b'{"token_id":"t1"}'), TokenRevoke("t1")),
    (get("/reload", method="POST"), Reload()),
]


@pytest.mark.parametrize(("stream", "operation"), EVERY_OPERATION)
def test_each_operation_has_its_place(stream: bytes, operation: Operation) -> None:
    """Method, path, query and body say the same as a frame would."""
    assert asked(stream).operation == operation


@pytest.mark.parametrize(
    "path",
    ["app/db", "app%2Fdb", "app%2fdb", "%61pp/db", "app/%64b"],
)
def test_every_spelling_of_a_name_is_the_same_name(path: str) -> None:
    """Percent-decoded once, %2F is a slash: one name for policy, vault and audit."""
    assert asked(get(f"/secret/{path}")).operation == Get(SecretName("app/db"))


@pytest.mark.parametrize(
    "path",
    [
        "a+b",
        "a%2Bb",
        "a%252Fb",
        "key-%C3%BC",
        "%ff",
        "%",
        "%2",
        "%zz",
        "a%00b",
        "../healthz",
        "x/../app%2Fdb",
        "%2e%2e/x",
        "./a",
        "a/",
        "a//b",
        "A",
        "a%0A",
        "a" * 256,
        "a;b",
        "a?x=1",
        "a?kid=5F",
        "a?kid=",
        f"a?kid={KID}&kid={KID}",
        f"a?KID={KID}",
    ],
)
def test_a_wrong_name_or_query_is_refused_never_repaired(path: str) -> None:
    """The connection goes on: the request was understood, it only can't be meant."""
    conversation = talk(get(f"/secret/{path}"))
    (response,) = responses(conversation.output)
    assert response.status == 400
    assert not conversation.closing


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=x", "limit=1e3", "limit=", "limit=٣", "x", "%61fter=b"]
)
def test_a_query_is_read_strictly(query: str) -> None:
    """A page's size is digits, and no other parameter is passed over."""
    query = query.encode().decode("latin-1")
    assert one(get(f"/secrets?{query}")).status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/secret/",
        "//secret/a",
        "/secrets/",
        "/Healthz",
        "/%68ealthz",
        "/healthz/",
        "/tokens",
        "/secretx",
    ],
)
def test_an_unknown_path_is_not_found(path: str) -> None:
    """Paths are compared as they are sent."""
    response = one(get(path))
    assert (response.status, json.loads(response.body)["error"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("OPTIONS", "/secret", "POST"),
        ("GET", "/secret", "POST"),
        ("OPTIONS", "/secret/a", "DELETE, GET, HEAD"),
        ("PUT", "/secret/a", "DELETE, GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("OPTIONS", "*", "DELETE, GET, HEAD, POST"),
        ("TRACE", "/healthz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: str) -> None:
    """405 with Allow, and nothing that a browser would take for a CORS answer."""
    response = one(get(path, method=method))
    assert (response.status, response.headers["Allow"]) == (405, allow)
    assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("path", ["/healthz", "/secret/postgres_password", "/nowhere", "/secret/A"])
def test_head_is_get_without_the_body(path: str) -> None:
    """Same status, same headers, same length told, not one byte of body."""
    with_body = one(get(path))
    without = one(get(path, method="HEAD"), head_only=True)
    assert without.body == b""
    assert (without.status, without.headers) == (with_body.status, with_body.headers)


def test_head_asks_for_the_secret_as_get_does() -> None:
    """So it is allowed and audited as get is."""
    assert asked(get("/secret/a", method="HEAD")).operation == Get(SecretName("a"))


@pytest.mark.parametrize(
    "chunks",
    [
        b'18\r\n{"name":"a","value":"v"}\r\n0\r\n\r\n',
        b'18;ext=1\r\n{"name":"a","value":"v"}\r\n0\r\n\r\n',
        b'0018\r\n{"name":"a","value":"v"}\r\n000\r\n\r\n',
        b'18\r\n{"name":"a","value":"v"}\r\n0\r\nTrailer: x\r\nHost: y\r\n\r\n',
        b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"name":"a","value":"v"}') + b"0\r\n\r\n",
        b'A\r\n{"name":"a\r\ne\r\n","value":"v"}\r\n0\r\n\r\n',
        b'8\r\n{"name":\r\n4\r\n\r\n\r\n\r\n10\r\n"a","value":"v"}\r\n0\r\n\r\n',
    ],
)
def test_a_chunked_body_is_its_chunks_bytes(chunks: bytes) -> None:
    """Sizes in any hex, extensions and trailers say nothing; the next request starts after them."""
    assert asked(chunked("/secret", chunks)).operation == Put(SecretName("a"), "v")
    both = talk(chunked("/secret", chunks) + get("/healthz"))
    assert [type(each.operation) for each in both.asked if isinstance(each, Request)] == [
        Put,
        Health,
    ]


def test_a_trailer_is_no_header() -> None:
    """What comes behind the body can't change who asks."""
    chunks = b'c\r\n{"name":"a"}\r\n0\r\nX-Jarvis-Client: admin\r\nOrigin: x\r\n\r\n'
    assert asked(chunked("/restore", chunks)).client is None


def test_client_and_token_are_headers() -> None:
    """Names in any case, spaces around the value not part of it."""
    stream = get("/secrets", "x-jarvis-CLIENT: \t web \t", "Authorization: bearer abc")
    (request,) = hold([stream], UNIX).asked
    assert isinstance(request, Request)
    assert request.client == "web"
    assert request.token is not None
    assert request.token.reveal() == "abc"


def test_an_underscore_does_not_make_the_header() -> None:
    """What a proxy may rewrite isn't taken for what it resembles."""
    assert asked(get("/secrets", "X_Jarvis_Client: admin")).client is None


@pytest.mark.parametrize("client", ["", "admin, web", "ad\xe4min", ".x", "a" * 65])
def test_a_wrong_client_is_refused_without_ending_the_talk(client: str) -> None:
    """A client id is valid or it is none."""
    conversation = talk(get("/secrets", f"X-Jarvis-Client: {client}"))
    assert responses(conversation.output)[0].status == 400
    assert not conversation.closing


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Bearer ", "abc"])
def test_an_authorization_that_is_no_bearer_token_is_401(value: str) -> None:
    """With the header that says what would be one."""
    response = one(get("/secrets", f"Authorization: {value}"))
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert json.loads(response.body)["error"] == "bad_token"


@pytest.mark.parametrize(
    "media",
    ["application/json", "Application/JSON", "application/json; charset=utf-8"],
)
def test_a_json_body_may_say_its_charset(media: str) -> None:
    """reqwest and requests send it plain, others with a parameter."""
    body = b'{"name":"a"}'
    head = (f"Content-Type: {media}", f"Content-Length: {len(body)}")
    assert asked(get("/restore", *head, method="POST") + body).operation == Restore(SecretName("a"))


@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonp",
    ],
)
def test_a_body_of_another_type_is_dropped_not_read(media: str) -> None:
    """What a page's form can send is refused, and isn't taken for the next request."""
    body = get("/healthz")
    stream = get(
        "/restore", f"Content-Type: {media}", f"Content-Length: {len(body)}", method="POST"
    )
    conversation = talk(stream + body + get("/whoami"))
    assert [response.status for response in responses(conversation.output)] == [400, 200]


def test_a_get_takes_no_body() -> None:
    """A body there means that somebody counts differently than we do."""
    assert (
        one(get("/healthz", "Content-Length: 2", "Content-Type: application/json") + b"{}").status
        == 400
    )
    assert one(get("/healthz", "Content-Length: 0")).status == 200


def test_a_body_follows_where_its_length_says() -> None:
    """A refused request's body is never the next request."""
    inner = get("/secret/stolen", "X-Jarvis-Client: admin")
    conversation = talk(post("/nowhere", inner) + get("/healthz"))
    assert [type(each) for each in conversation.asked] == [Failure, Request]


def test_absolute_form_is_the_path_in_it() -> None:
    """What curl sends to a proxy, RFC 9112, 3.2.2."""
    for target in ("http://localhost:8081/healthz", "HTTP://localhost:8081/healthz"):
        assert asked(get(target)).operation == Health()
    assert one(get("http://localhost:8081")).status == 404
    assert one(get("http://localhost:8081?x")).status == 404


def test_http_1_0_needs_no_host_and_ends() -> None:
    """A health probe of the simplest kind is answered and the connection closed."""
    for rules in (UNIX, TCP):
        conversation = talk(b"GET /healthz HTTP/1.0\r\n\r\n", rules)
        (response,) = responses(conversation.output)
        assert (response.status, response.headers["Connection"]) == (200, "close")
        assert conversation.closing


def test_http_1_0_may_ask_to_stay() -> None:
    """`keep-alive` is granted and said, as HTTP/1.0 needs it said."""
    conversation = talk(b"GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    assert responses(conversation.output)[0].headers["Connection"] == "keep-alive"
    assert not conversation.closing


@pytest.mark.parametrize(
    "lines",
    [("Connection: close",), ("Connection: x, Close",), ("Connection: x", "Connection: close")],
)
def test_connection_close_is_honoured(lines: tuple[str, ...]) -> None:
    """The response says so too, and what follows is ignored."""
    conversation = talk(get("/healthz", *lines) + get("/whoami"))
    (response,) = responses(conversation.output)
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert conversation.closing


def test_expect_is_met_with_100_before_the_body_is_there() -> None:
    """The body is asked for at once: nobody waits a second."""
    body = b'{"name":"a","value":"v"}'
    stream = post("/secret", body, "Expect: 100-continue")
    head = stream[: -len(body)]
    assert hold([head], UNIX).output == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert [r.status for r in responses(hold([head, body], UNIX).output)] == [100, 200]
    assert asked(stream).operation == Put(SecretName("a"), "v")


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (post("/nowhere", b"{}", "Expect: 100-continue"), 404),
        (post("/healthz", b"{}", "Expect: 100-continue"), 405),
        (post("/secret", b"{}", "Expect: 100-continue", "Origin: x"), 403),
        (get("/secret", "Content-Length: 2", "Expect: 100-continue", method="POST"), 400),
        (get("/secret", "Content-Length: 1048577", "Expect: 100-continue", method="POST"), 413),
    ],
)
def test_an_unwanted_body_is_not_asked_for(stream: bytes, status: int) -> None:
    """The refusal comes instead of 100, and the connection ends, for the body may come or not."""
    conversation = talk(stream)
    (response,) = responses(conversation.output)
    assert (response.status, response.headers["Connection"]) == (status, "close")


def test_expect_means_nothing_without_a_body_or_to_http_1_0() -> None:
    """RFC 9110, 10.1.1."""
    assert one(get("/healthz", "Expect: 100-continue")).status == 200
    assert one(b"GET /healthz HTTP/1.0\r\nExpect: anything\r\n\r\n").status == 200


def test_every_response_forbids_keeping_it() -> None:
    """And none is open to another origin."""
    streams = [get("/healthz"), get("/secret/a"), get("/metrics"), get("/x"), get("/secret/A")]
    streams += [get("/healthz", "Origin: x"), b"GET x\r\n\r\n", get("/x", method="OPTIONS")]
    for response in map(one, streams):
        assert response.headers["Cache-Control"] == "no-store"
        assert not {name for name in response.headers if name.lower().startswith("access-control")}


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (FOUND, 200),
        (Created(NAME, KID, 1, DUE), 201),
        (HealthStatus("ok", "0", 1, 1), 200),
        (HealthStatus("storage_full", "0", 1, 1), 503),
        (Rotated((NAME,), 1, (), {"b": FailureInfo("denied", "")}), 200),
        (Rotated((), 0, (NAME,), {"b": FailureInfo("denied", "")}), 200),
        (Rotated((), 0, (), {}), 200),
        (Rotated((), 0, (), {"b": FailureInfo("not_found", "")}), 404),
        (Failure("client_required", ""), 401),
        (Failure("denied", ""), 403),
        (Failure("not_found", ""), 404),
        (Failure("conflict", ""), 409),
        (Failure("rate_limited", ""), 429),
        (Failure("internal", ""), 500),
        (Failure("storage_full", ""), 500),
        (Failure("unavailable", "", Reason.LOCKED), 503),
    ],
)
def test_each_reply_has_its_status(reply: Reply, status: int) -> None:
    """A code that has no business on the wire is an internal error."""
    assert replied(get("/healthz"), reply).status == status


def test_a_refusal_replaced_by_the_service_has_its_own_status() -> None:
    """The limit on refusals may answer in place of what was refused."""
    assert replied(get("/healthz", "Expect: x"), Failure("rate_limited", "")).status == 429


def test_metrics_are_text() -> None:
    """What Prometheus expects, to the version."""
    response = one(get("/metrics"))
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert response.body == b"jarvis_up 1\n"


def test_the_largest_head_passes() -> None:
    """The limit belongs to what is allowed; a byte more is too long."""
    room = MAX_HEAD - len(get("/healthz", "X: "))
    assert one(get("/healthz", f"X: {'y' * room}")).status == 200
    assert one(get("/healthz", f"X: {'y' * (room + 1)}")).status == 431
    padded = partial(get, "/healthz")
    assert one(padded(f"X:{' ' * (room + 1)}y")).status == 431


def test_an_empty_line_between_requests_is_passed_over() -> None:
    """Old clients send one after a body; RFC 9112, 2.2."""
    conversation = talk(post("/tokens/list", b"{}") + b"\r\n" + get("/healthz"))
    assert [response.status for response in responses(conversation.output)] == [200, 200]
