"""Verifies an audit log with everything at hand that it must agree with: key, vault, heads."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.daemon import segments
from jarvis_secretsd.daemon.accounts import Account, account, acting_as
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.heads import read_heads
from jarvis_secretsd.daemon.keys import key_id, public_from_pem, verify_signature
from jarvis_secretsd.daemon.unlocking import opener_of
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.domain.audit import VaultHead
from jarvis_secretsd.domain.auditfindings import Expected
from jarvis_secretsd.domain.policy import ROOT
from jarvis_secretsd.domain.verification import Report, Verifier
from jarvis_secretsd.errors import SecretsError, StateRefused
from jarvis_secretsd.messages import AuditHeadStatus

MAX_KEY_BYTES = 4096
"""A public key in PEM has 113 bytes."""


class Evidence(Struct, frozen=True):
    """What there is to verify, and with. A `log` of its own is verified without vault and heads.

    `key` None takes the key that lies beside the log. `heads` are files with what `audit head` said
    once.
    """

    config: Config | None
    log: Path | None = None
    key: Path | None = None
    heads: tuple[Path, ...] = ()

    @property
    def log_path(self) -> Path:
        """The active segment of the log."""
        if self.log is not None:
            return self.log
        if self.config is None:
            raise AssertionError("evidence has a log or a configuration")
        return self.config.paths.audit_path


class Checked(Struct, frozen=True):
    """The report, the key's SHA-256, and what the log was compared with."""

    report: Report
    fingerprint: str
    notes: tuple[str, ...]


class _RecordNumber(Struct, frozen=True):
    seq: int


def verify(evidence: Evidence, *, from_start: bool) -> Checked:
    """Verify the log and its older segments. Raises FileNotFoundError, StorageFailed, KeyRefused.

    The vault is looked at first: whatever it holds then has its entry by the time the log is read.
    """
    expected, notes = _expected(evidence.config)
    kept = [_kept_elsewhere(path) for path in evidence.heads]
    expected = replace(expected, kept=tuple((head.seq, head.head) for head in kept))
    notes += tuple(f"the head kept of entry {head.seq}" for head in kept)
    found = segments.find_segments(str(evidence.log_path))
    if not found:
        raise FileNotFoundError(2, "no audit log", str(evidence.log_path))
    key_path = evidence.key or evidence.log_path.with_name("audit.sign.pub")
    public = public_from_pem(_read(key_path), str(key_path))
    verifier = Verifier(
        lambda text, signature: verify_signature(public, text, signature),
        key_id(public),
        pinned=evidence.key is not None,
        from_start=from_start,
        expected=expected,
    )
    segments.feed(verifier, (segment.path for segment in found))
    fingerprint = "SHA256:" + hashlib.sha256(public).hexdigest()
    return Checked(verifier.report(), fingerprint, notes)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_KEY_BYTES)


def _kept_elsewhere(path: Path) -> AuditHeadStatus:
    try:
        return msgspec.json.decode(_read(path), type=AuditHeadStatus)
    except msgspec.DecodeError as error:
        raise StateRefused(
            f"{path} is no head of an audit log ({error}); `jarvis-secrets audit head` gives one"
        ) from None


def _expected(config: Config | None) -> tuple[Expected, tuple[str, ...]]:
    """What vault and heads know of the log, and a note on each of them."""
    if config is None:
        return Expected(), ("no vault and no heads: only the log was named",)
    notes: list[str] = []
    audit: tuple[int, str] | None = None
    vault: VaultHead | None = None
    numbers: tuple[int, ...] = ()
    try:
        vault, numbers = _outline(config.paths.vault_path)
        notes.append(f"the records of the vault ({len(numbers)}), up to {vault.seq}")
    except (OSError, SecretsError) as error:
        notes.append(f"no vault ({_why(error)})")
    try:
        with acting_as(_keeper(config)):
            audit = _kept_heads(config)
        notes.append(f"the heads file, which knows entry {audit[0]}")
    except (OSError, SecretsError) as error:
        notes.append(f"no heads ({_why(error)})")
    return Expected(audit, vault=vault, vault_seqs=numbers), tuple(notes)


def _outline(path: Path) -> tuple[VaultHead, tuple[int, ...]]:
    """The vault's sequence numbers, which stand in the clear, and the hash of its last line."""
    numbers: list[int] = []
    last = b""
    with path.open("rb") as file:
        last = file.readline().rstrip(b"\n")
        for line in file:
            if line.endswith(b"\n"):
                last = line[:-1]
                numbers.append(_number(path, last))
    return VaultHead(numbers[-1] if numbers else 0, hashlib.sha256(last).hexdigest()), tuple(
        numbers
    )


def _number(path: Path, line: bytes) -> int:
    try:
        return msgspec.json.decode(line, type=_RecordNumber).seq
    except msgspec.DecodeError:
        raise StateRefused(f"{path} has a line that is no record") from None


def _keeper(config: Config) -> Account:
    """Who may open the vault: for root the owner of its directory, since no other is believed."""
    own = os.geteuid()
    return account(os.stat(config.paths.vault_path.parent).st_uid if own == ROOT else own)


def _kept_heads(config: Config) -> tuple[int, str]:
    """The end of the log as the heads file has it; its key must be at hand without asking."""
    locked = LockedVault.open(str(config.paths.vault_path))
    try:
        vault = locked.unlock(opener_of(config, lambda _: None))
    except SecretsError:
        locked.close()
        raise
    try:
        heads = read_heads(str(config.paths.heads_path), vault.data_key)
    finally:
        vault.close()
    return heads.audit_seq, heads.audit_head


def _why(error: OSError | SecretsError) -> str:
    return error.message if isinstance(error, SecretsError) else str(error.strerror)
