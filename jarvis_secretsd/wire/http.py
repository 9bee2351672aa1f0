"""HTTP/1.1 -> requests. httptools reads the syntax; here is where a message ends and what it asks.

httptools swallows whatever it is fed, the next request too. So it is fed in pieces that can't reach
past the end of a message: a head and a chunked body both end with an empty line, and how long any
other body is stands in its head.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from msgspec import Struct

from jarvis_secretsd.errors import BadToken, InvalidRequest, MethodNotAllowed, SecretsError
from jarvis_secretsd.messages import Failure, Reply, Request, Told, Watch
from jarvis_secretsd.values import BearerToken, ClientId
from jarvis_secretsd.wire import routes
from jarvis_secretsd.wire.guard import (
    MAX_BODY,
    MAX_HEAD,
    MAX_HEADERS,
    Head,
    Refused,
    WireRules,
    accepted_hosts,
    body_too_large,
    check,
    head_too_large,
    malformed,
    split_target,
)
from jarvis_secretsd.wire.responses import CONTINUE, respond, status_of
from jarvis_secretsd.wire.streams import EventStream
from jarvis_secretsd.wire.table import Row

MAX_CHUNKING = 64 * 1024
"""What may surround a chunked body's bytes: sizes, extensions, trailers. Over 10,000 chunks."""

_EMPTY_LINE = b"\r\n\r\n"


class HttpExchange(Struct, frozen=True):
    """One request and how its reply is said. `status` is that of a refusal on the wire."""

    asked: Request | Failure
    last: bool
    connection: str | None = None
    head_only: bool = False
    status: int | None = None
    stream: EventStream | None = None

    def render(self, reply: Reply) -> bytes:
        """The response that says this."""
        if isinstance(reply, Told):
            return (self.stream or EventStream(is_chunked=False)).opening
        status = self.status if self.status and reply is self.asked else status_of(reply)
        return respond(reply, status, self.connection, head_only=self.head_only)


class HttpRequests:
    """Splits a stream into requests; holds at most one request and what was fed."""

    def __init__(self, rules: WireRules) -> None:
        self._hosts = accepted_hosts(rules)
        self._events = _Events()
        self._parser = HttpRequestParser(self._events)
        self._buffer = bytearray()
        self._fed = 0
        self._is_concluding = False
        self._begin()

    @property
    def partial(self) -> bool:
        """Do bytes wait that no request was made of?"""
        return bool(self._buffer) or self._taken > 0

    def feed(self, data: bytes) -> None:
        """Take in what arrived, cut anywhere."""
        self._buffer += data

    def conclude(self) -> None:
        """The next request with none behind it is answered with `Connection: close`."""
        self._is_concluding = True

    def next(self) -> HttpExchange | bytes | None:
        """The next request, an invitation to send its body, or None until more is fed."""
        while len(self._buffer) > self._fed:
            try:
                step = self._read()
            except Refused as refused:
                return self._refuse(refused)
            if step is not None:
                return step
        return None

    def _begin(self) -> None:
        """Forget the message that is done."""
        self._events.begin()
        self._opened: _Opened | None = None
        self._taken = 0
        self._head_size = 0

    def _read(self) -> HttpExchange | bytes | None:
        """One piece further."""
        piece = self._cut()
        self._taken += len(piece)
        self._parse(piece)
        self._check_size()
        if not self._events.has_head:
            return None
        if self._opened is None:
            self._opened = self._open()
            if self._opened.head.awaits_invitation:
                return CONTINUE
        return self._finish(self._opened) if self._events.is_complete else None

    def _cut(self) -> bytes:
        """The bytes that can be parsed now, none of them past the end of this message."""
        size = len(self._buffer)
        if self._opened is not None and not self._opened.head.is_chunked:
            stop, keep = min(self._opened.head.length - self._events.size, size), 0
        elif (end := self._buffer.find(_EMPTY_LINE)) >= 0:
            stop, keep = end + len(_EMPTY_LINE), 0
        else:  # the empty line may be cut in two, so its beginning stays to be found
            stop, keep = size, min(size, len(_EMPTY_LINE) - 1)
        if self._opened is None:  # one byte too many is enough to refuse a head
            stop = min(stop, self._fed + MAX_HEAD + 1 - self._taken)
        piece = bytes(self._buffer[self._fed : stop])
        self._fed = keep
        del self._buffer[: stop - keep]
        return piece

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            pass  # the head says so too, and is refused for it after what weighs more
        except HttpParserError as fault:
            raise malformed(f"not HTTP/1.1: {fault}") from None

    def _check_size(self) -> None:
        events = self._events
        if self._opened is None:
            self._head_size = self._taken
            if self._head_size > MAX_HEAD or events.headers > MAX_HEADERS:
                raise head_too_large()
        around = self._taken - self._head_size - events.size
        if events.size > MAX_BODY or around > MAX_CHUNKING:
            raise body_too_large()

    def _open(self) -> _Opened:
        """Judge the head and find what it is about, before any of the body.

        Who waits for an invitation is told at once if the body isn't wanted.
        """
        events = self._events
        head = Head(
            self._parser.get_method().decode(),
            self._parser.get_http_version(),
            *split_target(events.target.decode("latin-1")),
            events.fields,
            events.repeated,
            int(events.fields.get(b"content-length", b"0")),
            b"transfer-encoding" in events.fields,
            self._parser.should_upgrade(),
        )
        check(head, self._hosts)
        try:
            return _Opened(head, routes.find(head))
        except SecretsError as fault:
            failure = _failure(fault)
        if head.awaits_invitation:
            raise Refused(status_of(failure), failure)
        return _Opened(head, failure)

    def _finish(self, opened: _Opened) -> HttpExchange:
        """The request, now whole. Of one that leads nowhere the body was read to be dropped."""
        head, route = opened.head, opened.route
        asked = route if isinstance(route, Failure) else _ask(head, route, self._events.body)
        is_head, is_watch = head.method == "HEAD", _is_watch(asked)
        is_last = self._is_concluding and not self._buffer
        stays = head.keeps_alive and not (is_head and is_watch) and not is_last
        connection = "close" if not stays else "keep-alive" if head.version == "1.0" else None
        stream = EventStream(head.version != "1.0") if is_watch and not is_head else None
        self._begin()
        return HttpExchange(asked, not stays, connection, is_head, stream=stream)

    def _refuse(self, refused: Refused) -> HttpExchange:
        is_head = self._events.has_head and self._parser.get_method() == b"HEAD"
        return HttpExchange(refused.failure, True, "close", is_head, refused.status)


