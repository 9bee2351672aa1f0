"""The configuration: one frozen Struct per section of config.toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from jarvis_secretsd.daemon.addresses import UNIX_PREFIX, TcpAddress, parse_tcp
from jarvis_secretsd.domain.rotation import MAX_DAYS
from jarvis_secretsd.values import Kind

MAX_SECS = 24 * 3600
"""A day: no wait of this program is longer, and more is a slip of the hand."""

DEFAULT_SOCKET = Path("/run/jarvis/secretsd.sock")

DEFAULT_CREDENTIALS = Path("/run/jarvis-credentials/secretsd.sock")
"""Where jarvis-credentials.socket listens."""

Level = Literal["trace", "debug", "info", "warn", "error", "off"]

FilePath = Annotated[Path, Meta(description="an absolute path")]
FileMode = Annotated[
    str,
    Meta(pattern=r"^0?[0-7]{3}$", description='octal digits as text, as in "0660"'),
]
Host = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._\[\]:-]{1,255}$",
        description='a host as a Host header has it, as in "host.docker.internal:8081"',
    ),
]
CredentialName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$", description="a systemd credential's name"),
]
Glob = Annotated[
    str, Meta(min_length=1, max_length=255, description="a pattern of names, as in 'db_*'")
]
Days = Annotated[int, Meta(ge=1, le=MAX_DAYS, description=f"whole days from 1 to {MAX_DAYS}")]
GraceDays = Annotated[int, Meta(ge=0, le=MAX_DAYS, description=f"whole days from 0 to {MAX_DAYS}")]
Secs = Annotated[int, Meta(ge=1, le=MAX_SECS, description=f"whole seconds from 1 to {MAX_SECS}")]
BeatSecs = Annotated[int, Meta(ge=1, le=30, description="whole seconds from 1 to 30")]
"""Who watches takes a connection that is silent for a minute for a dead one."""

TokenSecs = Annotated[
    int,
    Meta(ge=1, le=366 * MAX_SECS, description=f"whole seconds from 1 to {366 * MAX_SECS}"),
]
IssuerName = Annotated[
    str, Meta(min_length=1, max_length=255, description='a name, as in "jarvis-secretsd"')
]
Count = Annotated[int, Meta(ge=1, le=1_000_000, description="a number from 1 to 1000000")]
Command = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[^\x00]+$", description="text without NUL")], ...],
    Meta(min_length=1, description='a list like ["/path/of/program", "argument"]'),
]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of config.toml."""


class ServerConfig(Section, frozen=True):
    """Where to listen. `bind_addr` is `IP:PORT`, `unix://PATH` or "" for no TCP.

    `credentials_path` is the socket of systemd's LoadCredential=, which is made if it is given here
    and wasn't handed to us.
    """

    bind_addr: str = ""
    allow_unix_socket: bool = True
    socket_path: FilePath = DEFAULT_SOCKET
    socket_mode: FileMode = "0660"
    socket_group: str | None = None
    credentials_path: FilePath | None = None
    max_connections: Count = 8192
    allowed_hosts: tuple[Host, ...] = ()

    @property
    def tcp(self) -> TcpAddress | None:
        """The TCP address to listen on, if any."""
        if not self.bind_addr or self.bind_addr.startswith(UNIX_PREFIX):
            return None
        return parse_tcp(self.bind_addr)

    @property
    def unix_path(self) -> Path | None:
        """The Unix socket's path, if there is to be one; `unix://PATH` wins over `socket_path`."""
        if self.bind_addr.startswith(UNIX_PREFIX):
            return Path(self.bind_addr.removeprefix(UNIX_PREFIX))
        return self.socket_path if self.allow_unix_socket else None

    @property
    def permissions(self) -> int:
        """`socket_mode` as a number."""
        return int(self.socket_mode, 8)


