"""What `init` lays: a configuration, a policy beside it, and the directories that they name.

Everything is planned, and what would be written is read as the daemon will read it, before the
first thing is made.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.accounts import Account, account, acting_as, group_name
from jarvis_secretsd.daemon.configfile import parse_config
from jarvis_secretsd.daemon.policyfile import load_policy
from jarvis_secretsd.domain.policy import NO_ID, OVERFLOW_ID
from jarvis_secretsd.errors import ConfigurationError, UnsafeFile

CONFIG = """\
# Written by `jarvis-secretsd init`. A setting that isn't here has its default; config.toml.example
# shows them all. After a change: jarvis-secretsd check

[server]
# "127.0.0.1:8081" is for programs that can't use a Unix socket. "": no TCP.
bind_addr = {tcp}
socket_path = {socket}
{mode_reason}
socket_mode = {mode}

[paths]
vault_path = {vault}
# Keep a copy of the key elsewhere: without it, or the recovery code, the vault can't be opened.
master_key_path = {key}
audit_path = {audit}

[security]
rbac_policy_path = {policy}
"""

OPEN_REASON = """\
# Anyone on this host may connect, and gets what the policy gives its user. To let fewer connect:
# "0660", and socket_group = a group of theirs."""

OWN_REASON = "# The socket's directory is yours alone, and so is the socket."

POLICY = """\
# Who may have which secret; docs/policy.md explains every line. After a change:
# jarvis-secretsd check, then SIGHUP to the daemon.
default_deny: true

clients:
  admin:
    users: [{admin}]
    permissions: [all]
    allow: ["*"]

  # A service gets a client of its own, bound to the user that it runs as:
  # backend:
  #   users: [jarvis-backend]
  #   allow: [postgres_password, jwt_signing_key]
"""

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Wishes(Struct, frozen=True):
    """Who is to be admin, who runs the daemon, and where everything goes."""

    admin: Account
    daemon: Account
    config: Path
    state: Path
    socket: Path
    tcp: str

    @property
    def is_shared(self) -> bool:
        """Others than the daemon's own user are to connect."""
        return os.geteuid() == 0 or self.admin.uid != self.daemon.uid


class Piece(Struct, frozen=True):
    """A file, or without `data` a directory, that is to be made. `why` is told to people."""

    path: Path
    uid: int
    gid: int
    mode: int
    why: str
    data: bytes | None = None

    def __str__(self) -> str:
        owner = f"{account(self.uid).name}:{group_name(self.gid)}"
        return f"{self.path} ({self.why}; {owner}, {self.mode:04o})"


class Plan(Struct, frozen=True):
    """The pieces in the order of their making, each directory before what lies in it."""

    daemon: Account
    pieces: tuple[Piece, ...]


def plan(wishes: Wishes, environ: Mapping[str, str]) -> Plan:
    """What is to be made. Raises ConfigurationError for what is there or can't work; UnsafeFile."""
    policy_path = wishes.config.with_name("policy.yaml")
    _refuse_what_is_there(wishes.config, policy_path)
    _must_be_writable(wishes)
    directories = _directories(wishes)
    for path in (wishes.state, wishes.socket.parent):
        if path not in directories:
            _must_serve(path, wishes.daemon)
    policy, config = _files(wishes, policy_path)
    _read_back(wishes, environ, config, policy)
    return Plan(wishes.daemon, (*directories.values(), policy, config))


def lay(plan: Plan) -> None:
    """Make every piece, or none. Raises UnsafeFile, ConfigurationError, StorageFull, ..."""
    with ExitStack() as undo:
        for piece in plan.pieces:
            try:
                if piece.data is None:
                    _make_directory(piece, plan.daemon)
                    undo.callback(os.rmdir, piece.path)
                else:
                    files.create_private(piece.path, piece.data)
                    undo.callback(os.unlink, piece.path)
                    _give(piece, os.O_RDONLY)
            except FileExistsError:
                raise _already_there(piece.path) from None
        undo.pop_all()


def _refuse_what_is_there(*paths: Path) -> None:
    there = [path for path in paths if os.path.lexists(path)]
    if there:
        raise _already_there(*there)


def _already_there(*paths: Path) -> ConfigurationError:
    text = "is there already, and nothing is overwritten; edit it, move it away, or name --config"
    return ConfigurationError(tuple(f"{path} {text}" for path in paths))


def _must_be_writable(wishes: Wishes) -> None:
    """Refuse, all at once, places below which we can't make anything."""
    faults = []
    for path, option in (
        (wishes.config, "--config FILE"),
        (wishes.state, "--state DIR"),
        (wishes.socket, "--socket PATH"),
    ):
        above = next(each for each in path.parents if os.path.lexists(each))
        if not (path.is_dir() or os.access(above, os.W_OK | os.X_OK, effective_ids=True)):
            faults.append(
                f"{path}: you can't write to {above}; run this with sudo, or name a place of yours "
                f"with {option}"
            )
    if faults:
        raise ConfigurationError(tuple(faults))
    if wishes.config.parent.exists():
        with files.opened_parent(wishes.config):
            pass  # each step of the way is one that nobody else can exchange


