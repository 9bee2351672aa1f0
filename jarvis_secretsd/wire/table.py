"""The table of operations: one row is all that either dialect needs to know of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
from msgspec import Struct, field

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import ClientId, Kid, SecretName

Reader = Callable[[str], object]
"""Makes a field of the text that stands in a target. Raises ValueError."""


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("expected a whole number")
    return int(text)


def _sequence_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError("expected a sequence number of ours")
    return int(text)


def _moment(text: str) -> datetime:
    return msgspec.convert(text, m.Moment)


def _names(text: str) -> tuple[SecretName, ...]:
    """Names with commas between them, which no name has."""
    return tuple(map(SecretName, text.split(",")))


class Row(Struct, frozen=True):
    """An operation, what it gives, and where it is over HTTP.

    A `path` that ends in `/` is followed by the operation's `name`. GET stands for HEAD too. A POST
    takes the operation's fields as its body, the others take those of `query` and `headers`.
    """

    operation: type[m.AnyOperation]
    result: type[m.Result]
    method: str
    path: str
    query: Mapping[str, Reader] = field(default_factory=dict)
    headers: Mapping[str, tuple[bytes, Reader]] = field(default_factory=dict)
    framed: bool = True


TABLE = (
    Row(m.Health, m.HealthStatus, "GET", "/healthz"),
    Row(m.WhoAmI, m.Identity, "GET", "/whoami"),
    Row(m.Get, m.Found, "GET", "/secret/", query={"kid": Kid}),
    Row(m.Put, m.Stored, "POST", "/secret"),
    Row(m.List, m.Listing, "GET", "/secrets", query={"after": str, "limit": _whole_number}),
    Row(m.Versions, m.VersionListing, "POST", "/versions"),
    Row(m.Rotate, m.Rotated, "POST", "/rotate"),
    Row(m.Rollback, m.Stored, "POST", "/rollback"),
    Row(m.Revoke, m.Revoked, "POST", "/revoke"),
    Row(m.Delete, m.Deleted, "DELETE", "/secret/"),
    Row(m.Restore, m.Stored, "POST", "/restore"),
    Row(
        m.Watch,
        m.Told,
        "GET",
        "/watch",
        query={"names": _names},
        headers={"after": (b"last-event-id", _sequence_number)},
    ),
    Row(m.SignJwt, m.JwtSigned, "POST", "/jwt"),
    Row(m.VerifyJwt, m.JwtVerified, "POST", "/jwt/verify"),
    Row(m.Jwks, m.KeySet, "GET", "/.well-known/jwks.json"),
    Row(m.Can, m.Verdict, "POST", "/can"),
    Row(m.TokenCreate, m.TokenCreated, "POST", "/tokens/create"),
    Row(m.TokenList, m.TokenListing, "POST", "/tokens/list"),
    Row(m.TokenRevoke, m.TokenRevoked, "POST", "/tokens/revoke"),
    Row(m.AuditHead, m.AuditHeadStatus, "GET", "/audit/head"),
    Row(
        m.AuditLog,
        m.AuditPage,
        "GET",
        "/audit/log",
        query={
            "before": _sequence_number,
            "after": _sequence_number,
            "limit": _whole_number,
            "pattern": str,
            "subject": ClientId,
            "since": _moment,
        },
    ),
    Row(m.Denials, m.DenialListing, "GET", "/audit/denials"),
    Row(m.Reload, m.Reloaded, "POST", "/reload"),
    Row(m.Lock, m.LockStatus, "POST", "/lock"),
    Row(m.Unlock, m.LockStatus, "POST", "/unlock"),
    Row(m.Backup, m.AuditHeadStatus, "POST", "/backup"),
    Row(m.Metrics, m.MetricsText, "GET", "/metrics", framed=False),
)
