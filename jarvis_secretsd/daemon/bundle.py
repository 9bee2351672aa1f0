"""The file of a backup: a tar archive of vault, audit log and what belongs to them.

What is secret in it is sealed as it is on the disk, so tar(1) can take it apart and nobody needs
this program to read the log. The manifest comes last: it holds a digest of each part, and is
authenticated under the vault's data key.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from typing import IO, Literal, Self

import msgspec
from msgspec import Struct

from jarvis_secretsd.daemon.keys import Aead, AuditSigner, DataKey, Purpose, SealBroken
from jarvis_secretsd.domain.audit import SignedHead, VaultHead
from jarvis_secretsd.errors import BackupBroken, KeyRefused

VAULT, HEADS, LOG = "vault.json", "vault.heads", "audit.jsonl"
SIGN_KEY, SIGN_PUB = "audit.sign.key.sealed", "audit.sign.pub"
CONFIG, POLICY = "config.toml", "policy.yaml"
OLDER_LOG = "older-logs/audit.jsonl"
"""Before what logrotate appended to the log's name."""

MANIFEST = "manifest.json"

NEEDED = (VAULT, LOG, HEADS, SIGN_KEY, SIGN_PUB)

MAX_PARTS = 1000
"""A log that is rotated daily for two years, and some; more is no backup of ours."""

MAX_SMALL_BYTES = 1024 * 1024
"""What isn't vault or log is far smaller."""

_SALT_BYTES = 16


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the backup, and where it came from."""

    name: str
    size: int
    sha256: str
    origin: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What was backed up: by which version, where, when, and where vault and audit log ended."""

    program: str
    host: str
    time: datetime
    vault_id: str
    vault: VaultHead
    log_id: str
    audit: SignedHead
    parts: tuple[Part, ...]


