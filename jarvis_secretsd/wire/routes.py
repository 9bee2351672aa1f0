"""An HTTP request -> the operation that it asks for, by the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from jarvis_secretsd.errors import InvalidRequest, MethodNotAllowed, NotFound
from jarvis_secretsd.messages import AnyOperation
from jarvis_secretsd.values import SecretName
from jarvis_secretsd.wire.codec import decode_body
from jarvis_secretsd.wire.guard import Head
from jarvis_secretsd.wire.table import TABLE, Reader, Row

_EVERY_METHOD = ("DELETE", "GET", "HEAD", "POST")


def _by_path(rows: Iterable[Row]) -> Mapping[str, Mapping[str, Row]]:
    """Path -> method -> row; a GET can be asked for without its body."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        methods = ("GET", "HEAD") if row.method == "GET" else (row.method,)
        found.setdefault(row.path, {}).update(dict.fromkeys(methods, row))
    return found


_AT = _by_path(row for row in TABLE if not row.path.endswith("/"))
_BEFORE_NAME = _by_path(row for row in TABLE if row.path.endswith("/"))


def find(head: Head) -> Row:
    """The row that this request is about, its body not yet seen.

    Raises NotFound, MethodNotAllowed, or InvalidRequest for a body that can't be one.
    """
    rows = _rows_at(head.path)
    row = rows.get(head.method)
    if row is None:
        raise MethodNotAllowed(f"{head.method} is not for this path", tuple(sorted(rows)))
    if head.has_body:
        _check_body(head, row)
    return row


def operation(row: Row, head: Head, body: bytes) -> AnyOperation:
    """What the request asks for. Raises InvalidRequest."""
    if row.method == "POST":
        _query(head.query, {})
        return decode_body(body, row.operation)
    fields = _query(head.query, row.query) | _headers(head, row)
    if row.path.endswith("/"):
        fields["name"] = _read("name", SecretName, head.path[len(row.path) :])
    return row.operation(**fields)


def _rows_at(path: str) -> Mapping[str, Row]:
    if (rows := _AT.get(path)) is not None:
        return rows
    first = path[: path.find("/", 1) + 1]
    if first in _BEFORE_NAME and first != path:
        return _BEFORE_NAME[first]
    if path == "*":
        raise MethodNotAllowed("* is no operation's path", _EVERY_METHOD)
    raise NotFound("there is nothing at this path")


def _check_body(head: Head, row: Row) -> None:
    if row.method != "POST":
        raise InvalidRequest(f"{head.method} takes no body")
    media, _, _ = head.fields.get(b"content-type", b"").partition(b";")
    if media.strip().lower() != b"application/json":
        raise InvalidRequest("a body needs the header Content-Type: application/json")


def _query(text: str, known: Mapping[str, Reader]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for pair in text.split("&") if text else ():
        key, _, value = pair.partition("=")
        if key not in known:
            raise InvalidRequest(
                f"this operation takes in its query: {', '.join(known) or 'nothing'}"
            )
        if key in given:
            raise InvalidRequest(f"{key} stands more than once in the query")
        given[key] = _read(key, known[key], value)
    return given


def _headers(head: Head, row: Row) -> dict[str, Any]:
    return {
        field: _read(header.decode(), reader, head.fields[header].decode("latin-1"))
        for field, (header, reader) in row.headers.items()
        if header in head.fields
    }


def _read(field: str, reader: Reader, raw: str) -> object:
    """Percent-decode once, then let the field's own type judge. A `+` is a `+`.

    What can't be decoded stays as it is, and a `%` is in no name.
    """
    try:
        return reader(_decode(raw) if "%" in raw else raw)
    except ValueError as fault:
        raise InvalidRequest(f"{field}: {fault}") from None


def _decode(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 after percent-decoding") from None
