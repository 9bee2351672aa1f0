"""Replies as HTTP responses: the status of each code, and the few headers that we send."""

from __future__ import annotations

from jarvis_secretsd.messages import (
    Created,
    Failure,
    HealthStatus,
    MetricsText,
    Reply,
    Rotated,
)
from jarvis_secretsd.wire.codec import encode_body, nothing_rotated

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS = {
    "invalid_request": 400,
    "invalid_token": 400,
    "client_required": 401,
    "bad_token": 401,
    "denied": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "internal": 500,
    "unavailable": 503,
}

_PHRASE = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def status_of(reply: Reply) -> int:
    """The status that says this; 500 for a code that has no business on the wire."""
    match reply:
        case Failure():
            return _STATUS.get(reply.code, 500)
        case Created():
            return 201
        case HealthStatus():
            return 200 if reply.status == "ok" else 503
        case Rotated():
            first = nothing_rotated(reply)
            return _STATUS.get(first.code, 500) if first else 200
        case _:
            return 200


def respond(reply: Reply, status: int, connection: str | None, *, head_only: bool) -> bytes:
    """The response; `head_only` leaves out the body, whose length is still told (RFC 9110, 9.3.2).

    No response may be kept by anyone, and none invites a page of another origin to read it.
    """
    media, body = _JSON, b""
    if isinstance(reply, MetricsText):
        media, body = _PROMETHEUS, reply.body
    else:
        body = encode_body(reply)
    lines = (
        f"HTTP/1.1 {status} {_PHRASE[status]}\r\nContent-Type: {media}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n"
    )
    if connection:
        lines += f"Connection: {connection}\r\n"
    if isinstance(reply, Failure):
        lines += _explained(reply, status)
    head = f"{lines}\r\n".encode()
    return head if head_only else head + body


def _explained(failure: Failure, status: int) -> str:
    """The header that HTTP wants beside some errors: RFC 9110, 15.5.2 and 15.5.6."""
    if status == 401:
        return "WWW-Authenticate: Bearer\r\n"
    if failure.allow:
        return f"Allow: {', '.join(failure.allow)}\r\n"
    return ""
