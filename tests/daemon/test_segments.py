"""The files of one log are found, put in order and read, whatever logrotate made of them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.daemon.segments import (
    end_of,
    end_of_lines,
    feed,
    find_segments,
    is_signed_in,
    reach_back_to,
    read_lines,
)
from jarvis_secretsd.domain.audit import MAX_LINE_BYTES
from jarvis_secretsd.domain.auditfindings import Verdict
from jarvis_secretsd.domain.verification import Report, Verifier
from jarvis_secretsd.errors import StateRefused, StorageFailed, UnsafeFile
from tests.domain.auditing import LOG_ID, SIGNER, Writer

SCHEMES = {
    "numbered": (".3", ".2", ".1", ""),
    "past nine": (".11", ".10", ".9", ""),
    "dated": ("-20260801", "-20260901", "-20261001", ""),
    "dated by the hour": ("-2026080101", "-2026080102", "-2026080103", ""),
    "compressed": (".3.gz", ".2.gz", ".1", ""),
    "dated and compressed": ("-20260801.gz", "-20260901.gz", "-20261001", ""),
    "set aside": (".2.gz", ".1", ".aside-00112233aabbccdd", ""),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "audit.jsonl"


def log_of(segments: int) -> Writer:
    """A log of so many segments, with a turn in each."""
    log = Writer()
    log.turn()
    for _ in range(segments - 1):
        log.rotate()
        log.turn()
    return log


def packed(lines: list[bytes]) -> bytes:
    """The segment as it lies on the disk."""
    return b"".join(line + b"\n" for line in lines)


def lay_down(path: Path, suffix: str, data: bytes) -> Path:
    """Write a file of the log, compressed if its name says so; readable only by us."""
    file = path.with_name(path.name + suffix)
    file.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    file.chmod(0o600)
    return file


def verified(path: Path) -> Report:
    """What the files that are found come to, when all of the log is demanded."""
    verifier = Verifier(SIGNER.check, SIGNER.key_id, from_start=True)
    feed(verifier, [segment.path for segment in find_segments(str(path))])
    return verifier.report()


@pytest.mark.parametrize("suffixes", SCHEMES.values(), ids=SCHEMES)
def test_segments_are_found_in_the_order_they_were_written(
    path: Path, suffixes: tuple[str, ...]
) -> None:
    """Their first entries give the order, so no naming scheme can confuse it."""
    log = log_of(len(suffixes))
    for suffix, lines in zip(suffixes, log.segments, strict=True):
        lay_down(path, suffix, packed(lines))
    found = find_segments(str(path))
    assert [one.path for one in found] == [f"{path}{suffix}" for suffix in suffixes]
    report = verified(path)
    assert (report.verdict, report.last) == (Verdict.INTACT, log.signed.seq)


def test_other_files_beside_the_log_are_none_of_it(path: Path) -> None:
    """Keys, copies, torn tails, empty files and foreign files that were set aside are left out."""
    data = packed(log_of(1).segments[0])
    lay_down(path, "", data)
    for suffix in (".bak", ".torn-0011223344556677", ".1.zst", "-old", ".1~", "l"):
        lay_down(path, suffix, data)
    lay_down(path, ".1", b"")
    lay_down(path, ".aside-0011223344556677", b"something else\n")
    lay_down(path.with_name("other.jsonl"), "", data)
    assert [one.path for one in find_segments(str(path))] == [str(path)]


def test_a_rotated_file_that_does_not_read_is_not_passed_over(path: Path) -> None:
    """Whoever garbles an old segment's first line doesn't make it vanish."""
    first, second = log_of(2).segments
    lay_down(path, ".1", packed([b"garbled", *first[1:]]))
    lay_down(path, "", packed(second))
    assert verified(path).verdict is Verdict.TAMPERED


def test_a_torn_last_line_is_told_from_a_whole_one(path: Path) -> None:
    """A segment that ends in the middle of a line is incomplete, also when it is compressed."""
    data = packed(log_of(1).segments[0])
    for suffix in ("", ".1.gz"):
        file = lay_down(path, suffix, data[:-7])
        assert verified(path).verdict is Verdict.INCOMPLETE
        file.unlink()


def test_a_line_is_never_read_beyond_its_limit(path: Path) -> None:
    """Of an endless line only the start is kept, and the lines after it are still read."""
    endless = b"x" * (3 * MAX_LINE_BYTES)
    lay_down(path, "", b"a\n" + endless + b"\nb\n" + endless)
    first, long, last, torn = read_lines(str(path))
    assert (first, last) == (b"a\n", b"b\n")
    assert MAX_LINE_BYTES < len(long) - 1 < MAX_LINE_BYTES + 3
    assert long.endswith(b"\n")
    assert not torn.endswith(b"\n")


def test_the_longest_line_is_read_whole(path: Path) -> None:
    """The limit itself is no fault, with its newline or without."""
    longest = b"x" * MAX_LINE_BYTES
    lay_down(path, "", longest + b"\n" + longest)
    assert list(read_lines(str(path))) == [longest + b"\n", longest]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:40] + b"\0" * 40])
def test_a_compressed_file_that_is_damaged_is_unreadable(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """It is an error that names the file, not a shorter log."""
    file = lay_down(path, ".1.gz", packed(log_of(1).segments[0]))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StorageFailed, match=r"1\.gz can't be decompressed"):
        list(read_lines(str(file)))


def test_what_is_no_file_is_not_waited_for(path: Path) -> None:
    """A FIFO, a directory or a link where a segment should be is refused at once."""
    os.mkfifo(f"{path}.1")
    with pytest.raises(StorageFailed, match="not a regular file"):
        find_segments(str(path))
    os.unlink(f"{path}.1")
    os.symlink("/dev/zero", f"{path}.1")
    with pytest.raises(UnsafeFile, match="is a link"):
        find_segments(str(path))


def end(path: Path) -> tuple[int, int] | None:
    """The number of the last signed entry, and the offset where its signature line ends."""
    journal = Journal.open(str(path))
    try:
        found = end_of(journal, LOG_ID, SIGNER.key_id, SIGNER.check)
    finally:
        journal.close()
    return (found.signed.seq, found.offset) if found else None


@pytest.mark.parametrize("size", [0, 1, 100, 300_000, 3_000_000])
def test_the_end_of_a_log_is_found_behind_any_tail(path: Path, size: int) -> None:
    """However long a crash's leftovers are, the last signature's line is where the log ends."""
    log = log_of(1)
    for _ in range(900):
        log.turn()
    data = packed(log.segments[0])
    lay_down(path, "", data + b"\0" * size)
    assert end(path) == (log.signed.seq, len(data))


def test_every_cut_of_a_log_ends_at_a_signature(path: Path) -> None:
    """Wherever a log is cut, its end is the last signature before the cut, or nowhere."""
    log = log_of(1)
    log.turn()
    lines = log.segments[0]
    data = packed(lines)
    ends = [
        (sum(b'"prev"' in line for line in lines[: place + 1]), len(packed(lines[: place + 1])))
        for place, line in enumerate(lines)
        if line.startswith(b'{"sig":')
    ]
    for size in range(len(data) + 1):
        lay_down(path, "", data[:size])
        assert end(path) == next((one for one in reversed(ends) if one[1] <= size), None)


def test_a_log_without_a_turn_in_sight_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More after the last signature than a crash leaves is damage, and not searched for ever."""
    monkeypatch.setattr("jarvis_secretsd.daemon.segments.MAX_TAIL", 300_000)
    lay_down(path, "", packed(log_of(1).segments[0]) + b"\0" * 4_000_000)
    with pytest.raises(StateRefused, match="no whole signed turn"):
        end(path)


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_a_compressed_segment_ends_where_it_ended(path: Path, turns: int) -> None:
    """Reading forwards finds the same last signature, whatever a crash left behind it."""
    log = Writer()
    for _ in range(turns):
        log.turn()
    for tail in (b"", b"torn", b"{}\n", b'{"sig":"torn"}\n' * 9):
        file = lay_down(path, ".1.gz", packed(log.segments[0]) + tail)
        found = end_of_lines(str(file), LOG_ID, SIGNER.key_id, SIGNER.check)
        assert found == log.signed


