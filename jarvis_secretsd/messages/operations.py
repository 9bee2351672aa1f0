"""What can be asked: one frozen class per operation.

`Request` is an operation with the caller's claim. A field that a body calls `client` and that isn't
the claim is `subject` here and in a frame, where `client` is always the claim; in the same way a
`token` that isn't the caller's own is `jwt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from jarvis_secretsd.values import (
    BearerToken,
    ClientId,
    Kid,
    Kind,
    Permission,
    SecretName,
)

RequestId = int | str
"""What a frame's sender calls its request: a 64-bit integer, or text of at most 64 bytes."""

Moment = Annotated[datetime, Meta(tz=True)]
"""A time with its zone: one without couldn't be compared."""

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
    current, "" says that the name must not exist. Days are whole days. `length` (characters) and
    `alphabet` say how a value is generated, now and at each rotation.
    """

    name: SecretName
    value: str | None = None
    encoding: Literal["base64"] | None = None
    kind: Kind | None = None
    rotation_days: int | None = None
    grace_days: int | None = None
    auto_rotate: bool | None = None
    expect_kid: str | None = None
    length: int | None = None
    alphabet: str | None = None

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


class Versions(Operation, frozen=True, tag="versions"):
    """The versions of a secret that are kept, and who read each last."""

    name: SecretName


class Rollback(Operation, frozen=True, tag="rollback"):
    """Make a version in grace current again: the one with this kid, or the latest."""

    name: SecretName
    kid: Kid | None = None


class Revoke(Operation, frozen=True, tag="revoke"):
    """End a version at once."""

    name: SecretName
    kid: Kid


class Delete(Operation, frozen=True, tag="delete"):
    """Take a secret out of `get` and `list`, recoverable until its grace ends."""

    name: SecretName


class Restore(Operation, frozen=True, tag="restore"):
    """Bring a deleted secret back."""

    name: SecretName


class Watch(Operation, frozen=True, tag="watch"):
    """Tell me when one of these secrets changes, or any that I may read (no names).

    It begins with what is, or with what has changed since `after`, the `seq` of what was told last.
    """

    names: tuple[SecretName, ...] = ()
    after: int | None = None


class SignJwt(Operation, frozen=True, tag="sign_jwt"):
    """A token with these claims, good for `ttl` seconds, signed by the secret `key`.

    The daemon adds the claims `iss`, `iat`, `exp` and `jti`. No `key`: the one that is called
    `jwt_signing_key`, or the only one with which the client may sign.
    """

    claims: Mapping[str, Any]
    ttl: int | None = None
    key: SecretName | None = None

    def __repr__(self) -> str:
        return f"SignJwt(claims=***, ttl={self.ttl!r}, key={self.key!r})"


class VerifyJwt(Operation, frozen=True, tag="verify_jwt"):
    """Does this token hold, and what does it claim?

    `audience` is who asks; a token that is for somebody holds for nobody else. `issuer` None: the
    daemon must have issued it.
    """

    jwt: str = field(name="token")
    audience: str | None = None
    issuer: str | None = None

    def __repr__(self) -> str:
        return f"VerifyJwt(jwt=***, audience={self.audience!r}, issuer={self.issuer!r})"


class Jwks(Operation, frozen=True, tag="jwks"):
    """The public keys by which tokens verify. Needs no client."""


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


class AuditLog(Operation, frozen=True, tag="audit_log"):
    """A page of the audit log: the last entries, those `before` a number, or those `after` one.

    At most `limit` of them (None: `MAX_PAGE`), not older than `since`, about names that match
    `pattern`, and by the client `subject`, where these are given.
    """

    before: int | None = None
    after: int | None = None
    limit: int | None = None
    pattern: str | None = None
    subject: ClientId | None = None
    since: Moment | None = None


class Denials(Operation, frozen=True, tag="denials"):
    """The latest refusals, each with the line of policy that would allow it."""


class Reload(Operation, frozen=True, tag="reload"):
    """Read the policy anew."""


class Lock(Operation, frozen=True, tag="lock"):
    """Release no secret, sign no token and tell of no change until `unlock`, restarts included."""


class Unlock(Operation, frozen=True, tag="unlock"):
    """Release again what the policy allows."""


class Backup(Operation, frozen=True, tag="backup"):
    """Where vault and log end, for who backs them up; then, that it was `taken` (its SHA-256)."""

    taken: str | None = None


class Metrics(Operation, frozen=True, tag="metrics"):
    """The counters as Prometheus text; HTTP only."""


class Settle(Operation, frozen=True, tag="settle"):
    """What became of a pending version: its hook's word, which the daemon says to itself.

    "confirm": the far end has it; "drop": it hasn't; "doubt": nobody can tell.
    """

    name: SecretName
    kid: Kid
    outcome: Literal["confirm", "drop", "doubt"]
    note: str = ""


class LoadCredential(Operation, frozen=True, tag="load_credential"):
    """The credential `file` of a unit, as systemd asks for it by the address that it connects from.

    It comes to a `get`, and that is what the audit log has.
    """

    unit: str
    file: str


class Elapse(Operation, frozen=True, tag="elapse"):
    """Do what the time has brought for these names: the daemon says this to itself.

    `told` are those of which people know that they are due, `deferred` those that the clock doesn't
    rotate again so soon.
    """

    names: tuple[SecretName, ...]
    told: frozenset[SecretName] = frozenset()
    deferred: frozenset[SecretName] = frozenset()


AnyOperation = (
    Get
    | Put
    | List
    | Versions
    | Rotate
    | Rollback
    | Revoke
    | Settle
    | Elapse
    | LoadCredential
    | Delete
    | Restore
    | Watch
    | SignJwt
    | VerifyJwt
    | Jwks
    | Health
    | WhoAmI
    | Can
    | TokenCreate
    | TokenList
    | TokenRevoke
    | AuditHead
    | AuditLog
    | Denials
    | Reload
    | Lock
    | Unlock
    | Backup
    | Metrics
)
"""Every operation; a `match` over it that forgets one doesn't type-check."""


class Request(Struct, frozen=True):
    """An operation, and who the caller claims to be. The claim only chooses among what may be."""

    operation: AnyOperation
    client: ClientId | None = None
    token: BearerToken | None = None
