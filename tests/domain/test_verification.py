"""What a verification says of logs that were kept, cut, and altered."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jarvis_secretsd.domain.audit import Chain, Event, VaultHead, extend
from jarvis_secretsd.domain.auditfindings import MAX_FINDINGS, Expected, Verdict
from jarvis_secretsd.domain.verification import last_signed
from tests.domain.auditing import (
    LOG_ID,
    NOW,
    SIGNER,
    VAULT,
    HashSigner,
    Writer,
    event,
    expect,
    verify,
    verify_bytes,
)


def written(turns: int = 3) -> Writer:
    """A log of one segment: the opening's turn, and turns of two entries each."""
    log = Writer()
    for _ in range(turns):
        log.turn()
    return log


def test_a_log_as_it_was_written_is_intact() -> None:
    """The report of an untouched log says how much was checked, and against which key."""
    log = written()
    report = verify(log.segments, from_start=True, expected=expect(log.signed))
    assert (report.verdict, report.findings) == (Verdict.INTACT, ())
    assert (report.entries, report.first, report.last) == (7, 1, 7)
    assert (report.log_id, report.key_id, report.pinned) == (LOG_ID, SIGNER.key_id, False)
    assert report.signed == log.signed


@pytest.mark.parametrize("segments", [[], [[]], [[], []]])
def test_nothing_is_never_intact(segments: list[list[bytes]]) -> None:
    """A log without a line isn't success."""
    assert verify(segments).verdict is Verdict.INCOMPLETE


@st.composite
def altered(draw: st.DrawFn) -> list[bytes]:
    """A log's lines with one alteration that an editor could make."""
    lines = list(written().segments[0])
    place = draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(["edit", "delete", "insert", "repeat", "swap", "cut"])):
        case "edit":
            at = draw(st.integers(0, len(lines[place]) - 1))
            byte = draw(st.binary(min_size=1, max_size=1).filter(lambda b: b != b"\n"))
            lines[place] = lines[place][:at] + byte + lines[place][at + 1 :]
        case "delete":
            del lines[place : place + draw(st.integers(1, 4))]
        case "insert":
            lines.insert(place, draw(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b""))))
        case "repeat":
            lines.insert(draw(st.integers(0, len(lines))), lines[place])
        case "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        case "cut":
            del lines[draw(st.integers(0, len(lines) - 1)) :]
    return lines


@given(altered())
@settings(max_examples=400)
def test_no_alteration_of_lines_passes(lines: list[bytes]) -> None:
    """Edited, deleted, inserted, repeated, exchanged or cut lines: never intact."""
    log = written()
    report = verify([lines], expected=expect(log.signed))
    if lines == log.segments[0]:
        assert report.verdict is Verdict.INTACT
    else:
        assert report.verdict is not Verdict.INTACT
        assert report.findings


def test_no_flipped_bit_passes() -> None:
    """Whichever bit of a log is flipped, it isn't intact, even if nobody else knows its end."""
    data = b"".join(line + b"\n" for line in written(1).segments[0])
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            assert verify_bytes(bytes(flipped)).verdict is not Verdict.INTACT


def test_no_cut_passes_once_the_end_is_known() -> None:
    """A log cut at any byte misses its tail; without other knowledge only a whole turn can go."""
    log = written(2)
    data = b"".join(line + b"\n" for line in log.segments[0])
    known = expect(log.signed)
    for size in range(len(data)):
        assert verify_bytes(data[:size], expected=known).verdict is Verdict.INCOMPLETE
        if verify_bytes(data[:size]).verdict is Verdict.INTACT:
            assert data[:size].splitlines()[-1].startswith(b'{"sig":')


def test_a_finding_names_segment_and_line() -> None:
    """An edited entry is found where it is, and by the hash and the signature that follow."""
    log = written()
    log.rotate()
    log.turn()
    log.segments[1][2] = log.segments[1][2].replace(b'"name":"a"', b'"name":"z"')
    report = verify(log.segments)
    assert report.verdict is Verdict.TAMPERED
    assert {(one.segment, one.line) for one in report.findings} == {("segment 2", 4)}


