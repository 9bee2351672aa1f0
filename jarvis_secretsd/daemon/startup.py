"""From files to a state that may be served: first start, recovery, and what must be refused.

Vault, audit log and heads watch each other. A vault that is ahead of the log was interrupted
between the two, and its records bring the entries that the log lacks. A vault that is behind the
log was turned back, a log that is behind the heads was cut: neither is served, and neither is
written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.auditstart import Origin
from jarvis_secretsd.daemon.commit import with_head
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.heads import Heads, read_heads, write_heads
from jarvis_secretsd.daemon.keys import (
    Aead,
    AuditSigner,
    DataKey,
    Opener,
    key_id,
    new_slot,
    public_to_pem,
)
from jarvis_secretsd.daemon.vaultfile import LockedVault, VaultFile
from jarvis_secretsd.domain.audit import Event, KnownHead, Outcome, SignedHead, VaultHead
from jarvis_secretsd.domain.changes import Record, Rewritten, decode_record
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.errors import StateRefused

MAX_KEY_BYTES = 4096
"""A key file is 32 bytes, a PEM some hundred."""


OVERRIDE = "jarvis-secretsd accept-state"
"""The command that takes a state that contradicts itself, with the usual configuration."""


class State(Struct):
    """Everything durable, opened, consistent, and not yet served.

    `time` is the highest seen, `records` how many the vault's file had at the start.
    """

    vault: Vault
    vault_file: VaultFile
    audit: AuditLog
    signer: AuditSigner
    time: datetime
    records: int = 0

    def heads(self, now: datetime) -> Heads:
        """Where vault and log end now."""
        signed = self.audit.signed_head
        return Heads(
            vault=self.vault_file.head,
            log_id=self.audit.log_id,
            audit_seq=signed.seq,
            audit_head=signed.head,
            audit_signature=signed.signature,
            audit_public_key=self.signer.public_key.hex(),
            time=now,
        )

    def close(self) -> None:
        """Close the files and forget the keys."""
        self.audit.close()
        self.vault_file.close()


def is_first_start(paths: PathsConfig, *, with_key_file: bool) -> bool:
    """Nothing of a vault is there yet. Raises StartRefused when only a part of it is."""
    parts = {
        "vault": paths.vault_path,
        "audit log": paths.audit_path,
        "heads": paths.heads_path,
    }
    if with_key_file:
        parts["master key"] = paths.master_key_path
    there = {part: path for part, path in parts.items() if os.path.lexists(path)}
    if not there:
        return True
    absent = parts.keys() - there.keys()
    if "vault" in absent:
        found = ", ".join(f"{part} {path}" for part, path in there.items())
        raise StateRefused(
            f"there is no vault at {paths.vault_path}, but there is: {found}. Restore it from a "
            "backup (jarvis-secretsd restore), also if a restore was interrupted. If a first start "
            "was, remove them and start again"
        )
    return False


def found_state(paths: PathsConfig, aead: Aead, openers: Sequence[Opener], now: datetime) -> State:
    """Make vault, log and their keys, with a slot for each opener. Raises UnsafeFile, ..."""
    data_key = DataKey.generate()
    signer = AuditSigner.generate()
    files.replace_private(paths.sign_key_path, signer.to_pem())
    files.replace_private(paths.sign_pub_path, public_to_pem(signer.public_key), mode=0o644)
    vault_id = os.urandom(16).hex()
    vault_file = VaultFile.create(
        str(paths.vault_path),
        aead=aead,
        slots=[new_slot(vault_id, data_key, opener, now) for opener in openers],
        data_key=data_key,
        vault_id=vault_id,
        now=now,
    )
    audit = AuditLog.create(str(paths.audit_path), signer, now, vault_file.head)
    state = State(Vault(), vault_file, audit, signer, now)
    write_heads(str(paths.heads_path), state.heads(now), data_key)
    return state


def open_state(
    paths: PathsConfig,
    opener: Opener,
    now: datetime,
    *,
    accept: bool = False,
    override: str = OVERRIDE,
) -> State:
    """Open what is there, mend what a crash left, and refuse what nobody may have done.

    A refusal names the command `override`, which calls this with `accept`: that takes a state that
    contradicts itself as it is, and has the log say so. Raises KeyRefused, StateRefused, ...
    """
    vault_file = LockedVault.open(str(paths.vault_path)).unlock(opener)
    heads, no_heads = _heads(paths, vault_file)
    signer = _signer(paths)
    audit = _audit_log(paths, signer, heads)
    kept = heads.vault if heads else None
    replay = Replay(vault_file, audit.signed_head.vault_head, kept)
    contradictions = tuple(_contradictions(paths, vault_file, audit, heads, replay))
    if no_heads:
        contradictions += (no_heads,)
    if contradictions and not accept:
        raise StateRefused(_refusal(contradictions, override))
    events = [*replay.recovered(), *_torn(vault_file)]
    if contradictions:
        note = "; ".join(contradictions)
        events.append(Event(op="state_accepted", outcome=Outcome.RECORDED, note=note))
    if events:
        audit.write(now, events, vault_file.head)
    audit.reopen(now, vault_file.head)
    return State(
        replay.vault, vault_file, audit, signer, heads.time if heads else now, replay.records
    )


class Replay:
    """The vault as its file tells it, and the records whose entries the log hasn't got.

    `logged` is the sequence number that the log's last signature speaks of; None when the vault
    has no such head, which is how a vault that was turned back shows. `has_kept` says whether the
    vault has, or had before it was written anew, the head that the heads file keeps.
    """

    def __init__(self, vault_file: VaultFile, logged_head: str, kept: VaultHead | None) -> None:
        self.vault = Vault()
        self.logged: int | None = None
        self.has_kept = kept is None
        self.records = 0
        self._unlogged: list[tuple[VaultHead, Record]] = []
        self._logged_head, self._kept = logged_head, kept
        self._pass(vault_file.head)
        for number, (head, payload) in enumerate(vault_file.replay(), start=2):
            record = _decoded(vault_file.path, number, payload)
            self.vault.apply(head.seq, record.change)
            self.records += 1
            if isinstance(record.change, Rewritten):
                self._pass(record.change.before)
            if self.logged is not None:
                self._unlogged.append((head, record))
            self._pass(head)

    def _pass(self, head: VaultHead) -> None:
        """The vault stands, or stood, at this head."""
        if head.head == self._logged_head:
            self.logged = head.seq
            self._unlogged.clear()
        self.has_kept = self.has_kept or head == self._kept

    def recovered(self) -> Iterator[Event]:
        """The entries that the log lacks, in the order of their changes."""
        for head, record in self._unlogged:
            if record.event is not None:
                yield replace(with_head(record.event, head), recovered=True)


def _heads(paths: PathsConfig, vault_file: VaultFile) -> tuple[Heads | None, str]:
    """The heads, or why there are none."""
    try:
        return read_heads(str(paths.heads_path), vault_file.data_key), ""
    except FileNotFoundError:
        return None, (
            f"{paths.heads_path} is missing, which says where vault and log ended. "
            "Without it a cut of both can't be told from a normal end"
        )
    except StateRefused as error:
        return None, error.message


def _signer(paths: PathsConfig) -> AuditSigner:
    path = paths.sign_key_path
    try:
        return AuditSigner.from_pem(files.read_private(path, MAX_KEY_BYTES), str(path))
    except FileNotFoundError:
        raise StateRefused(
            f"{path}, which signs the audit log, is missing; restore it from a backup"
        ) from None


def _audit_log(paths: PathsConfig, signer: AuditSigner, heads: Heads | None) -> AuditLog:
    try:
        return AuditLog.open(str(paths.audit_path), signer, _known(heads))
    except FileNotFoundError:
        raise StateRefused(
            f"there is a vault, and its audit log {paths.audit_path} is missing with all that "
            "could tell where it ended; restore the log or the heads file from a backup"
        ) from None


def _known(heads: Heads | None) -> KnownHead | None:
    if heads is None:
        return None
    key = key_id(bytes.fromhex(heads.audit_public_key))
    signed = SignedHead(
        heads.audit_signature, key, heads.audit_seq, heads.audit_head, heads.vault.head
    )
    return KnownHead(heads.log_id, signed)


def _contradictions(
    paths: PathsConfig, vault_file: VaultFile, audit: AuditLog, heads: Heads | None, replay: Replay
) -> Iterator[str]:
    """What vault, log and heads say against each other, each with what it would lose."""
    signed = audit.signed_head
    if replay.logged is None:
        yield (
            f"the vault {paths.vault_path} ends at record {vault_file.head.seq} and never had the "
            f"head that entry {signed.seq} of the audit log names: an older or another vault was "
            "put in its place. What was written since is lost"
        )
    if heads is None:
        return
    if heads.vault.seq > vault_file.head.seq:
        yield (
            f"the vault ends at record {vault_file.head.seq}, and ended at {heads.vault.seq} "
            f"before: {heads.vault.seq - vault_file.head.seq} records were cut off"
        )
    elif not replay.has_kept:
        yield f"record {heads.vault.seq} of the vault isn't the one that was there before"
    if audit.origin is Origin.KNOWN:
        yield f"the audit log {paths.audit_path}, up to entry {signed.seq}, is gone"
    elif heads.audit_seq > signed.seq:
        yield (
            f"the audit log {paths.audit_path} ends at entry {signed.seq}, and ended at "
            f"{heads.audit_seq} before: {heads.audit_seq - signed.seq} entries were cut off"
        )
    elif not audit.contains(heads.audit_seq, heads.audit_head) and audit.reaches_back_to(
        heads.audit_seq
    ):
        yield f"entry {heads.audit_seq} of the audit log isn't the one that was there before"


def _refusal(contradictions: tuple[str, ...], override: str) -> str:
    found = "; ".join(contradictions)
    return (
        f"{found}. Nothing was changed. Restore vault, audit log and heads from one backup; or "
        f"take the state as it is, which the log will say, with: {override}"
    )


def _torn(vault_file: VaultFile) -> Iterator[Event]:
    """Move a record that a crash cut off out of the way; nobody was told that it was stored."""
    if vault_file.torn is not None:
        size = len(vault_file.torn)
        aside = vault_file.set_aside_torn_tail()
        note = f"{size} bytes of an unfinished record, now in {os.path.basename(aside)}"
        yield Event(op="vault_torn_tail", outcome=Outcome.RECORDED, note=note)


def _decoded(path: str, line: int, payload: bytes) -> Record:
    try:
        return decode_record(payload)
    except msgspec.DecodeError:
        raise StateRefused(
            f"{path}, line {line}: a record of an unknown form; was it written by a newer version?"
        ) from None
