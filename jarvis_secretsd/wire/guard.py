"""What the head of an HTTP request must be, before anything in it is looked up or done."""

from __future__ import annotations

import re
from functools import cache

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

_TARGET = re.compile(r"(?:(?i:http)://([^/?#]*))?((?:/[^?]*)?|\*)(?:\?(.*))?")


class WireRules(Struct, frozen=True):
    """What a listener demands. Over TCP the Host must be a loopback name, or allowed, and `port`."""

    is_tcp: bool
    port: int | None = None
    allowed_hosts: frozenset[str] = frozenset()


class Refused(Exception):
    """A request that ends the connection: nothing after its head is read as another."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.message)
        self.status = status
        self.failure = failure


class Head(Struct, frozen=True):
    """Request line and headers. `fields` by lower-case name; `repeated` names those sent twice."""

    method: str
    version: str
    authority: str | None
    path: str
    query: str
    fields: dict[bytes, bytes]
    repeated: frozenset[bytes]
    upgrades: bool

    @property
    def length(self) -> int:
        """Bytes of body announced by Content-Length."""
        return int(self.fields.get(b"content-length", b"0"))

    @property
    def is_chunked(self) -> bool:
        """Does the body come in chunks?"""
        return b"transfer-encoding" in self.fields

    @property
    def has_body(self) -> bool:
        """Does a body follow?"""
        return self.is_chunked or self.length > 0

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


def split_target(target: bytes) -> tuple[str | None, str, str]:
    """Authority (of the absolute form), path and query, all still encoded. RFC 9112, 3.2."""
    found = _TARGET.fullmatch(target.decode("latin-1"))
    if found is None:
        raise malformed("the request target must be a path or an http:// address")
    authority, path, query = found.groups()
    return authority, path or "/", query or ""


def check(head: Head, rules: WireRules) -> None:
    """Raise Refused unless this head may be looked at. What a browser sends is refused first."""
    _check_origin(head, rules)
    if not _SINGLE.isdisjoint(head.repeated):
        once = b", ".join(sorted(_SINGLE)).decode()
        raise malformed(f"each of these headers may be sent once: {once}")
    _check_framing(head)
    if head.length > MAX_BODY:
        raise body_too_large()


def body_too_large() -> Refused:
    """The refusal of a body over its limit, or cut into so many chunks that it might as well be."""
    return Refused(413, Failure(TooLarge.code, f"a body is at most {MAX_BODY:,} bytes long"))


def head_too_large() -> Refused:
    """The refusal of too long or too many headers."""
    limit = f"a request's head is at most {MAX_HEAD:,} bytes and {MAX_HEADERS} headers"
    return Refused(431, Failure(TooLarge.code, limit))


def malformed(reason: str) -> Refused:
    """The refusal of what isn't HTTP/1.1."""
    return Refused(400, _invalid(reason))


def _check_origin(head: Head, rules: WireRules) -> None:
    if not _BROWSER.isdisjoint(head.fields):
        raise _foreign("a request with the headers of a browser is not answered")
    host = head.fields.get(b"host")
    if host is None and head.version != "1.0":
        raise malformed("HTTP/1.1 needs a Host header")
    if not rules.is_tcp:
        return
    for name in (None if host is None else host.decode("latin-1"), head.authority):
        if name is not None and name not in _hosts(rules):
            raise _foreign(
                "the Host is neither a loopback name with our port nor in server.allowed_hosts"
            )


def _check_framing(head: Head) -> None:
    if head.version not in ("1.0", "1.1"):
        raise malformed("only HTTP/1.1 and HTTP/1.0 are spoken here")
    if head.upgrades:
        raise malformed("only HTTP/1.1 is spoken here, an upgrade is not offered")
    if head.is_chunked and (
        head.version == "1.0" or head.fields[b"transfer-encoding"].lower() != b"chunked"
    ):
        raise malformed("the only Transfer-Encoding is chunked, in HTTP/1.1")
    if head.version != "1.0" and head.fields.get(b"expect", _GO_ON).lower() != _GO_ON:
        raise Refused(417, _invalid("the only expectation is 100-continue"))


@cache
def _hosts(rules: WireRules) -> frozenset[str]:
    """Every Host that this listener answers to, exactly as it must be sent."""
    names = (*_LOOPBACK, *rules.allowed_hosts)
    bare = names if rules.port == 80 else rules.allowed_hosts
    return frozenset(bare) | {f"{name}:{rules.port}" for name in names}


def _invalid(message: str) -> Failure:
    return Failure(InvalidRequest.code, message)


def _foreign(message: str) -> Refused:
    return Refused(403, Failure(Denied.code, message))