class PathsConfig(Section, frozen=True):
    """The files of the daemon. The properties are those that lie beside them."""

    vault_path: FilePath = Path("/var/lib/jarvis-secretsd/vault.json")
    master_key_path: FilePath = Path("/var/lib/jarvis-secretsd/master.key")
    audit_path: FilePath = Path("/var/lib/jarvis-secretsd/audit.jsonl")

    @property
    def lock_path(self) -> Path:
        """Locked while a daemon has this vault; never renamed."""
        return self.vault_path.with_suffix(".lock")

    @property
    def heads_path(self) -> Path:
        """Where vault and audit log ended, as last seen."""
        return self.vault_path.with_suffix(".heads")

    @property
    def sign_key_path(self) -> Path:
        """The private key that signs the audit log."""
        return self.audit_path.with_name("audit.sign.key")

    @property
    def sign_pub_path(self) -> Path:
        """The public key that checks it, for anyone to copy."""
        return self.audit_path.with_name("audit.sign.pub")


class SecurityConfig(Section, frozen=True):
    """Days until a secret is due, days that its old version stays readable, and who may ask."""

    rotation_days: Days = 90
    grace_days: GraceDays = 14
    require_client_id_header: bool = True
    deny_network_remote: bool = True
    rbac_policy_path: FilePath = Path("/etc/jarvis-secretsd/policy.yaml")


class CryptoConfig(Section, frozen=True):
    """How a new vault is sealed (an existing one's header decides), and what opens it."""

    aead: Literal["xchacha20-poly1305", "aes-gcm-256"] = "xchacha20-poly1305"
    jwt_sign_algo: Literal["ed25519"] = "ed25519"
    kdf: Literal["argon2id"] = "argon2id"
    unlock: Literal["file", "credential", "passphrase"] = "file"
    credential: CredentialName = "jarvis-master-key"


class LoggingConfig(Section, frozen=True):
    """The least level that is logged, and whether a line is JSON. RUST_LOG overrides the level."""

    level: Level = "info"
    json: bool = False


class AuditConfig(Section, frozen=True):
    """When the log is synced. "interval": a secret may leave before its entry is on the disk.

    Whoever asks for the value of one of the `canaries` raises an alarm.
    """

    sync: Literal["always", "interval"] = "always"
    interval_secs: Secs = 1
    canaries: tuple[Glob, ...] = ()


class RotationConfig(Section, frozen=True):
    """What the clock may rotate, and what kind of secret a name speaks of.

    An entry of `kinds` takes the place of the built-in patterns for that kind. A signing key that
    the clock makes is published `publish_secs` before it signs; a clock that jumped ahead is
    believed after `confirm_clock_secs`. In the directory `units_path` lies the name of each unit
    that a rotation makes restart.
    """

    auto: tuple[Glob, ...] = ()
    publish_secs: Secs = 600
    confirm_clock_secs: Secs = 60
    units_path: FilePath = Path("/run/jarvis-units")
    kinds: Mapping[Kind, tuple[Glob, ...]] = {}


class JwtConfig(Section, frozen=True):
    """Who tokens say has issued them, and how long they are good: by default, and at most."""

    issuer: IssuerName = "jarvis-secretsd"
    ttl_secs: TokenSecs = 3600
    max_ttl_secs: TokenSecs = 24 * 3600


class LimitsConfig(Section, frozen=True):
    """What one user may take, and how long a connection may keep us waiting.

    A watcher hears something at least every `heartbeat_secs`.
    """

    max_connections_per_uid: Count = 1024
    idle_secs: Secs = 300
    request_secs: Secs = 15
    heartbeat_secs: BeatSecs = 15
    refusals_per_minute: Count = 60


class HookConfig(Section, frozen=True):
    """A program that changes the far end when a secret whose name matches is rotated.

    Of several whose patterns match, the first is the secret's hook.
    """

    pattern: Glob
    command: Command
    timeout_secs: Secs = 30


class Config(Section, frozen=True):
    """The whole configuration."""

    server: ServerConfig = ServerConfig()
    paths: PathsConfig = PathsConfig()
    security: SecurityConfig = SecurityConfig()
    crypto: CryptoConfig = CryptoConfig()
    logging: LoggingConfig = LoggingConfig()
    audit: AuditConfig = AuditConfig()
    rotation: RotationConfig = RotationConfig()
    jwt: JwtConfig = JwtConfig()
    limits: LimitsConfig = LimitsConfig()
    hooks: tuple[HookConfig, ...] = ()
