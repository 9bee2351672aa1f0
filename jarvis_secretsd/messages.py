"""One frozen class per operation and per result: what both dialects mean.

`Request` is an operation with the caller's claim. A field that a body calls `client` and that isn't
the claim is `subject` here and in a frame, where `client` is always the claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from jarvis_secretsd.errors import Reason
from jarvis_secretsd.values import (
    BearerToken,
    ClientId,
    Kid,
    Kind,
    Permission,
    SecretName,
    SecretValue,
    State,
)

RequestId = int | str
"""What a frame's sender calls its request: a 64-bit integer, or text of at most 64 bytes."""

MAX_PAGE = 1000
"""Names in one page of `list`: a page of the longest names stays below a frame."""


class Operation(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    """What is asked."""

    @property
    def op(self) -> str:
        """The operation's name on the wire and in the audit log."""
        return str(self.__struct_config__.tag)


class Health(Operation, frozen=True, tag="health"):
    """Is the daemon well? Needs no client."""


class WhoAmI(Operation, frozen=True, tag="whoami"):
    """Who does the kernel say I am, and which clients may I be?"""


class Get(Operation, frozen=True, tag="get"):
    """The value of a secret: its current version, or the one with this kid."""

    name: SecretName
    kid: Kid | None = None


class Put(Operation, frozen=True, tag="put"):
    """Store a value, or without one generate it by an explicit kind.

    `encoding` "base64" says that `value` is base64 of bytes. `expect_kid` is the kid that must be
    current, "" says that the name must not exist. Days are whole days.
    """

    name: SecretName
    value: str | None = None
    encoding: Literal["base64"] | None = None
    kind: Kind | None = None
    rotation_days: int | None = None
    grace_days: int | None = None
    auto_rotate: bool | None = None
    expect_kid: str | None = None

    def __repr__(self) -> str:
        return f"Put(name={self.name!r}, value=***)"


class List(Operation, frozen=True, tag="list"):
    """The secrets that the client may read, by name, after `after`; no `limit`: all of them.

    A frame without a limit is given `MAX_PAGE`, since a reply has to fit one frame.
    """

    after: str | None = None
    limit: int | None = None


class Generate(Struct, frozen=True, forbid_unknown_fields=True):
    """How to make a value: `length` in characters, `alphabet` the characters to draw from."""

    kind: Kind
    length: int | None = None
    alphabet: str | None = None


class Rotate(Operation, frozen=True, tag="rotate"):
    """Give each name a new generated value; no names: all that are due and the clock may rotate."""

    names: tuple[SecretName, ...] = ()
    generate: Generate | None = None


class Delete(Operation, frozen=True, tag="delete"):
    """Take a secret out of `get` and `list`, recoverable until its grace ends."""

    name: SecretName


class Restore(Operation, frozen=True, tag="restore"):
    """Bring a deleted secret back."""

    name: SecretName


class Can(Operation, frozen=True, tag="can"):
    """May this client do that, and which rule says so? `uid` asks for a peer of that uid."""

    subject: ClientId = field(name="client")
    permission: Permission
    name: SecretName | None = None
    uid: int | None = None


class TokenCreate(Operation, frozen=True, tag="token_create"):
    """A token for a client: `ttl_secs` from now (None: a year), for these `uids` (none: anyone)."""

    subject: ClientId = field(name="client")
    ttl_secs: int | None = None
    uids: tuple[int, ...] = ()


class TokenList(Operation, frozen=True, tag="token_list"):
    """Every token that is known, never the token itself."""


class TokenRevoke(Operation, frozen=True, tag="token_revoke"):
    """End a token by its token id."""

    token_id: str


class AuditHead(Operation, frozen=True, tag="audit_head"):
    """The end of the audit chain, for a witness to keep."""


class Reload(Operation, frozen=True, tag="reload"):
    """Read the policy anew."""


class Metrics(Operation, frozen=True, tag="metrics"):
    """The counters as Prometheus text; HTTP only."""


AnyOperation = (
    Get
    | Put
    | List
    | Rotate
    | Delete
    | Restore
    | Health
    | WhoAmI
    | Can
    | TokenCreate
    | TokenList
    | TokenRevoke
    | AuditHead
    | Reload
    | Metrics
)
"""Every operation; a `match` over it that forgets one doesn't type-check."""


class Request(Struct, frozen=True):
    """An operation, and who the caller claims to be. The claim only chooses among what may be."""

    operation: AnyOperation
    client: ClientId | None = None
    token: BearerToken | None = None


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
    """The version that is current after a put that found the name there."""

    name: SecretName
    kid: Kid
    version: int
    expires_at: datetime


class Created(Stored, frozen=True):
    """The version that is current after a put that made the name (HTTP 201)."""


class Listed(Struct, frozen=True):
    """One secret in a list."""

    name: SecretName
    kid: Kid
    version: int
    kind: Kind
    created_at: datetime
    expires_at: datetime
    is_expired: bool
    state: State


class Listing(Result, frozen=True):
    """A page of secrets by name; `next` is the `after` of the following page."""

    secrets: tuple[Listed, ...]
    next: str | None = None


class FailureInfo(Struct, frozen=True):
    """One name's error inside a result that is about several."""

    code: str
    message: str


class Rotated(Result, frozen=True):
    """What `rotate` did, name by name."""

    rotated: tuple[SecretName, ...]
    rotated_count: int
    pending: tuple[SecretName, ...]
    failed: Mapping[str, FailureInfo]


class Deleted(Result, frozen=True):
    """A secret that is gone from `get` and `list`; until `restorable_until` it can come back."""

    name: SecretName
    restorable_until: datetime


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


class Reloaded(Result, frozen=True):
    """The policy that is in force after a reload, by its digest."""

    policy: str
    clients: int


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
