"""Damage and forgery: a vault that was changed is refused, or has a torn tail, and never lies."""

from __future__ import annotations

import json
import os
import stat
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from jarvis_secretsd.daemon.keys import Aead, DataKey, SealBroken, Sealer, SlotKind, new_slot
from jarvis_secretsd.daemon.vaultfile import LockedVault
from jarvis_secretsd.daemon.vaultlines import encode
from jarvis_secretsd.errors import KeyRefused, StateRefused
from tests.daemon.vaults import (
    CHEAP,
    MASTER,
    NOW,
    VAULT_ID,
    file_with_lines,
    master,
    new_vault,
    reopened,
)

PAYLOADS = [b"1", b"22", b"333", b"4444"]
RECORDS = list(enumerate(PAYLOADS, start=1))

Lines = list[bytes]


def data_key() -> DataKey:
    """The data key of every vault here."""
    return DataKey(bytes(range(1, 33)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A vault with four records."""
    new_vault(tmp_path / "vault.json", PAYLOADS, data_key=data_key()).close()
    return tmp_path / "vault.json"


def swap(lines: Lines) -> Lines:
    """Records 2 and 3 change places."""
    return [lines[0], lines[1], lines[3], lines[2], lines[4]]


def renumber(lines: Lines) -> Lines:
    """Records 2 and 3 change places and numbers."""
    swapped = [line.replace(b'"seq":3', b'"seq":2') for line in swap(lines)]
    return [*swapped[:3], lines[2].replace(b'"seq":2', b'"seq":3'), swapped[4]]


FORGERIES: dict[str, tuple[Callable[[Lines], Lines], int]] = {
    "swapped": (swap, 3),
    "swapped and renumbered": (renumber, 3),
    "reversed": (lambda lines: [lines[0], *reversed(lines[1:])], 2),
    "first dropped": (lambda lines: [lines[0], *lines[2:]], 2),
    "middle dropped": (lambda lines: [*lines[:2], *lines[3:]], 3),
    "duplicated": (lambda lines: [*lines[:3], *lines[2:]], 4),
    "repeated at the end": (lambda lines: [*lines, *lines[1:]], 6),
    "header repeated": (lambda lines: [lines[0], *lines], 2),
    "header dropped": (lambda lines: lines[1:], 1),
    "an empty line": (lambda lines: [*lines[:2], b"", *lines[2:]], 3),
    "a carriage return": (lambda lines: [*lines[:2], lines[2] + b"\r", *lines[3:]], 3),
    "a space": (lambda lines: [*lines[:2], lines[2].replace(b":", b": "), *lines[3:]], 3),
    "a second seq": (
        lambda lines: [*lines[:2], lines[2].replace(b"{", b'{"seq":9,'), *lines[3:]],
        3,
    ),
    "a field more": (lambda lines: [*lines[:2], lines[2][:-1] + b',"x":1}', *lines[3:]], 3),
    "bytes that aren't UTF-8": (lambda lines: [*lines[:2], b"\xff\xfe", *lines[3:]], 3),
    "a number beyond bounds": (
        lambda lines: [*lines[:2], lines[2].replace(b'"seq":2', b'"seq":' + b"9" * 40), *lines[3:]],
        3,
    ),
    "deep nesting": (lambda lines: [*lines[:2], b"[" * 100_000, *lines[3:]], 3),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_lines_are_refused_by_their_number(path: Path, name: str) -> None:
    """Lines that were swapped, dropped, repeated or respelled are told from a crash."""
    forge, number = FORGERIES[name]
    file_with_lines(path, forge(path.read_bytes().splitlines()))
    with pytest.raises(StateRefused, match=f"vault.json, line {number}: "):
        reopened(path)


def test_records_of_another_vault_are_refused(path: Path, tmp_path: Path) -> None:
    """Even under the same data key, another file's records don't fit this header."""
    new_vault(tmp_path / "other.json", PAYLOADS, data_key=data_key())
    ours, theirs = (one.read_bytes().splitlines() for one in (path, tmp_path / "other.json"))
    for spliced in ([ours[0], *theirs[1:]], [*ours[:2], *theirs[2:]], [theirs[0], *ours[1:]]):
        file_with_lines(path, spliced)
        with pytest.raises(StateRefused, match="doesn't open in this place"):
            reopened(path)


def test_an_older_header_doesn_t_fit_newer_records(path: Path) -> None:
    """A header from before a rewrite, with a slot since removed, say, is noticed."""
    older = path.read_bytes().splitlines()[0]
    vault, _ = reopened(path)
    vault.rewrite(RECORDS)
    file_with_lines(path, [older, *path.read_bytes().splitlines()[1:]])
    with pytest.raises(StateRefused, match="line 2"):
        reopened(path)


def test_no_word_of_the_header_can_be_changed(path: Path) -> None:
    """AEAD, date, compaction, slots, id and format are vouched for by the data key."""
    vault, _ = reopened(path)
    header, *records = path.read_bytes().splitlines()
    slot = new_slot(VAULT_ID, data_key(), master(), NOW)
    for change in (
        {"aead": Aead.AES_256_GCM},
        {"created_at": NOW.replace(year=2020)},
        {"compacted_to": 3},
        {"salt": bytes(16)},
        {"slots": (*vault.header.slots, slot)},
        {"slots": (slot,)},
        {"mac": "0" * 64},
        {"vault_id": "f" * 32},
        {"format": "jarvis-vault-v2"},
        {"mac": ""},
    ):
        forged = encode(replace(vault.header, **change))
        assert forged != header
        for lines in ([forged, *records], [forged]):
            file_with_lines(path, lines)
            with pytest.raises((StateRefused, KeyRefused), match=r"line 1: |opened none"):
                reopened(path)


def test_a_header_can_not_ask_for_more_than_the_bounds(path: Path) -> None:
    """Seventeen slots, or a slot that costs too much, are refused before a key is derived."""
    vault, _ = reopened(path)
    one = encode(vault.header.slots[0])
    many = encode(vault.header).replace(one, b",".join([one] * 17))
    slot = replace(vault.header.slots[0], kind=SlotKind.PASSPHRASE, kdf=CHEAP)
    asking = encode(replace(vault.header, slots=(slot,))).replace(b"67108864", b"99999999999")
    for header in (many, asking):
        file_with_lines(path, [header])
        with pytest.raises(StateRefused, match="line 1: it doesn't decode"):
            LockedVault.open(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"junk", b"\0" * 5000])
def test_a_file_that_is_no_vault_is_refused(path: Path, content: bytes) -> None:
    """Empty, cut off or foreign: the refusal says where the file is and what to do."""
    path.write_bytes(content)
    with pytest.raises(StateRefused, match=r"vault\.json.*restore it from a backup|Restore"):
        LockedVault.open(path)


def test_a_cut_at_any_byte_is_torn_or_refused(path: Path) -> None:
    """What is left is the first records whole; what is left of the next one is told as torn."""
    written = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(written) if byte == 10]
    for length in reversed(range(len(written))):
        os.truncate(path, length)
        if length < ends[0]:
            with pytest.raises(StateRefused, match="no whole header"):
                reopened(path)
            continue
        vault, records = reopened(path)
        whole = sum(end <= length for end in ends) - 1
        assert records == RECORDS[:whole]
        assert (vault.torn or b"") == written[ends[whole] : length]
        vault.close()


def test_a_flipped_bit_is_torn_or_refused(path: Path) -> None:
    """Each single bit counts: in the last line it leaves a torn tail, in another it is refused.

    The newline before counts to the last line: without it two lines are one. A bit that makes a
    newline makes two lines of one, of which the first is damaged and not the last.
    """
    written = path.read_bytes()
    last = written.rindex(b"\n", 0, -1)
    with path.open("r+b", buffering=0) as file:
        for bit in range(len(written) * 8):
            place, mask = bit // 8, 1 << bit % 8
            damaged = bytes([written[place] ^ mask])
            os.pwrite(file.fileno(), damaged, place)
            torn = place >= last and damaged != b"\n"
            assert _outcome(path) == ("torn" if torn else "refused")
            os.pwrite(file.fileno(), written[place : place + 1], place)
    assert reopened(path)[1] == RECORDS


@pytest.mark.parametrize(
    "damage",
    [
        lambda last: last[:-1],
        lambda last: last[:20],
        lambda last: bytes(len(last) - 1) + b"\n",
        lambda last: last.replace(b'"box":"', b'"box":"AAAA'),
    ],
)
def test_a_torn_tail_is_kept_aside_and_the_vault_goes_on(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """What was torn lies beside the vault, 0600, and its number is free again."""
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole) + damage(last))
    vault, records = reopened(path)
    assert records == RECORDS[:3] and vault.torn == damage(last)
    with pytest.raises(RuntimeError, match="torn"):
        vault.append([b"5"])
    aside = Path(vault.set_aside_torn_tail())
    assert aside.read_bytes() == damage(last) and aside.parent == path.parent
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert vault.torn is None and path.read_bytes() == b"".join(whole)
    assert vault.append([b"four"])[0].seq == 4
    assert reopened(path)[1] == [*RECORDS[:3], (4, b"four")]


def test_setting_aside_can_be_done_again_after_a_crash(path: Path) -> None:
    """A tail that was saved but not yet cut off is saved once more under the same name."""
    path.write_bytes(path.read_bytes()[:-1])
    damaged = path.read_bytes()
    first = reopened(path)[0].set_aside_torn_tail()
    path.write_bytes(damaged)
    assert reopened(path)[0].set_aside_torn_tail() == first


def test_a_sound_vault_has_nothing_to_set_aside(path: Path) -> None:
    """Without a torn tail there is nothing that could be lost by asking."""
    with pytest.raises(RuntimeError, match="no torn tail"):
        reopened(path)[0].set_aside_torn_tail()
    assert reopened(path)[1] == RECORDS


def test_a_compacted_vault_has_no_torn_tail_below_its_compaction(path: Path) -> None:
    """A compaction is whole or not there, so a cut inside it is damage and no crash."""
    vault, _ = reopened(path)
    vault.rewrite([(2, b"22"), (5, b"compacted")], compacted_to=5)
    vault.append([b"6"])
    header, *records = path.read_bytes().splitlines()
    for kept in ([header], [header, records[0]], [header, records[0], records[1][:-9]]):
        file_with_lines(path, kept)
        with pytest.raises(StateRefused, match="5"):
            reopened(path)
    file_with_lines(path, [header, *records[:2], records[2][:-9]])
    vault, found = reopened(path)
    assert found == [(2, b"22"), (5, b"compacted")] and vault.torn is not None


def test_a_hole_below_the_compaction_can_not_be_widened(path: Path) -> None:
    """Numbers may be missing there, but a record that was there may not."""
    vault, _ = reopened(path)
    vault.rewrite([(1, b"1"), (2, b"22"), (5, b"compacted")], compacted_to=5)
    header, *records = path.read_bytes().splitlines()
    for kept in (records[1:], [records[0], records[2]]):
        file_with_lines(path, [header, *kept])
        with pytest.raises(StateRefused):
            reopened(path)


@pytest.mark.parametrize("aead", Aead)
def test_records_are_sealed_as_the_documents_say(path: Path, aead: Aead) -> None:
    """A record opens with its salted key and its place, and not with a key of zeros."""
    path.unlink()
    vault = new_vault(path, PAYLOADS, aead=aead, data_key=data_key())
    header, line, *_ = path.read_bytes().splitlines()
    nonce, box = (b64decode(json.loads(line)[name]) for name in ("nonce", "box"))
    head = sha256(header).hexdigest()
    aad = f"jarvis-vault-v1\n{VAULT_ID}\n{head}\n1\n{head}\n".encode()
    assert data_key().sealer(aead, vault.header.salt).open(nonce, box, aad) == b"1"
    for key in (bytes(32), MASTER, data_key().reveal()):
        with pytest.raises(SealBroken):
            Sealer(aead, key).open(nonce, box, aad)


def _outcome(path: Path) -> str:
    try:
        vault, records = reopened(path)
    except (StateRefused, KeyRefused):
        return "refused"
    vault.close()
    assert records in (RECORDS[:2], RECORDS[:3]) and vault.torn is not None
    return "torn"