def test_one_change_does_not_drown_the_next() -> None:
    """After a deleted entry the rest is still read: one finding for each place."""
    log = written(6)
    del log.segments[0][9]
    del log.segments[0][3]
    report = verify(log.segments)
    assert [one.line for one in report.findings] == [4, 9]


def test_a_log_in_ruins_has_a_bounded_report() -> None:
    """Findings beyond a limit are counted, and the worst of them still decides."""
    ruin = [b"x"] * (MAX_FINDINGS + 50)
    report = verify([ruin])
    assert len(report.findings) == MAX_FINDINGS
    assert report.further > 0
    assert report.verdict is Verdict.TAMPERED


def test_lines_of_another_key_do_not_pass() -> None:
    """A log that another key signed throughout is not this key's log."""
    other = Writer(HashSigner(b"another key"))
    other.turn()
    assert verify(other.segments).verdict is Verdict.TAMPERED
    assert verify(other.segments, signer=other.signer).verdict is Verdict.INTACT


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"jarvis-audit-v1", b"jarvis-audit-v2"),
        (b'"op":"log_created"', b'"op":"log_renewed"'),
        (b'"log_id"', b'"surprise":1,"log_id"'),
        (b'"seq":1,', b'"seq":2,'),
        (b'"op":"log_created"', b'"op":"segment_opened"'),
    ],
)
def test_an_opening_that_is_not_understood_is_no_opening(good: bytes, bad: bytes) -> None:
    """Unknown formats, operations and fields of a log's first line are findings."""
    (first, *rest) = written().segments[0]
    assert good in first
    report = verify([[first.replace(good, bad), *rest]])
    assert report.verdict is Verdict.TAMPERED
    assert report.findings[0].line == 1


def test_a_signature_is_spelled_in_one_way_only() -> None:
    """Spaces, another order of fields and other base64 for the same bytes are alterations."""
    *lines, last = written().segments[0]
    fields = msgspec.json.decode(last)
    spelled = [
        last.replace(b":", b": "),
        msgspec.json.encode(dict(sorted(fields.items()))),
        last.replace(b'==","key_id"', b'","key_id"'),
        last.replace(b'"seq":', b'"seq":7,"seq":'),
    ]
    for spelling in spelled:
        assert spelling != last
        assert verify([[*lines, spelling]]).verdict is Verdict.TAMPERED


def test_entries_after_the_last_signature_are_not_intact() -> None:
    """Whole lines that no signature covers are a tail that is missing its end."""
    log = written()
    lines, _ = extend(Chain.after(LOG_ID, log.signed), NOW, [event(), event()])
    report = verify([[*log.segments[0], *lines]])
    assert report.verdict is Verdict.INCOMPLETE
    assert report.last == log.signed.seq
    assert "2 entries" in report.findings[0].fault


def test_a_torn_line_is_named_once_and_the_rest_is_checked() -> None:
    """A last line without its end is incomplete, not tampered."""
    report = verify(written().segments, torn=17)
    assert report.verdict is Verdict.INCOMPLETE
    assert [one.fault for one in report.findings] == ["is torn: 17 bytes without an end"]
    assert report.entries == 7


