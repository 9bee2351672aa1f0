"""Taking a backup: vault and audit log up to one moment, while a daemon goes on with both.

Both files only grow at their ends. So whoever knows where they ended at one moment copies up to
there, and has what a start would find if the daemon had been stopped in that moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO

from msgspec import Struct

from jarvis_secretsd import __version__
from jarvis_secretsd.daemon import bundle, files, segments
from jarvis_secretsd.daemon.bundle import Manifest, Writer
from jarvis_secretsd.daemon.commit import Ledger, Turn
from jarvis_secretsd.daemon.config import Config, PathsConfig
from jarvis_secretsd.daemon.configfile import MAX_CONFIG_BYTES
from jarvis_secretsd.daemon.draft import Draft
from jarvis_secretsd.daemon.heads import Heads, read_heads, sealed_heads, write_heads
from jarvis_secretsd.daemon.keys import AuditSigner, Opener, public_to_pem
from jarvis_secretsd.daemon.operating import by_operator
from jarvis_secretsd.daemon.policyfile import MAX_POLICY_BYTES
from jarvis_secretsd.daemon.startup import MAX_KEY_BYTES, State
from jarvis_secretsd.daemon.vaultfile import LockedVault, VaultFile
from jarvis_secretsd.daemon.vaultlines import BrokenLine, record_number
from jarvis_secretsd.domain.audit import SignedHead, VaultHead
from jarvis_secretsd.domain.auditreading import Broken, read_opening
from jarvis_secretsd.domain.safekeeping import backup
from jarvis_secretsd.domain.witness import Act
from jarvis_secretsd.errors import StateRefused, StorageFailed, StorageFull
from jarvis_secretsd.messages import AuditHeadStatus

ATTEMPTS = 5
"""Compaction and logrotate exchange a file between question and copy: rarely, and not often."""

AskEnd = Callable[[], AuditHeadStatus]
"""Where the audit log ends, and with it the vault, both durable."""


class Sources(Struct, frozen=True):
    """What is backed up; `config_path` None: the configuration stands in no file.

    `older_logs` says that the rotated segments of the log are wanted too.
    """

    config: Config
    config_path: Path | None
    older_logs: bool = False


class _Cut(Struct, frozen=True):
    """Vault and log, open at their beginnings, how many bytes of each are meant, and the end."""

    vault: IO[bytes]
    vault_size: int
    log: IO[bytes]
    log_size: int
    head: VaultHead
    signed: SignedHead
    log_id: str


def write_backup(
    draft: Draft, sources: Sources, opener: Opener, ask_end: AskEnd, now: datetime
) -> None:
    """Write a durable backup into this draft. It isn't proven yet.

    Raises KeyRefused, UnsafeFile, StateRefused, StorageFull, StorageFailed, and what `ask_end`
    raises.
    """
    paths = sources.config.paths
    with (
        closing(LockedVault.open(paths.vault_path).unlock(opener)) as vault,
        _cut(paths, ask_end) as cut,
        files.storage_errors(draft.path),
    ):
        writer = Writer(draft.file, now)
        writer.add(bundle.VAULT, cut.vault, cut.vault_size, str(paths.vault_path))
        writer.add(bundle.LOG, cut.log, cut.log_size, str(paths.audit_path))
        _add_heads_and_keys(writer, paths, vault, cut, now)
        if sources.older_logs:
            _add_older_logs(writer, paths, cut)
        _add_texts(writer, sources)
        writer.finish(_manifest(writer, vault, cut, now), vault.data_key)
        draft.file.flush()
        os.fsync(draft.file.fileno())


def _manifest(writer: Writer, vault: VaultFile, cut: _Cut, now: datetime) -> Manifest:
    return Manifest(
        program=__version__,
        host=os.uname().nodename,
        time=now,
        vault_id=vault.header.vault_id,
        vault=cut.head,
        log_id=cut.log_id,
        audit=cut.signed,
        parts=tuple(writer.parts),
    )


def _add_heads_and_keys(
    writer: Writer, paths: PathsConfig, vault: VaultFile, cut: _Cut, now: datetime
) -> None:
    pem = files.read_private(paths.sign_key_path, MAX_KEY_BYTES)
    signer = AuditSigner.from_pem(pem, str(paths.sign_key_path))
    heads = Heads(
        vault=cut.head,
        log_id=cut.log_id,
        audit_seq=cut.signed.seq,
        audit_head=cut.signed.head,
        audit_signature=cut.signed.signature,
        audit_public_key=signer.public_key.hex(),
        time=_highest_time(paths, vault, now),
    )
    writer.add_bytes(bundle.HEADS, sealed_heads(heads, vault.data_key), str(paths.heads_path))
    sealed = bundle.seal_signer(signer, vault.data_key, vault.header.vault_id)
    writer.add_bytes(bundle.SIGN_KEY, sealed, str(paths.sign_key_path))
    public = public_to_pem(signer.public_key)
    writer.add_bytes(bundle.SIGN_PUB, public, str(paths.sign_pub_path))


def _highest_time(paths: PathsConfig, vault: VaultFile, now: datetime) -> datetime:
    try:
        return max(now, read_heads(paths.heads_path, vault.data_key).time)
    except (FileNotFoundError, StateRefused):  # whoever starts it will say so
        return now


def _add_older_logs(writer: Writer, paths: PathsConfig, cut: _Cut) -> None:
    """The segments that began before ours did, as they are, compressed or not."""
    first = _opening_number(cut.log)
    for segment in segments.find_segments(str(paths.audit_path)):
        if segment.opening is not None and segment.opening.seq < first:
            with segments.opened_raw(segment.path) as log:
                name = bundle.OLDER_LOG + segment.path.removeprefix(str(paths.audit_path))
                writer.add(name, log, os.fstat(log.fileno()).st_size, segment.path)


def _opening_number(log: IO[bytes]) -> int:
    log.seek(0)
    try:
        return read_opening(log.readline().removesuffix(b"\n")).seq
    except Broken as broken:
        raise StateRefused(f"the first line of the audit log {broken}") from None


def _add_texts(writer: Writer, sources: Sources) -> None:
    """Configuration and policy, which a restore leaves to people."""
    policy = sources.config.security.rbac_policy_path
    with suppress(FileNotFoundError):
        writer.add_bytes(bundle.POLICY, files.read_trusted(policy, MAX_POLICY_BYTES), str(policy))
    path = sources.config_path
    if path is not None:
        writer.add_bytes(bundle.CONFIG, files.read_trusted(path, MAX_CONFIG_BYTES), str(path))


def witness_backup(paths: PathsConfig, state: State, taken: str, now: datetime) -> None:
    """Have log and vault say, while no daemon does, that this backup (its SHA-256) was taken.

    Raises StorageFull, which has undone it, and SyncFailed.
    """
    done = backup(taken, now, state.audit.end)
    turn, ledger = Turn(state.vault, now), Ledger(state.vault, state.vault_file, state.audit)
    turn.witness((Act(by_operator("backup", done.note), done.change),))
    ledger.commit(turn)
    if ledger.trouble is not None:
        raise StorageFull(f"vault and log couldn't take up that it was taken: {ledger.trouble}")
    write_heads(paths.heads_path, state.heads(now), state.vault_file.data_key)


@contextmanager
def _cut(paths: PathsConfig, ask_end: AskEnd) -> Iterator[_Cut]:
    """Both files up to one moment. Raises StorageFailed if they don't lie still for so long."""
    for _ in range(ATTEMPTS):
        end = ask_end()
        with ExitStack() as stack:
            vault, log = (
                stack.enter_context(os.fdopen(files.open_private(path), "rb"))
                for path in (paths.vault_path, paths.audit_path)
            )
            found = _found(vault, log, end)
            if found is not None:
                yield found
                return
    raise StorageFailed(
        f"{paths.vault_path} or {paths.audit_path} was exchanged again and again; try it later"
    )


def _found(vault: IO[bytes], log: IO[bytes], end: AuditHeadStatus) -> _Cut | None:
    """The cut at this end, if these files are those that have it."""
    signed = SignedHead(end.signature, end.key_id, end.seq, end.head, end.vault_head)
    line = signed.line() + b"\n"
    log_size, _ = _through(log, lambda each: each == line)
    vault_size, last = _through(
        vault, lambda each: sha256(each.removesuffix(b"\n")).hexdigest() == end.vault_head
    )
    if not log_size or not vault_size:
        return None
    try:
        number = record_number(last) if vault_size > len(last) else 0
    except BrokenLine:
        return None
    return _Cut(
        vault, vault_size, log, log_size, VaultHead(number, end.vault_head), signed, end.log_id
    )


def _through(file: IO[bytes], is_last: Callable[[bytes], bool]) -> tuple[int, bytes]:
    """The bytes up to the end of such a line, and the line; 0 if there is none. Rewinds."""
    size = 0
    for line in file:
        size += len(line)
        if is_last(line):
            file.seek(0)
            return size, line
    return 0, b""
