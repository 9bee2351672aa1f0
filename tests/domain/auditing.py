"""Audit logs in memory, signed by a key that is only a hash, and how to verify them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256, sha512

from jarvis_secretsd.domain.audit import (
    FORMAT,
    Chain,
    Event,
    Opening,
    SignedHead,
    VaultHead,
    write_turn,
)
from jarvis_secretsd.domain.auditfindings import Expected
from jarvis_secretsd.domain.verification import Report, Verifier

NOW = datetime(2026, 11, 25, 9, 41, 7, 120394, tzinfo=UTC)
LOG_ID = "5" * 32
VAULT = VaultHead(3, "c" * 64)


class HashSigner:
    """A signer for rules that don't care what a signature is: 64 bytes that depend on the text."""

    def __init__(self, seed: bytes = b"one key") -> None:
        self.public_key = seed
        self.key_id = sha256(seed).hexdigest()[:16]

    def sign(self, message: bytes) -> bytes:
        return sha512(self.public_key + message).digest()

    def check(self, text: bytes, signature: bytes) -> bool:
        return self.sign(text) == signature


SIGNER = HashSigner()


def event(name: str = "postgres_password", **fields: object) -> Event:
    """An entry as a read leaves it."""
    known = {"uid": 1001, "client": "backend", "op": "get", "outcome": "allowed", "name": name}
    return Event(**{**known, **fields})  # type: ignore[arg-type]  # fields are the test's


class Writer:
    """A log that is written turn by turn into segments of lines, without their newlines."""

    def __init__(self, signer: HashSigner = SIGNER, log_id: str = LOG_ID) -> None:
        self.signer = signer
        self.log_id = log_id
        self.segments: list[list[bytes]] = [[]]
        opening = Opening(op="log_created", format=FORMAT, log_id=log_id, key_id=signer.key_id)
        self.signed = self._turn(Chain.new(log_id), (opening,), VAULT)

    def turn(self, *events: Event, vault: VaultHead = VAULT) -> SignedHead:
        """Add a turn of these entries, or of two reads."""
        after = Chain.after(self.log_id, self.signed)
        return self._turn(after, events or (event("a"), event("b")), vault)

    def rotate(self, *, after: SignedHead | None = None, count: int | None = None) -> None:
        """Begin a segment that follows the last one, or an earlier point of it."""
        previous = after or self.signed
        opening = Opening(
            op="segment_opened",
            format=FORMAT,
            log_id=self.log_id,
            key_id=self.signer.key_id,
            previous=previous,
            count=count,
        )
        self.segments.append([])
        self._turn(Chain.after(self.log_id, previous), (opening,), VAULT)

    def _turn(
        self, chain: Chain, entries: Sequence[Event | Opening], vault: VaultHead
    ) -> SignedHead:
        data, self.signed = write_turn(chain, NOW, entries, vault, self.signer)
        self.segments[-1] += data.split(b"\n")[:-1]
        return self.signed


def verify(
    segments: Sequence[Sequence[bytes]],
    *,
    signer: HashSigner = SIGNER,
    expected: Expected | None = None,
    from_start: bool = False,
    torn: int = 0,
) -> Report:
    """The report on these segments; `torn` bytes without a newline follow the last."""
    verifier = Verifier(signer.check, signer.key_id, from_start=from_start, expected=expected)
    for number, lines in enumerate(segments, start=1):
        verifier.open_segment(f"segment {number}")
        for line in lines:
            verifier.feed(line)
    if torn:
        verifier.feed_torn(torn)
    return verifier.report()


def verify_bytes(data: bytes, *, expected: Expected | None = None) -> Report:
    """The report on one segment as it lies on the disk."""
    *lines, rest = data.split(b"\n")
    return verify([lines] if lines or rest else [], torn=len(rest), expected=expected)


def expect(signed: SignedHead) -> Expected:
    """What a heads file that was written after this signature says."""
    return Expected(audit=(signed.seq, signed.head))