def test_a_log_knows_each_head_that_it_signed(path: Path) -> None:
    """In the active file, in older ones, and where one ends that is gone; and no other head."""
    log = Writer()
    signed = [log.signed, log.turn(), log.turn()]
    log.rotate()
    signed += [log.signed, log.turn()]
    log.rotate()
    signed += [log.signed, log.turn()]
    for suffix, lines in zip((".2.gz", ".1", ""), log.segments, strict=True):
        lay_down(path, suffix, packed(lines))
    journal = Journal.open(str(path))
    for active in (journal, None):
        for one in signed:
            assert is_signed_in(str(path), active, one.seq, one.head)
            assert not is_signed_in(str(path), active, one.seq, "0" * 64)
            assert not is_signed_in(str(path), active, one.seq + 1, one.head)
        assert not is_signed_in(str(path), active, log.signed.seq + 9, "0" * 64)
    os.unlink(f"{path}.2.gz")
    assert is_signed_in(str(path), journal, signed[2].seq, signed[2].head)
    assert not is_signed_in(str(path), journal, signed[1].seq, signed[1].head)
    journal.close()


def test_a_copy_of_a_segments_beginning_says_nothing_more(path: Path) -> None:
    """logrotate's `copy` leaves it beside the log, whole or cut anywhere, compressed or not."""
    log = log_of(2)
    log.turn()
    first, data = (packed(lines) for lines in log.segments)
    lay_down(path, ".9", first)
    lay_down(path, "", data)
    lay_down(path, ".1", data[:-1])
    lay_down(path, ".2.gz", data[: len(data) // 2])
    lay_down(path, ".3", data)
    found = [one.path for one in find_segments(str(path))]
    assert found == [f"{path}.9", str(path)]
    assert verified(path).verdict is Verdict.INTACT


def test_a_copy_that_says_something_else_is_no_copy(path: Path) -> None:
    """Whoever changes one of them doesn't choose which is believed."""
    log = log_of(1)
    log.turn()
    data = packed(log.segments[0])
    for suffix, other in ((".1", data[:-9] + b"x" * 9), (".2", data + b"more\n")):
        lay_down(path, "", data)
        file = lay_down(path, suffix, other)
        assert verified(path).verdict is Verdict.TAMPERED
        file.unlink()


def test_a_log_reaches_back_to_the_end_before_its_first_segment(path: Path) -> None:
    """A segment names the end of the one before it, and nothing earlier."""
    log = Writer()
    log.turn()
    end_of_first = log.turn()
    log.rotate()
    log.turn()
    lay_down(path, "", packed(log.segments[1]))
    assert reach_back_to(str(path), end_of_first.seq)
    assert not reach_back_to(str(path), end_of_first.seq - 1)
    path.unlink()
    assert not reach_back_to(str(path), 1)
