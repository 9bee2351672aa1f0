"""The lines of the audit log."""

from __future__ import annotations

import json
import string
from base64 import b64decode
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.domain.audit import (
    GENESIS,
    MAX_LINE_BYTES,
    Chain,
    Event,
    extend,
    timestamp,
    write_turn,
)
from jarvis_secretsd.domain.auditreading import Broken, read_entry, read_signature
from tests.domain.auditing import LOG_ID, NOW, SIGNER, VAULT, event

SAMPLE = (
    b'{"seq":41,"time":"2026-11-25T09:41:07.120394Z","prev":"%b","uid":1001,"gid":1001,"pid":812,'
    b'"transport":"unix","client":"backend","op":"get","name":"postgres_password",'
    b'"kid":"5f2c01a99be37d10","outcome":"allowed","rule":"clients.backend.allow[1]"}'
)
TEXTS = ("transport", "unit", "client", "name", "kid", "rule", "note")


def test_an_entry_is_spelled_as_documented() -> None:
    """An entry's fields come in a fixed order, and those that say nothing are left out."""
    read = event(
        gid=1001,
        pid=812,
        transport="unix",
        kid="5f2c01a99be37d10",
        rule="clients.backend.allow[1]",
    )
    chain = Chain(LOG_ID, 40, b"\x9f" * 32)
    lines, _ = extend(chain, NOW, [read])
    assert lines == [SAMPLE % (b"9f" * 32)]


def test_each_entry_holds_the_hash_of_the_line_before() -> None:
    """`prev` is the SHA-256 of the previous line's bytes without its newline; `seq` counts up."""
    lines, chain = extend(Chain.new(LOG_ID), NOW, [event(), event(), event()])
    hashes = [GENESIS.hex(), *(sha256(line).hexdigest() for line in lines)]
    assert [json.loads(line)["prev"] for line in lines] == hashes[:-1]
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]
    assert chain == Chain(LOG_ID, 3, bytes.fromhex(hashes[-1]))


def test_a_turn_ends_with_a_signature_over_the_documented_text() -> None:
    """The signature line names key, entry, its hash and the vault's head, and signs just that."""
    data, signed = write_turn(Chain.new(LOG_ID), NOW, [event(), event()], VAULT, SIGNER)
    _, entry, line, end = data.split(b"\n")
    head = sha256(entry).hexdigest()
    assert end == b""
    assert json.loads(line) == {
        "sig": signed.signature,
        "key_id": SIGNER.key_id,
        "seq": 2,
        "head": head,
        "vault_head": VAULT.head,
    }
    text = f"jarvis-audit-v1\n{LOG_ID}\n{SIGNER.key_id}\n2\n{head}\n{VAULT.head}\n"
    assert SIGNER.check(text.encode(), b64decode(signed.signature))


def test_the_next_turn_follows_the_signature_line() -> None:
    """The first entry after a signature holds the signature line's hash."""
    data, signed = write_turn(Chain.new(LOG_ID), NOW, [event()], VAULT, SIGNER)
    (line,), _ = extend(Chain.after(LOG_ID, signed), NOW, [event()])
    signature = data.split(b"\n")[1]
    assert json.loads(line)["prev"] == sha256(signature).hexdigest()
    assert json.loads(line)["seq"] == 2
    assert read_signature(signature) == signed


@given(st.dictionaries(st.sampled_from(TEXTS), st.text()))
def test_what_is_logged_is_what_is_read(texts: dict[str, str]) -> None:
    """Any text comes back as it was, from one line of printable ASCII."""
    (line,), _ = extend(Chain.new(LOG_ID), NOW, [event(**texts)])
    assert set(line.decode()) <= set(string.printable) - set("\t\n\r\x0b\x0c")
    read = json.loads(line)
    assert all(read[field] == text for field, text in texts.items())


def test_every_code_point_leaves_the_lines_whole() -> None:
    """No character of any field starts a line, or reaches a terminal as it is."""
    for start in range(0, 0x110000, 0x1000):
        text = "".join(map(chr, range(start, start + 0x1000)))
        for part in (text[at : at + 256] for at in range(0, len(text), 256)):
            (line,), _ = extend(Chain.new(LOG_ID), NOW, [event(note=part)])
            assert min(line) >= 0x20
            assert max(line) < 0x7F


def test_half_a_surrogate_pair_is_logged_as_a_question_mark() -> None:
    """What UTF-8 can't hold, as in a file name of odd bytes, doesn't stop an entry."""
    (line,), _ = extend(Chain.new(LOG_ID), NOW, [event(unit="odd\udcff.service")])
    assert read_entry(line).unit == "odd?.service"


def test_an_entry_that_no_reader_would_take_is_not_written() -> None:
    """An entry longer than the limit of a line is refused before the chain goes on."""
    with pytest.raises(ValueError, match="longer than"):
        extend(Chain.new(LOG_ID), NOW, [event(note="x" * MAX_LINE_BYTES)])


def test_times_are_utc_with_microseconds() -> None:
    """Times are spelled alike whatever their zone and fraction; one without a zone is refused."""
    berlin = timezone(timedelta(hours=1))
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=berlin)) == "2026-01-02T02:04:05.000000Z"
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, 7, UTC)) == "2026-01-02T03:04:05.000007Z"
    with pytest.raises(ValueError, match="zone"):
        timestamp(datetime(2026, 1, 2))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"op":"get"', b'"op":"get","value":"x"'),
        (b'"op":"get",', b""),
        (b'"uid":1001', b'"uid":"1001"'),
        (b'"uid":1001', b'"uid":-1'),
        (b'"uid":1001', b'"uid":1001.5'),
        (b'"seq":1', b'"seq":true'),
        (b'"allowed"', b'"perhaps"'),
        (b"07.120394Z", b"07Z"),
        (b"07.120394Z", b"07.120394+00:00"),
        (b'"prev":"0', b'"prev":"A'),
        (b'"prev":"00', b'"prev":"0'),
        (b"backend", b"back\xc3\xa9nd"),
        (b"backend", b"back\xffnd"),
        (b"backend", b"b" * MAX_LINE_BYTES),
        (b"}", b"}}"),
        (b"}", b'} {"seq":2}'),
        (b"}", b""),
        (b'{"seq"', b'[{"seq"'),
    ],
)
def test_a_reader_takes_only_what_the_writer_writes(good: bytes, bad: bytes) -> None:
    """Unknown or missing fields, wrong types, other spellings and trailing bytes are refused."""
    (line,), _ = extend(Chain.new(LOG_ID), NOW, [event()])
    read_entry(line)
    assert good in line
    with pytest.raises(Broken):
        read_entry(line.replace(good, bad, 1))


def test_an_event_has_no_room_for_a_value() -> None:
    """Every field of an entry is on a list; a secret's value, length or hash isn't."""
    numbers = {"uid", "gid", "pid", "vault_seq", "count"}
    assert set(Event.__struct_fields__) == {
        *TEXTS, *numbers, "op", "outcome", "vault_head", "recovered"
    }  # fmt: skip
