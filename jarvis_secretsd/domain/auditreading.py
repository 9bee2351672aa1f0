"""One line of an audit log, read strictly: what the writer can't have written is `Broken`."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import TypeVar

import msgspec

from jarvis_secretsd.domain.audit import (
    FORMAT,
    MAX_LINE_BYTES,
    Count,
    Event,
    Hex,
    Opening,
    Outcome,
    SignedHead,
)

CheckSignature = Callable[[bytes, bytes], bool]
"""(text, signature): did the key's owner sign exactly this text?"""

_SIGNATURE = b'{"sig":'
_TIME = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{6}Z", re.ASCII)
_OUTCOMES = frozenset(Outcome)
_Shape = TypeVar("_Shape")


class Broken(Exception):
    """A line that can't have been written so; the message completes "this line ..."."""


class Entry(Event, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry, as it is read."""

    seq: Count
    time: str
    prev: Hex


class OpeningEntry(Opening, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a segment, as it is read."""

    seq: Count
    time: str
    prev: Hex


def is_signature(line: bytes) -> bool:
    """Does this line claim to be a signature line?"""
    return line.startswith(_SIGNATURE)


def read_entry(line: bytes) -> Entry:
    """The entry in this line. Raises Broken."""
    entry = _read(line, _entries)
    if _TIME.fullmatch(entry.time) is None:
        raise Broken("has no time in RFC 3339, UTC, with microseconds")
    if entry.outcome not in _OUTCOMES:
        raise Broken("has an outcome that there isn't")
    return entry


def read_opening(line: bytes) -> OpeningEntry:
    """The opening in the first line of a segment. Raises Broken."""
    opening = _read(line, _openings)
    if _TIME.fullmatch(opening.time) is None:
        raise Broken("has no time in RFC 3339, UTC, with microseconds")
    return opening


def read_signature(line: bytes) -> SignedHead:
    """What a signature line says, if it is spelled as such a line is. Raises Broken."""
    signed = _read(line, _signatures)
    if msgspec.json.encode(signed) != line:
        raise Broken("is no signature as it would have been written")
    return signed


def is_signed(signed: SignedHead, log_id: str, check: CheckSignature) -> bool:
    """Did the key sign that the log `log_id` stood there?"""
    try:
        signature = b64decode(signed.signature, validate=True)
    except (Base64Error, ValueError):
        return False
    # The last digit of base64 has bits that decode to nothing: another spelling is another line.
    if b64encode(signature).decode() != signed.signature:
        return False
    lines = (FORMAT, log_id, signed.key_id, str(signed.seq), signed.head, signed.vault_head, "")
    return check("\n".join(lines).encode(), signature)


_entries = msgspec.json.Decoder(Entry)
_openings = msgspec.json.Decoder(OpeningEntry)
_signatures = msgspec.json.Decoder(SignedHead)


def _read(line: bytes, decoder: msgspec.json.Decoder[_Shape]) -> _Shape:
    if len(line) > MAX_LINE_BYTES:
        raise Broken(f"is longer than {MAX_LINE_BYTES} bytes")
    if not line.isascii():
        raise Broken("has other bytes than ASCII")
    try:
        return decoder.decode(line)
    except msgspec.DecodeError as error:
        raise Broken(f"is not what it should be: {error}") from error
