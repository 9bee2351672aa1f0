"""What is answered: one frozen class per result, and the failure that stands in its place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from jarvis_secretsd.errors import Reason
from jarvis_secretsd.values import BearerToken, ClientId, Kid, Kind, SecretName, SecretValue, State


class Result(Struct, frozen=True, omit_defaults=True):
    """What an operation gives."""


class HealthStatus(Result, frozen=True):
    """`status` is "ok" or why not; `audit_sync` says whether promise 2 holds ("always")."""

    status: str
    version: str
    uptime_secs: int
    secrets_count: int
    audit_sync: str = "always"


class Identity(Result, frozen=True):
    """Who the kernel says, which clients this peer may be, which one it is, and its rights."""

    uid: int | None
    gid: int | None
    pid: int | None
    transport: str
    clients: tuple[str, ...]
    client: str | None
    permissions: Mapping[str, tuple[str, ...]]
    deny: tuple[str, ...] = ()


class Found(Result, frozen=True):
    """A secret's value and the version it came from. `encoding` "base64" when it isn't text."""

    name: SecretName
    value: SecretValue
    kid: Kid
    expires_at: datetime
    version: int
    encoding: Literal["base64"] | None = None


class Stored(Result, frozen=True):
    """The version that is current after a put that found the name there.

    Of one that is `pending` the hook is still at work, or it is published before it signs.
    """

    name: SecretName
    kid: Kid
    version: int
    expires_at: datetime
    pending: bool = False


class Created(Stored, frozen=True):
    """The version that is current after a put that made the name (HTTP 201)."""


class Listed(Struct, frozen=True, omit_defaults=True):
    """One secret in a list. `in_grace` older versions of it are still served by their kids."""

    name: SecretName
    kid: Kid
    version: int
    kind: Kind
    created_at: datetime
    expires_at: datetime
    is_expired: bool
    state: State
    in_grace: int = 0


class Listing(Result, frozen=True):
    """A page of secrets by name; `next` is the `after` of the following page."""

    secrets: tuple[Listed, ...]
    next: str | None = None


class VersionInfo(Struct, frozen=True, omit_defaults=True):
    """One version in its life, never its value.

    `until` is the end of its grace, or when a pending one comes into force. `last_read` is when the
    daemon last gave it out since `VersionListing.reads_since`, and `last_reader` to which client.
    """

    kid: Kid
    version: int
    state: State
    created_at: datetime
    until: datetime | None = None
    last_read: datetime | None = None
    last_reader: str | None = None


class VersionListing(Result, frozen=True):
    """A secret's versions, oldest first. `reads_since`: reads before it aren't known."""

    name: SecretName
    versions: tuple[VersionInfo, ...]
    reads_since: datetime


class Revoked(Result, frozen=True):
    """A version that is served no more, and the one that is current."""

    name: SecretName
    kid: Kid
    current: Kid


class Elapsed(Result, frozen=True):
    """The names that are due for rotation by a person, said for the first time; `failed` are those
    that the clock couldn't rotate."""

    due: tuple[SecretName, ...] = ()
    failed: tuple[SecretName, ...] = ()


class FailureInfo(Struct, frozen=True):
    """One name's error inside a result that is about several."""

    code: str
    message: str


class Rotated(Result, frozen=True):
    """What `rotate` did, name by name. A `pending` one has a new version that isn't current yet."""

    rotated: tuple[SecretName, ...]
    rotated_count: int
    pending: tuple[SecretName, ...]
    failed: Mapping[str, FailureInfo]


class Deleted(Result, frozen=True):
    """A secret that is gone from `get` and `list`; until `restorable_until` it can come back."""

    name: SecretName
    restorable_until: datetime


class Told(Result, frozen=True):
    """A watch's message: the current kid by name, None for a secret that isn't there (any more).

    `more`: what the next ones tell belongs to it, up to one without. That has a `seq`, the vault's
    sequence number, and is `whole` where what isn't named isn't there. An empty one is a heartbeat.
    """

    secrets: Mapping[SecretName, Kid | None] = {}
    seq: int | None = None
    whole: bool = False
    more: bool = False


