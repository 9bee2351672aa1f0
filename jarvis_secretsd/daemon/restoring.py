"""Putting a proven backup in the place of what is there, or of nothing.

The vault comes last, and what was in its place goes first: between the two there is no vault, a
start is refused, and the restore can be done again. Nothing is deleted. The audit log, if it is the
backup's and has gone on since, stays and goes on, so that it tells of the restore.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from jarvis_secretsd.daemon import bundle, files, segments
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.bundle import Bundle
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.heads import Heads, read_heads, write_heads
from jarvis_secretsd.daemon.keys import AuditSigner, DataKey, Opener
from jarvis_secretsd.daemon.operating import by_operator
from jarvis_secretsd.daemon.proving import Proven
from jarvis_secretsd.daemon.startup import MAX_KEY_BYTES, Replay
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.domain.audit import Event, VaultHead
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.errors import SecretsError

_CHUNK = 1024 * 1024


class Found(Struct, frozen=True):
    """A vault that opens: what it holds, where it ends, and the highest time that was seen."""

    vault: Vault
    head: VaultHead
    vault_id: str
    time: datetime | None
    is_rekeyed: bool


class Present(Struct, frozen=True):
    """The files where a backup is to go, and the vault among them, or why there is none to see."""

    files: tuple[Path, ...]
    found: Found | None = None
    trouble: str = ""


class Restored(Struct, frozen=True):
    """Where vault and log end now, and where what was there is; did the log stay?"""

    vault: VaultHead
    entry: int
    aside: tuple[Path, ...]
    log_stayed: bool


def look(paths: PathsConfig, proven: Proven, opener: Opener) -> Present:
    """What is there, changing nothing. `opener` is the backup's."""
    there = tuple(path for path in _files(paths) if os.path.lexists(path))
    try:
        vault_file = LockedVault.open(paths.vault_path).unlock(opener)
    except FileNotFoundError:
        return Present(there, trouble="there is no vault among them")
    except SecretsError as error:
        return Present(there, trouble=f"the vault doesn't open: {error.message}")
    with closing(vault_file):
        try:
            vault = Replay(vault_file, "", None).vault
        except SecretsError as error:
            return Present(there, trouble=error.message)
        data_key = vault_file.data_key
        is_rekeyed = data_key.reveal() != proven.data_key.reveal()
        time = _time(paths, data_key)
        return Present(
            there, Found(vault, vault_file.head, vault_file.header.vault_id, time, is_rekeyed)
        )


def restore(
    backup: Bundle, proven: Proven, paths: PathsConfig, present: Present, now: datetime
) -> Restored:
    """Put the backup in place, durably, and have the log say so. The caller holds the vault's lock.

    Raises UnsafeFile, StorageFull, StorageFailed: then it can be done again. SyncFailed.
    """
    aside = _Aside(now)
    aside.take(paths.vault_path)
    log = _log_that_goes_on(paths, proven)
    stays = log is not None
    if log is None:
        for path in (*_logs(paths), paths.sign_key_path, paths.sign_pub_path):
            aside.take(path)
        _put_log(backup, proven, paths)
        log = AuditLog.open(str(paths.audit_path), proven.signer)
    with closing(log):
        log.write(now, [_event(proven, present, aside)], proven.manifest.vault)
        log.sync()
        aside.take(paths.heads_path)
        write_heads(paths.heads_path, _heads(proven, present, log), proven.data_key)
    _put(backup, bundle.VAULT, paths.vault_path)
    return Restored(proven.manifest.vault, log.signed_head.seq, aside.directories, stays)


