"""The heads file: only a holder of the data key can write what is read."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from jarvis_secretsd.daemon.heads import MAX_HEADS_BYTES, Heads, read_heads, write_heads
from jarvis_secretsd.daemon.keys import DataKey, Purpose
from jarvis_secretsd.domain.audit import VaultHead
from jarvis_secretsd.errors import StateRefused, UnsafeFile
from jarvis_secretsd.values import NEVER
from tests.daemon.vaults import NOW

KEY = DataKey(bytes(range(1, 33)))
HEADS = Heads(
    vault=VaultHead(7, "a" * 64),
    log_id="0011223344556677",
    audit_seq=41,
    audit_head="b" * 64,
    audit_signature="c" * 128,
    audit_public_key="d" * 64,
    time=NOW,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the heads of HEADS were written."""
    write_heads(tmp_path / "heads.json", HEADS, KEY)
    return tmp_path / "heads.json"


def test_what_was_written_is_read(path: Path) -> None:
    """Heads come back as they were, from a file of one JSON line that is ours alone."""
    assert read_heads(path, KEY) == HEADS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().count(b"\n") == 1
    assert json.loads(path.read_text())["heads"]["audit_seq"] == 41


def test_later_heads_take_the_place_of_earlier_ones(path: Path) -> None:
    """A second write leaves its own heads, and nothing beside them."""
    later = replace(HEADS, audit_seq=42, time=NEVER)
    write_heads(path, later, KEY)
    assert read_heads(path, KEY) == later
    assert list(path.parent.iterdir()) == [path]


def test_no_heads_are_an_answer(tmp_path: Path) -> None:
    """A file that isn't there is for the caller to judge."""
    with pytest.raises(FileNotFoundError):
        read_heads(tmp_path / "heads.json", KEY)


def test_heads_of_another_vault_are_refused(path: Path) -> None:
    """Another data key doesn't vouch for them."""
    with pytest.raises(StateRefused, match="another vault"):
        read_heads(path, DataKey.generate())


def test_no_byte_of_the_heads_can_be_changed(path: Path) -> None:
    """Each byte, set to a digit or a quote, is refused, or leaves the heads that were written."""
    written = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in range(len(written)):
            for other in b'0"':
                os.pwrite(file.fileno(), bytes([other]), place)
                assert _read_or_none(path) in (None, HEADS)
            os.pwrite(file.fileno(), written[place : place + 1], place)
    assert read_heads(path, KEY) == HEADS


def test_cut_heads_are_refused(path: Path) -> None:
    """A file that ends early says nothing, least of all that nothing was there."""
    for length in reversed(range(path.stat().st_size - 1)):
        os.truncate(path, length)
        with pytest.raises(StateRefused):
            read_heads(path, KEY)


def test_heads_without_their_mac_are_refused(path: Path) -> None:
    """Who leaves out, empties or makes up the MAC isn't believed."""
    heads = json.loads(path.read_text())
    for change in ({}, {"mac": ""}, {"mac": "0" * 64}, {"mac": None}):
        forged = {name: value for name, value in heads.items() if name != "mac"} | change
        path.write_text(json.dumps(forged))
        with pytest.raises(StateRefused):
            read_heads(path, KEY)


def test_the_mac_is_for_what_is_read(path: Path) -> None:
    """Something else that the key vouches for, but that isn't heads, is no heads."""
    mac = KEY.mac(Purpose.HEADS, b'{"seq":1}')
    path.write_text(f'{{"format":"jarvis-heads-v1","heads":{{"seq":1}},"mac":"{mac}"}}')
    with pytest.raises(StateRefused):
        read_heads(path, KEY)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o700])
def test_heads_that_others_could_touch_are_refused(path: Path, mode: int) -> None:
    """The file must be ours alone, and the refusal gives the command that mends it."""
    path.chmod(mode)
    with pytest.raises(UnsafeFile, match="chmod"):
        read_heads(path, KEY)


def test_a_huge_heads_file_is_not_read(path: Path) -> None:
    """Its size is bounded before its bytes are taken in."""
    path.write_bytes(path.read_bytes() + b" " * MAX_HEADS_BYTES)
    with pytest.raises(UnsafeFile, match="larger"):
        read_heads(path, KEY)


def _read_or_none(path: Path) -> Heads | None:
    try:
        return read_heads(path, KEY)
    except StateRefused:
        return None