class JwtSigned(Result, frozen=True):
    """A token, the version that signed it, and when it ends."""

    token: BearerToken
    kid: Kid
    expires_at: datetime


class JwtVerified(Result, frozen=True):
    """What a token claims that holds, and the version that signed it."""

    claims: Mapping[str, Any]
    kid: Kid


class Jwk(Struct, frozen=True):
    """One public key (RFC 8037, 2): `x` is its 32 bytes in base64url without padding."""

    x: str
    kid: Kid
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    use: Literal["sig"] = "sig"
    alg: Literal["EdDSA"] = "EdDSA"


class KeySet(Result, frozen=True):
    """The public keys of all signing keys, also of those that are in grace or yet to sign."""

    keys: tuple[Jwk, ...]


class Verdict(Result, frozen=True):
    """The policy's decision and the rule that made it."""

    allowed: bool
    rule: str


class TokenCreated(Result, frozen=True):
    """A new token. This is the only time that it is shown."""

    token_id: str
    token: BearerToken
    client: ClientId
    expires_at: datetime


class TokenListed(Struct, frozen=True):
    """One token, without the token."""

    token_id: str
    client: ClientId
    created_at: datetime
    expires_at: datetime
    uids: tuple[int, ...]


class TokenListing(Result, frozen=True):
    """Every token that is known."""

    tokens: tuple[TokenListed, ...]


class TokenRevoked(Result, frozen=True):
    """A token that works no more."""

    token_id: str


class AuditHeadStatus(Result, frozen=True):
    """Where the audit chain ends: sequence number, SHA-256 in hex, and the signature over both."""

    log_id: str
    key_id: str
    seq: int
    head: str
    vault_head: str
    signature: str


class AuditEntry(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An entry of the audit log, as `jarvis_secretsd.domain.audit` writes it, without its hashes.

    `found` is what had happened to the log's file where a segment of it begins.
    """

    seq: int
    time: datetime
    op: str
    outcome: str = "recorded"
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    transport: str | None = None
    unit: str | None = None
    client: str | None = None
    name: str | None = None
    kid: str | None = None
    rule: str | None = None
    vault_seq: int | None = None
    count: int | None = None
    note: str | None = None
    found: str | None = None
    recovered: bool = False


class AuditPage(Result, frozen=True):
    """Entries of the audit log, the oldest first.

    The next page towards the end is `after`, towards the beginning `before`, which isn't there
    where nothing came before. A page may be empty and yet not the last. `unreadable` lines are
    no entries, and `unread` are files of the log that the daemon can't show.
    """

    entries: tuple[AuditEntry, ...]
    after: int
    before: int | None = None
    unreadable: int = 0
    unread: tuple[str, ...] = ()


class RefusalListed(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A refusal that came `count` times, and the line of policy that would allow it (`remedy`).

    `op` is empty where the request couldn't be read.
    """

    first: datetime
    last: datetime
    count: int
    uid: int | None
    transport: str
    unit: str | None = None
    client: str | None = None
    op: str = ""
    name: str | None = None
    rule: str
    remedy: str = ""


class DenialListing(Result, frozen=True):
    """The refusals since the daemon started, the latest last; the oldest are forgotten."""

    denials: tuple[RefusalListed, ...]
    since: datetime


class Reloaded(Result, frozen=True):
    """The policy that is in force after a reload, by its digest."""

    policy: str
    clients: int


class LockStatus(Result, frozen=True):
    """Whether the vault is locked, and since when."""

    locked: bool
    since: datetime | None = None


class MetricsText(Result, frozen=True):
    """Prometheus text, ready to send."""

    body: bytes


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why not: a stable code and a sentence. `allow` lists methods where the method was wrong."""

    code: str
    message: str
    reason: Reason | None = None
    allow: tuple[str, ...] = ()


Reply = Result | Failure
