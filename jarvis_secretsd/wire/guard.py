"""What the head of an HTTP request must be, before anything in it is looked up or done."""

from __future__ import annotations

import re

from msgspec import Struct

from jarvis_secretsd.errors import Denied, InvalidRequest, TooLarge
from jarvis_secretsd.messages import Failure

MAX_HEAD = 16 * 1024
"""Request line and headers. Real clients send under 1 KiB; httptools would hold any amount."""

MAX_HEADERS = 64
"""Real clients send under 20."""

MAX_BODY = 1024 * 1024
"""What a frame holds, so that both dialects can say the same."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_BROWSER = frozenset({b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-dest"})
"""Sent by every browser with a page's request; `Sec-Fetch-Mode` alone is Node's fetch."""

_SINGLE = frozenset({b"host", b"x-jarvis-client", b"authorization", b"content-type", b"expect"})
"""Headers of which we take one value: of two, another program on the way may take the other."""

_GO_ON = b"100-continue"

_ABSOLUTE = re.compile(r"(?i:http)://([^/]*)(/.*)?")


class WireRules(Struct, frozen=True):
    """What a listener demands. Over TCP the Host is a loopback name or allowed, with `port`.

    `only_credentials`: nobody but systemd is answered, who asks without a byte.
    """

    is_tcp: bool
    port: int | None = None
    allowed_hosts: frozenset[str] = frozenset()
    only_credentials: bool = False


class Refused(Exception):
    """A request that ends the connection: nothing after its head is read as another."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.message)
        self.status = status
        self.failure = failure


class Head(Struct, frozen=True):
    """Request line and headers. `fields` by lower-case name; `repeated` names those sent twice.

    `length` is that of Content-Length in bytes, 0 without one.
    """

    method: str
    version: str
    authority: str | None
    path: str
    query: str
    fields: dict[bytes, bytes]
    repeated: set[bytes]
    length: int
    is_chunked: bool
    upgrades: bool

    @property
    def has_body(self) -> bool:
        """Does a body follow?"""
        return self.length > 0 or self.is_chunked

    @property
    def awaits_invitation(self) -> bool:
        """Does the sender hold its body back for `100 Continue`? RFC 9110, 10.1.1."""
        return b"expect" in self.fields and self.version != "1.0" and self.has_body

    @property
    def keeps_alive(self) -> bool:
        """May another request follow on this connection? RFC 9112, 9.3."""
        options = self.fields.get(b"connection")
        if options is None:
            return self.version != "1.0"
        asked = [option.strip() for option in options.lower().split(b",")]
        return b"close" not in asked and (self.version != "1.0" or b"keep-alive" in asked)


def split_target(target: str) -> tuple[str | None, str, str]:
    """Authority (of the absolute form), path and query, all still encoded. RFC 9112, 3.2."""
    path, _, query = target.partition("?")
    if path.startswith("/") or path == "*":
        return None, path, query
    absolute = _ABSOLUTE.fullmatch(path)
    if absolute is None:
        raise malformed("the request target must be a path or an http:// address")
    return absolute[1], absolute[2] or "/", query


def accepted_hosts(rules: WireRules) -> frozenset[str] | None:
    """Every Host that this listener answers to, exactly as it must be sent; None: any."""
    if not rules.is_tcp:
        return None
    names = (*_LOOPBACK, *rules.allowed_hosts)
    bare = names if rules.port == 80 else rules.allowed_hosts
    return frozenset(bare) | {f"{name}:{rules.port}" for name in names}


def check(head: Head, hosts: frozenset[str] | None) -> None:
    """Raise Refused unless this head may be looked at. What a browser sends is refused first."""
    if not _BROWSER.isdisjoint(head.fields):
        raise _foreign("a request with the headers of a browser is not answered")
    if not _SINGLE.isdisjoint(head.repeated):
        once = b", ".join(sorted(_SINGLE)).decode()
        raise malformed(f"each of these headers may be sent once: {once}")
    _check_host(head, hosts)
    if head.version not in ("1.1", "1.0"):
        raise malformed("only HTTP/1.1 and HTTP/1.0 are spoken here")
    if head.upgrades:
        raise malformed("only HTTP/1.1 is spoken here, an upgrade is not offered")
    if head.has_body or b"expect" in head.fields:
        _check_body(head)


def body_too_large() -> Refused:
    """The refusal of a body over its limit, or cut into so many chunks that it might as well be."""
    return Refused(413, Failure(TooLarge.code, f"a body is at most {MAX_BODY:,} bytes long"))


def head_too_large() -> Refused:
    """The refusal of too long or too many headers."""
    limit = f"a request's head is at most {MAX_HEAD:,} bytes and {MAX_HEADERS} headers"
    return Refused(431, Failure(TooLarge.code, limit))


def malformed(reason: str) -> Refused:
    """The refusal of what isn't HTTP as we speak it."""
    return Refused(400, _invalid(reason))


def _check_host(head: Head, hosts: frozenset[str] | None) -> None:
    host = head.fields.get(b"host")
    if host is None and head.version != "1.0":
        raise malformed("HTTP/1.1 needs a Host header")
    if hosts is None:
        return
    if host is not None and host.decode("latin-1") not in hosts:
        raise _foreign(_WRONG_HOST)
    if head.authority is not None and head.authority not in hosts:
        raise _foreign(_WRONG_HOST)


def _check_body(head: Head) -> None:
    if head.is_chunked and (
        head.version == "1.0" or head.fields[b"transfer-encoding"].lower() != b"chunked"
    ):
        raise malformed("the only Transfer-Encoding is chunked, in HTTP/1.1")
    if head.version != "1.0" and head.fields.get(b"expect", _GO_ON).lower() != _GO_ON:
        raise Refused(417, _invalid("the only expectation is 100-continue"))
    if head.length > MAX_BODY:
        raise body_too_large()


_WRONG_HOST = "the Host is neither a loopback name with our port nor in server.allowed_hosts"


def _invalid(message: str) -> Failure:
    return Failure(InvalidRequest.code, message)


def _foreign(message: str) -> Refused:
    return Refused(403, Failure(Denied.code, message))