class TestSegments:
    """Several files of one log."""

    def rotated(self) -> Writer:
        """Three segments."""
        log = written()
        for _ in range(2):
            log.rotate()
            log.turn()
        return log

    def test_segments_in_order_are_one_log(self) -> None:
        """A seam between two segments is checked like any other line."""
        log = self.rotated()
        report = verify(log.segments, from_start=True, expected=expect(log.signed))
        assert (report.verdict, report.segments) == (Verdict.INTACT, 3)
        assert report.last == log.signed.seq

    def test_a_later_segment_stands_by_itself(self) -> None:
        """The active file alone is intact from its start, which the report names."""
        log = self.rotated()
        report = verify(log.segments[1:])
        assert (report.verdict, report.first) == (Verdict.INTACT, 8)

    def test_the_whole_log_can_be_demanded(self) -> None:
        """With `from_start` a log without its first segment is incomplete, and says so."""
        report = verify(self.rotated().segments[1:], from_start=True)
        assert report.verdict is Verdict.INCOMPLETE
        assert "entries 1 to 7" in report.findings[0].fault

    def test_a_missing_segment_is_a_hole(self) -> None:
        """A lost segment in the middle is incomplete, not tampered, and its entries are named."""
        first, _, last = self.rotated().segments
        report = verify([first, last])
        assert report.verdict is Verdict.INCOMPLETE
        assert "entries 8 to 10" in report.findings[0].fault

    def test_a_cut_end_of_an_older_segment_is_a_hole(self) -> None:
        """A turn cut off the end of a rotated file is missed by the segment after it."""
        log = self.rotated()
        del log.segments[0][-3:]
        report = verify(log.segments)
        assert report.verdict is Verdict.INCOMPLETE
        assert "entries 6 to 7" in report.findings[0].fault

    def test_an_order_that_was_not_written_is_tampering(self) -> None:
        """Segments that are exchanged or doubled don't pass."""
        first, second, third = self.rotated().segments
        for order in ([second, first, third], [first, third, second], [first, first, second]):
            assert verify(order).verdict is Verdict.TAMPERED

    def test_a_segment_of_another_log_is_tampering(self) -> None:
        """A log doesn't go on with the segment of another log, even by the same key."""
        other = Writer(log_id="6" * 32)
        other.rotate()
        assert verify([written().segments[0], other.segments[1]]).verdict is Verdict.TAMPERED

    def test_a_named_end_of_the_segment_before_is_checked(self) -> None:
        """A segment's claim about where it starts needs the key's signature, even alone."""
        forger = Writer(HashSigner(b"another key"))
        forger.turn()
        log = written()
        log.rotate(after=forger.signed)
        assert verify(log.segments[1:]).verdict is Verdict.TAMPERED

    def test_turns_written_again_stand_in_both_segments(self) -> None:
        """Turns of a file that was taken away before they were durable may follow once more."""
        log = written(1)
        start = log.signed
        log.turn()
        log.turn()
        log.rotate(after=start, count=4)
        log.turn()
        report = verify(log.segments)
        assert (report.verdict, report.repeated) == (Verdict.INTACT, 4)

    @pytest.mark.parametrize("count", [None, 3])
    def test_a_fork_that_was_not_announced_is_tampering(self, count: int | None) -> None:
        """A segment that goes on from an earlier point than it says replaces what was signed."""
        log = written(1)
        start = log.signed
        log.turn()
        log.turn()
        log.rotate(after=start, count=count)
        assert verify(log.segments).verdict is Verdict.TAMPERED