def _missing(path: Path, owner: Account, mode: int, why: str) -> list[Piece]:
    """The directory and those above it that aren't there, the uppermost first."""
    if path.is_dir():
        return []
    above = _missing(
        path.parent, _ourselves(), 0o755 if os.geteuid() == 0 else 0o700, "a directory"
    )
    return [*above, Piece(path, owner.uid, owner.gid, mode, why)]


def _must_serve(path: Path, daemon: Account) -> None:
    """Refuse a directory that is there, but that the daemon couldn't make its files in."""
    found = path.stat()
    if found.st_uid != daemon.uid:
        raise UnsafeFile(
            f"{path} belongs to uid {found.st_uid}, and {daemon} is to keep files there; run: "
            f"chown {daemon.uid} {shlex.quote(str(path))}, or name another user or place"
        )
    with acting_as(daemon), files.opened_parent(path / "file"):
        pass  # each step of the way is checked as the daemon will check it


def _make_directory(piece: Piece, daemon: Account) -> None:
    # Below a directory of the daemon's user the way is checked as that user, then made as us.
    as_whom = daemon if piece.path.parent.stat().st_uid == daemon.uid else None
    with ExitStack() as stack:
        if as_whom is None:
            directory, name = stack.enter_context(files.opened_parent(piece.path))
        else:
            with acting_as(as_whom):
                directory, name = stack.enter_context(files.opened_parent(piece.path))
        with files.storage_errors(piece.path):
            os.mkdir(name, 0o700, dir_fd=directory)
            _give(piece, os.O_RDONLY | os.O_DIRECTORY, name, directory)
            os.fsync(directory)


def _give(piece: Piece, flags: int, name: str | None = None, directory: int | None = None) -> None:
    """Owner and mode, set on the very thing that we made."""
    descriptor = os.open(name or piece.path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchown(descriptor, piece.uid, piece.gid)
            os.fchmod(descriptor, piece.mode)
    finally:
        os.close(descriptor)


def _directories(wishes: Wishes) -> dict[Path, Piece]:
    """The directories that aren't there, each after the one that it lies in."""
    us, shown = _ourselves(), os.geteuid() == 0
    wanted = (
        (wishes.config.parent, us, shown, "for the configuration"),
        (wishes.state, wishes.daemon, False, "the daemon's state"),
        (wishes.socket.parent, wishes.daemon, wishes.is_shared, "for the socket"),
    )
    pieces: dict[Path, Piece] = {}
    for path, owner, open_to_all, why in wanted:
        for piece in _missing(path, owner, 0o755 if open_to_all else 0o700, why):
            pieces.setdefault(piece.path, piece)
    return pieces


def _files(wishes: Wishes, policy_path: Path) -> tuple[Piece, Piece]:
    """The policy and the configuration: root's, and readable to the daemon's group; or ours."""
    us = _ourselves()
    mode, gid = (0o640, wishes.daemon.gid) if us.uid == 0 else (0o600, us.gid)
    policy, config = _policy(wishes.admin).encode(), _config(wishes, policy_path).encode()
    why = f"the policy, whose admin is {wishes.admin}"
    return (
        Piece(policy_path, us.uid, gid, mode, why, policy),
        Piece(wishes.config, us.uid, gid, mode, "the configuration", config),
    )


def _ourselves() -> Account:
    return account(os.geteuid())


def _policy(admin: Account) -> str:
    plain = _PLAIN_NAME.fullmatch(admin.name)
    return POLICY.format(admin=admin.name if plain else admin.uid)


def _config(wishes: Wishes, policy: Path) -> str:
    places = {
        "tcp": wishes.tcp,
        "socket": wishes.socket,
        "mode": "0666" if wishes.is_shared else "0600",
        "vault": wishes.state / "vault.json",
        "key": wishes.state / "master.key",
        "audit": wishes.state / "audit.jsonl",
        "policy": policy,
    }
    for place in places.values():
        if not str(place).isprintable():
            raise ConfigurationError(
                (f"{str(place)!a} has a character that no file here may have",)
            )
    texts = {key: json.dumps(str(place), ensure_ascii=False) for key, place in places.items()}
    return CONFIG.format(mode_reason=OPEN_REASON if wishes.is_shared else OWN_REASON, **texts)


def _read_back(wishes: Wishes, environ: Mapping[str, str], config: Piece, policy: Piece) -> None:
    """Read what will be written as the daemon will. Raises ConfigurationError."""
    if wishes.admin.uid in (OVERFLOW_ID, NO_ID):
        raise ConfigurationError(
            (f"uid {wishes.admin.uid} is shared by all unknown users; run init as a user of yours",)
        )
    parse_config(config.data or b"", environ, source=config.path.name)
    load_policy(policy.data or b"", source=policy.path.name, own_uid=wishes.daemon.uid)