class _Opened(Struct, frozen=True):
    """A request whose head is read, and the row that it is about, or why none."""

    head: Head
    route: Row | Failure


class _Events:
    """What httptools tells of the message that it reads."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.target = b""
        self.fields: dict[bytes, bytes] = {}
        self.repeated: set[bytes] = set()
        self.headers = 0
        self.body: list[bytes] = []
        self.size = 0
        self.has_head = False
        self.is_complete = False

    def on_url(self, data: bytes) -> None:
        self.target += data

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers += 1
        if self.has_head:
            return  # a trailer says nothing that we believe
        name, value = name.lower(), value.strip(b" \t")
        if name in self.fields:
            self.repeated.add(name)
            value = self.fields[name] + b", " + value
        self.fields[name] = value

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, data: bytes) -> None:
        self.body.append(data)
        self.size += len(data)

    def on_message_complete(self) -> None:
        self.is_complete = True


def _ask(head: Head, row: Row, body: list[bytes]) -> Request | Failure:
    try:
        operation = routes.operation(row, head, b"".join(body))
        return Request(operation, _client(head), _token(head))
    except SecretsError as fault:
        return _failure(fault)


def _is_watch(asked: Request | Failure) -> bool:
    return isinstance(asked, Request) and isinstance(asked.operation, Watch)


def _client(head: Head) -> ClientId | None:
    text = head.fields.get(b"x-jarvis-client")
    if text is None:
        return None
    try:
        return ClientId(text.decode("latin-1"))
    except ValueError as fault:
        raise InvalidRequest(f"X-Jarvis-Client: {fault}") from None


def _token(head: Head) -> BearerToken | None:
    """The bearer token, RFC 6750."""
    text = head.fields.get(b"authorization")
    if text is None:
        return None
    scheme, _, token = text.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise BadToken("the Authorization header must be: Bearer TOKEN")
    return BearerToken(token)


def _failure(fault: SecretsError) -> Failure:
    allow = fault.allow if isinstance(fault, MethodNotAllowed) else ()
    return Failure(fault.code, fault.message, allow=allow)
