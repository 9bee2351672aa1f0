"""Is a backup what it should be? Everything in it is opened, replayed and verified; nothing is
written anywhere.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import IO

from msgspec import Struct

from jarvis_secretsd.daemon import bundle
from jarvis_secretsd.daemon.bundle import Bundle, Manifest
from jarvis_secretsd.daemon.heads import Heads, parse_heads
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.daemon.keys import AuditSigner, DataKey, Opener, open_slots, verify_signature
from jarvis_secretsd.daemon.startup import Replay
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.daemon.vaultlines import Header
from jarvis_secretsd.domain.auditfindings import Expected, Verdict
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.domain.verification import Report, Verifier
from jarvis_secretsd.errors import StateRefused


class Proven(Struct, frozen=True):
    """A backup that holds what it says. `digest` is the SHA-256 of the file, in hex."""

    manifest: Manifest
    data_key: DataKey
    header: Header
    vault: Vault
    heads: Heads
    signer: AuditSigner
    report: Report
    digest: str


def prove(backup: Bundle, opener: Opener) -> Proven:
    """Open it with this key and go through all of it.

    Raises KeyRefused if the key opens none of its slots, and BackupBroken.
    """
    try:
        return _prove(backup, opener)
    except StateRefused as error:  # it was so when the backup was taken
        raise backup.broken(f"holds a state that is at fault: {error.message}") from None


def _prove(backup: Bundle, opener: Opener) -> Proven:
    locked = LockedVault.of(_spooled(backup))
    try:
        header = locked.header
        data_key = open_slots(header.vault_id, header.slots, opener)
        manifest = backup.authenticate(data_key)
        vault = _replayed(backup, locked, manifest, data_key)
    finally:
        locked.close()
    sealed = backup.read(bundle.SIGN_KEY)
    signer = bundle.unseal_signer(sealed, data_key, header.vault_id, manifest.audit.key_id)
    if signer is None:
        raise backup.broken("holds no key that signs its audit log")
    heads = parse_heads(backup.read(bundle.HEADS), data_key, bundle.HEADS)
    report = _verified(backup, manifest, signer)
    return Proven(manifest, data_key, header, vault, heads, signer, report, backup.digest())


def _spooled(backup: Bundle) -> Journal:
    """The vault's file in memory, sealed as it is."""
    descriptor = os.memfd_create("vault", os.MFD_CLOEXEC)
    with backup.open_part(bundle.VAULT) as source, os.fdopen(os.dup(descriptor), "wb") as copy:
        while data := source.read(1024 * 1024):
            copy.write(data)
    return Journal(f"{backup.name}:{bundle.VAULT}", descriptor)


def _replayed(backup: Bundle, locked: LockedVault, manifest: Manifest, data_key: DataKey) -> Vault:
    """What all its records add up to."""
    # A key of its own: the vault's is wiped when that is closed.
    opened = locked.unlock_with(DataKey(data_key.reveal()))
    vault = Replay(opened, "", None).vault
    if opened.torn is not None or opened.head != manifest.vault:
        raise backup.broken("holds a vault that doesn't end where it should")
    return vault


def _verified(backup: Bundle, manifest: Manifest, signer: AuditSigner) -> Report:
    """The audit log, and that it knows the vault as it is there."""
    verifier = Verifier(
        lambda text, signature: verify_signature(signer.public_key, text, signature),
        signer.key_id,
        pinned=True,
        expected=Expected((manifest.audit.seq, manifest.audit.head), vault=manifest.vault),
    )
    for name in _logs(manifest):
        verifier.open_segment(name)
        for line in _lines(backup, name):
            verifier.feed(line)
    report = verifier.report()
    if report.verdict is not Verdict.INTACT or report.signed != manifest.audit:
        faults = "; ".join(
            f"{one.segment}, line {one.line}: {one.fault}" for one in report.findings
        )
        raise backup.broken(
            f"holds an audit log that is at fault: {faults or 'its end is missing'}"
        )
    return report


def _logs(manifest: Manifest) -> Iterator[str]:
    """The segments of the log, the oldest first."""
    yield from (p.name for p in manifest.parts if p.name.startswith(bundle.OLDER_LOG))
    yield bundle.LOG


def _lines(backup: Bundle, name: str) -> Iterator[bytes]:
    with backup.open_part(name) as part:
        file: IO[bytes] = gzip.GzipFile(fileobj=part) if name.endswith(".gz") else part  # type: ignore[assignment]
        try:
            for line in file:
                yield line.removesuffix(b"\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise backup.broken(f"holds a {name} that can't be decompressed: {error}") from None