class TestExpectations:
    """What heads and vault know of the log."""

    def test_a_log_that_ends_too_early_is_incomplete(self) -> None:
        """A whole turn cut off the end is found by whoever noted the head."""
        log = written()
        del log.segments[0][-3:]
        assert verify(log.segments).verdict is Verdict.INTACT
        report = verify(log.segments, expected=expect(log.signed))
        assert report.verdict is Verdict.INCOMPLETE
        assert "ends at entry 5; it once went to 7" in report.findings[0].fault

    def test_another_history_is_tampering(self) -> None:
        """A log that was cut and then went on differently is not the one whose head was noted."""
        log = written(1)
        other = Writer()
        other.turn(event("x"), event("y"))
        assert verify(other.segments, expected=expect(log.signed)).verdict is Verdict.TAMPERED

    def test_heads_before_the_first_segment_say_nothing(self) -> None:
        """A head that was noted before the oldest segment at hand can't be held against it."""
        log = written()
        known = expect(log.signed)
        log.turn()
        log.rotate()
        assert verify(log.segments[1:], expected=known).verdict is Verdict.INTACT

    def test_a_head_that_was_kept_elsewhere_must_be_there(self) -> None:
        """Cut before it or begun after it, the log lacks a part; another entry there is an edit."""
        log = written()
        kept = Expected(kept=((log.signed.seq, log.signed.head),))
        assert verify(log.segments, expected=kept).verdict is Verdict.INTACT
        log.turn()
        log.rotate()
        assert verify(log.segments, expected=kept).verdict is Verdict.INTACT
        late = verify(log.segments[1:], expected=kept)
        assert late.verdict is Verdict.INCOMPLETE
        assert late.findings[0].fault == "begins at entry 10; the head kept is of entry 7"
        assert verify([log.segments[0][:-6]], expected=kept).verdict is Verdict.INCOMPLETE
        other = Writer()
        other.turn(*(event(f"x{number}") for number in range(6)))
        assert verify(other.segments, expected=kept).verdict is Verdict.TAMPERED

    def changed(self, *seqs: int) -> Writer:
        """A log with an entry for each of these changes of the vault."""
        log = Writer()
        for seq in seqs:
            head = VaultHead(seq, f"{seq:064x}")
            change = event(op="put", vault_seq=seq, vault_head=head.head)
            log.turn(change, vault=head)
        return log

    def against(self, log: Writer, *seqs: int) -> Verdict:
        """The verdict when the vault holds these changes."""
        vault = VaultHead(seqs[-1], f"{seqs[-1]:064x}")
        return verify(log.segments, expected=Expected(vault=vault, vault_seqs=seqs)).verdict

    def test_every_change_of_the_vault_has_its_entry(self) -> None:
        """A change without an entry is a hole, anywhere; a compacted vault is not."""
        log = self.changed(1, 2, 4)
        assert self.against(log, 1, 2, 4) is Verdict.INTACT
        assert self.against(log, 2, 4) is Verdict.INTACT
        assert self.against(log, 1, 2, 3, 4) is Verdict.INCOMPLETE
        assert self.against(log, 1, 2, 4, 5) is Verdict.INCOMPLETE
        assert self.against(log, 9) is Verdict.INCOMPLETE

    def test_changes_before_the_first_segment_are_not_missed(self) -> None:
        """Entries of changes may stand in segments that aren't at hand."""
        log = self.changed(1, 2)
        log.rotate()
        head = VaultHead(3, f"{3:064x}")
        log.turn(event(op="put", vault_seq=3, vault_head=head.head), vault=head)
        log.segments[:1] = []
        assert self.against(log, 1, 2, 3) is Verdict.INTACT

    def test_a_vault_that_the_log_never_saw_is_a_missing_tail(self) -> None:
        """The number of the last change is not enough: its hash must be in the log too."""
        log = self.changed(1, 2)
        other = Expected(vault=VaultHead(2, "d" * 64), vault_seqs=(1, 2))
        assert verify(log.segments, expected=other).verdict is Verdict.INCOMPLETE

    def test_an_empty_vault_is_the_one_that_the_log_began_with(self) -> None:
        """The first signature holds the head of a vault without a change."""
        fresh = Expected(vault=VaultHead(0, VAULT.head))
        assert verify(Writer().segments, expected=fresh).verdict is Verdict.INTACT


class TestLastSigned:
    """Where the writer goes on after a crash."""

    def find(self, lines: list[bytes], *, whole: bool = True) -> tuple[int, int] | None:
        """The number of the last signed entry, and of lines up to its signature."""
        found = last_signed(lines, LOG_ID, SIGNER.key_id, SIGNER.check, whole=whole)
        return found and (found[0].seq, found[1])

    def test_it_is_the_last_line_of_a_log_that_ended_well(self) -> None:
        """Nothing follows the last signature."""
        assert self.find(written().segments[0]) == (7, 11)
        assert self.find(Writer().segments[0]) == (1, 2)

    @given(st.data())
    def test_a_turn_that_is_damaged_anywhere_is_not_signed(self, data: st.DataObject) -> None:
        """A crash that left a last turn's signature but not each byte of its entries is seen."""
        lines = list(written().segments[0])
        place = data.draw(st.integers(8, 10))
        at = data.draw(st.integers(0, len(lines[place]) - 1))
        lines[place] = lines[place][:at] + b"\0" + lines[place][at + 1 :]
        assert self.find(lines) == (5, 8)

    def test_a_tail_needs_the_signature_before_it(self) -> None:
        """Lines that don't start the segment show a turn only with the signature before."""
        lines = written().segments[0]
        assert self.find(lines[7:], whole=False) == (7, 4)
        assert self.find(lines[8:], whole=False) is None
        assert self.find([], whole=True) is None

    def test_another_key_signs_nothing(self) -> None:
        """Signatures of another key don't count."""
        assert self.find(Writer(HashSigner(b"another key")).segments[0]) is None


def test_an_event_that_poses_as_an_opening_is_only_an_event() -> None:
    """Openings count in a segment's first line only."""
    log = written()
    log.turn(Event(op="log_created", outcome="allowed"))
    assert verify(log.segments).verdict is Verdict.INTACT