class _ManifestFile(Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["jarvis-backup-v1"]
    manifest: msgspec.Raw
    mac: str


class _SealedKey(Struct, frozen=True, forbid_unknown_fields=True):
    salt: bytes
    nonce: bytes
    box: bytes


class Writer:
    """Adds parts to an archive; `finish` adds the manifest."""

    def __init__(self, file: IO[bytes], time: datetime) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        self._time = int(time.timestamp())
        self.parts: list[Part] = []

    def add(self, name: str, source: IO[bytes], size: int, origin: str) -> None:
        """The first `size` bytes of what can be read there. OSError passes, and says if it ends."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, self._time
        hashing = _Hashing(source)
        self._tar.addfile(info, hashing)
        self.parts.append(Part(name, size, hashing.digest.hexdigest(), origin))

    def add_bytes(self, name: str, data: bytes, origin: str) -> None:
        """A small part."""
        self.add(name, BytesIO(data), len(data), origin)

    def finish(self, manifest: Manifest, data_key: DataKey) -> None:
        """Vouch for all of it. The caller syncs the file."""
        raw = msgspec.json.encode(manifest)
        mac = data_key.mac(Purpose.BACKUP, raw)
        file = _ManifestFile("jarvis-backup-v1", msgspec.Raw(raw), mac)
        self.add_bytes(MANIFEST, msgspec.json.encode(file) + b"\n", "")
        self._tar.close()


class Bundle:
    """A backup as it is read: nothing in it is true before `authenticate`."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name = name
        self._file = file
        file.seek(0)
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  # the file is closed
            self._members = dict(self._index())
        except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
            raise self.broken(f"is no backup, or was cut off: {error}") from None

    @classmethod
    def open(cls, path: str) -> Self:
        """The backup in this file. Raises BackupBroken."""
        try:
            file = open(path, "rb")  # noqa: SIM115  # the bundle closes it
        except OSError as error:
            raise BackupBroken(f"{path} can't be read: {error.strerror}") from None
        try:
            return cls(file, path)
        except BaseException:
            file.close()
            raise

    def broken(self, fault: str) -> BackupBroken:
        """The error that says what is wrong with it."""
        return BackupBroken(f"{self.name} {fault}. Nothing was changed; take another backup")

    def open_part(self, name: str) -> IO[bytes]:
        """A part, to be read from its beginning. Raises BackupBroken."""
        member = self._members.get(name)
        found = self._tar.extractfile(member) if member is not None else None
        if found is None:
            raise self.broken(f"has no {name}")
        return found

    def read(self, name: str) -> bytes:
        """A small part. Raises BackupBroken."""
        data = self.open_part(name).read(MAX_SMALL_BYTES + 1)
        if len(data) > MAX_SMALL_BYTES:
            raise self.broken(f"holds a {name} that is too long")
        return data

    def authenticate(self, data_key: DataKey) -> Manifest:
        """The manifest, once it and every part were found to be what a holder of the key wrote.

        Raises BackupBroken.
        """
        try:
            file = msgspec.json.decode(self.read(MANIFEST), type=_ManifestFile)
            if not data_key.vouches(Purpose.BACKUP, bytes(file.manifest), file.mac):
                raise self.broken("was altered: the MAC of its manifest doesn't fit")
            manifest = msgspec.json.decode(file.manifest, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.broken(f"has no manifest that reads: {error}") from None
        names = [part.name for part in manifest.parts]
        if {*names, MANIFEST} != self._members.keys() or not {*NEEDED} <= {*names}:
            raise self.broken("was altered: it doesn't hold what its manifest says")
        for part in manifest.parts:
            if self._digest(part.name) != part.sha256:
                raise self.broken(f"was altered or damaged in {part.name}")
        return manifest

    def digest(self) -> str:
        """The SHA-256 of the file, in hex."""
        self._file.seek(0)
        return _digest_of(self._file)

    def close(self) -> None:
        """Let go of the file."""
        self._tar.close()
        self._file.close()

    def _digest(self, name: str) -> str:
        with self.open_part(name) as part:
            return _digest_of(part)

    def _index(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        seen: set[str] = set()
        for member in self._tar:
            is_plain = member.type == tarfile.REGTYPE and not member.issparse()  # a hole has no end
            is_beside = "/" not in member.name.removeprefix(OLDER_LOG)  # where a restore puts it
            if not (is_plain and is_beside) or member.name in seen or len(seen) >= MAX_PARTS:
                raise ValueError(f"{member.name!a} doesn't belong there")
            seen.add(member.name)
            yield member.name, member


def seal_signer(signer: AuditSigner, data_key: DataKey, vault_id: str) -> bytes:
    """The audit log's private key, as a backup holds it."""
    salt = os.urandom(_SALT_BYTES)
    sealer = data_key.sealer(Aead.XCHACHA20_POLY1305, salt, Purpose.BACKUP)
    return msgspec.json.encode(
        _SealedKey(salt, *sealer.seal(signer.to_pem(), _binding(vault_id, signer.key_id)))
    )


def unseal_signer(data: bytes, data_key: DataKey, vault_id: str, key_id: str) -> AuditSigner | None:
    """The key with this id that was sealed for this vault, if it is there."""
    try:
        sealed = msgspec.json.decode(data, type=_SealedKey)
        sealer = data_key.sealer(Aead.XCHACHA20_POLY1305, sealed.salt, Purpose.BACKUP)
        pem = sealer.open(sealed.nonce, sealed.box, _binding(vault_id, key_id))
        return AuditSigner.from_pem(pem, "the backup's signing key")
    except (msgspec.DecodeError, ValueError, SealBroken, KeyRefused):
        return None


class _Hashing:
    """Reads on behalf of another, and knows the digest of what was read."""

    def __init__(self, source: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._source = source

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


def _digest_of(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := file.read(1024 * 1024):
        digest.update(data)
    return digest.hexdigest()


def _binding(vault_id: str, key_id: str) -> bytes:
    return f"jarvis-backup-v1\n{vault_id}\n{key_id}\n".encode()