class _Aside:
    """Directories named by the time, beside what they take in."""

    def __init__(self, now: datetime) -> None:
        self._name = f"replaced-{now:%Y%m%dT%H%M%SZ}"
        self._made: dict[str, str] = {}

    @property
    def directories(self) -> tuple[Path, ...]:
        return tuple(Path(parent, name) for parent, name in self._made.items())

    def take(self, path: Path) -> None:
        """Durably move it, if it is there."""
        if not os.path.lexists(path):
            return
        with files.opened_parent(path) as (parent, name), files.storage_errors(path):
            aside = self._made.get(str(path.parent)) or self._make(str(path.parent), parent)
            os.rename(name, f"{aside}/{name}", src_dir_fd=parent, dst_dir_fd=parent)
            for directory in (aside, "."):
                _sync_directory(directory, parent)

    def _make(self, path: str, parent: int) -> str:
        name, count = self._name, 1
        while True:
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                count += 1
                name = f"{self._name}-{count}"
            else:
                self._made[path] = name
                return name


def _sync_directory(name: str, parent: int) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(paths: PathsConfig) -> Iterator[Path]:
    """The files of a state, but for the master key and the lock."""
    yield paths.vault_path
    yield paths.heads_path
    yield from _logs(paths)
    yield paths.sign_key_path
    yield paths.sign_pub_path


def _logs(paths: PathsConfig) -> Iterator[Path]:
    """The log and its older segments."""
    found, unread = segments.survey(str(paths.audit_path))
    others = {Path(segment.path) for segment in found}
    others |= {paths.audit_path.with_name(name) for name in unread}
    yield paths.audit_path
    yield from sorted(others - {paths.audit_path})


def _log_that_goes_on(paths: PathsConfig, proven: Proven) -> AuditLog | None:
    """The log that is there, if the backup's end stands in it."""
    end = proven.manifest.audit
    try:
        pem = files.read_private(paths.sign_key_path, MAX_KEY_BYTES)
        signer = AuditSigner.from_pem(pem, str(paths.sign_key_path))
        log = AuditLog.open(str(paths.audit_path), signer)
    except (FileNotFoundError, SecretsError):
        return None
    is_same = log.log_id == proven.manifest.log_id and log.signed_head.seq >= end.seq
    if is_same and (log.contains(end.seq, end.head) or not log.reaches_back_to(end.seq)):
        return log
    log.close()
    return None


def _put_log(backup: Bundle, proven: Proven, paths: PathsConfig) -> None:
    files.replace_private(paths.sign_key_path, proven.signer.to_pem())
    public = backup.read(bundle.SIGN_PUB)
    files.replace_private(paths.sign_pub_path, public, mode=0o644)
    for name in (part.name for part in proven.manifest.parts):
        if name.startswith(bundle.OLDER_LOG):
            _put(backup, name, Path(f"{paths.audit_path}{name.removeprefix(bundle.OLDER_LOG)}"))
    _put(backup, bundle.LOG, paths.audit_path)


def _put(backup: Bundle, name: str, path: Path) -> None:
    with backup.open_part(name) as part:
        os.close(files.replace_chunks(path, iter(lambda: part.read(_CHUNK), b"")))


def _event(proven: Proven, present: Present, aside: _Aside) -> Event:
    manifest = proven.manifest
    note = (
        f"from the backup of {manifest.time:%Y-%m-%d %H:%M:%S}Z, sha256 {proven.digest}: the vault "
        f"as of record {manifest.vault.seq}, which entry {manifest.audit.seq} knew"
    )
    if present.found is not None:
        note += f"; it had ended at record {present.found.head.seq}, {present.found.head.head}"
    if aside.directories:
        note += f"; what was there is in {aside.directories[0].name}"
    return by_operator("restored", note)


def _heads(proven: Proven, present: Present, log: AuditLog) -> Heads:
    signed, times = log.signed_head, [proven.heads.time]
    if present.found is not None and present.found.time is not None:
        times.append(present.found.time)
    return Heads(
        vault=proven.manifest.vault,
        log_id=log.log_id,
        audit_seq=signed.seq,
        audit_head=signed.head,
        audit_signature=signed.signature,
        audit_public_key=proven.signer.public_key.hex(),
        time=max(times),
    )


def _time(paths: PathsConfig, data_key: DataKey) -> datetime | None:
    try:
        return read_heads(paths.heads_path, data_key).time
    except (FileNotFoundError, SecretsError):
        return None
