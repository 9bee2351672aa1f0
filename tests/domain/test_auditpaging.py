"""A page of the log holds what was asked for, and never reads more than its share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.domain import auditpaging
from jarvis_secretsd.domain.audit import Event
from jarvis_secretsd.domain.auditpaging import PAGE_BYTES, Part, check, page_back, page_on, place_of
from jarvis_secretsd.errors import InvalidRequest
from jarvis_secretsd.messages import AuditEntry, AuditLog, AuditPage
from jarvis_secretsd.values import ClientId
from tests.domain.auditing import Writer, event


class Counted:
    """Bytes that count how many of them were read."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._data = b"".join(line + b"\n" for line in lines)
        self.size = len(self._data)
        self.taken = 0

    def read(self, offset: int, length: int) -> bytes:
        data = self._data[offset : offset + length]
        self.taken += len(data)
        return data


READ_OF_LOG = Event(uid=1001, client="auditor", op="audit_log", outcome="allowed")


def log_of(*turns: int) -> tuple[list[Part], int]:
    """Segments with so many turns of three entries each, the oldest first, and the log's end."""
    writer = Writer()
    firsts = [1]
    for number, count in enumerate(turns):
        if number:
            writer.rotate()
            firsts.append(writer.signed.seq)
        for turn in range(count):
            writer.turn(*(event(f"s{number}/t{turn}_{each}") for each in range(3)))
    ends = [*firsts[1:], writer.signed.seq + 1]
    texts = map(Counted, writer.segments)
    return [Part(*part) for part in zip(firsts, ends, texts, strict=True)], writer.signed.seq + 1


def backward(parts: list[Part], asked: AuditLog, end: int) -> Iterator[AuditPage]:
    """Page after page, to the beginning."""
    while True:
        yield (page := page_back(reversed(parts), asked, end))
        if page.before is None:
            return
        asked = AuditLog(page.before, None, asked.limit, asked.pattern, asked.subject)


def forward(parts: list[Part], limit: int | None = None) -> Iterator[AuditPage]:
    """Page after page, until nothing is new."""
    after = 0
    while True:
        yield (page := page_on(parts, AuditLog(after=after, limit=limit), after))
        if page.after == after:
            return
        after = page.after


def numbers(entries: Sequence[AuditEntry]) -> list[int]:
    return [entry.seq for entry in entries]


@pytest.mark.parametrize("limit", [1, 2, 7, None])
def test_pages_back_hold_every_entry_once(limit: int | None) -> None:
    """Over all segments, in order, whatever a page may hold."""
    parts, end = log_of(3, 1, 0, 4)
    pages = [*backward(parts, AuditLog(limit=limit), end)]
    assert numbers([entry for page in reversed(pages) for entry in page.entries]) == [
        *range(1, end)
    ]
    assert all(len(page.entries) <= (limit or 1000) for page in pages)
    assert pages[0].after == end - 1


@pytest.mark.parametrize("limit", [1, 2, 7, None])
def test_pages_on_hold_every_entry_once(limit: int | None) -> None:
    """In the other direction too."""
    parts, end = log_of(3, 1, 0, 4)
    found = [entry for page in forward(parts, limit) for entry in page.entries]
    assert numbers(found) == [*range(1, end)]


def test_a_place_is_found_without_reading_its_way_there() -> None:
    """In a long segment each place is found by halving: a hundredth of it is read."""
    (part,), end = log_of(20_000)
    assert isinstance(part.text, Counted)
    for seq in (1, 2, 17, end // 2, end - 2, end - 1):
        part.text.taken = 0
        place = place_of(part.text, seq)
        assert part.text.read(place, 40).startswith(b'{"seq":%d,' % seq)
        assert part.text.taken < part.text.size / 10
    assert place_of(part.text, end) == part.text.size


@given(st.integers(0, 50), st.integers(1, 160))
def test_every_place_is_the_one_that_a_look_at_all_lines_finds(turns: int, seq: int) -> None:
    """Where there is no such entry, the place is the end."""
    (part,), end = log_of(turns)
    assert isinstance(part.text, Counted)
    data = part.text.read(0, part.text.size)
    expected = part.text.size if seq >= end else (b"\n" + data).index(b'\n{"seq":%d,' % seq)
    assert place_of(part.text, seq) == expected


def test_a_page_reads_its_share_and_no_more() -> None:
    """A page that finds nothing ends all the same, and the next one goes on where it ended."""
    (part,), end = log_of(10_000)
    assert isinstance(part.text, Counted)
    pages = []
    for page in backward([part], AuditLog(pattern="nothing"), end):
        assert part.text.taken < 2 * PAGE_BYTES
        part.text.taken = 0
        pages.append(page)
    assert len(pages) > part.text.size // PAGE_BYTES
    assert not any(page.entries for page in pages)


def test_only_what_is_wanted_is_given() -> None:
    """By the name's pattern, by the client, and by both."""
    writer = Writer()
    writer.turn(event("db/a"), event("db/b", client="web"), event("x", client="web"))
    parts = [Part(1, 5, Counted(writer.segments[0]))]
    for pattern, subject, found in (
        ("db/*", None, [2, 3]),
        (None, "web", [3, 4]),
        ("db/*", "web", [3]),
        ("*", None, [2, 3, 4]),  # the log's first entry is about no name
    ):
        client = ClientId(subject) if subject else None
        asked = AuditLog(pattern=pattern, subject=client)
        assert numbers(page_back(parts, asked, 5).entries) == found
        asked = AuditLog(after=1, pattern=pattern, subject=client)
        assert numbers(page_on(parts, asked, 1).entries) == found


def test_what_a_later_segment_wrote_anew_is_told_once() -> None:
    """A turn that wasn't synced when its file was taken away stands in both files."""
    writer = Writer()
    before = writer.turn(event("kept"))
    writer.turn(event("lost"))
    writer.rotate(after=before, count=1)
    writer.turn(event("again"))
    first, second = map(Counted, writer.segments)
    parts = [Part(1, 3, first), Part(3, 5, second)]
    names = [None, "kept", None, "again"]
    assert [entry.name for entry in page_back(reversed(parts), AuditLog(), 5).entries] == names
    assert [entry.name for entry in page_on(parts, AuditLog(after=0), 0).entries] == names


def test_a_segments_opening_says_what_happened() -> None:
    """It is an entry that nobody asked for."""
    writer = Writer()
    opened = page_back([Part(1, 2, Counted(writer.segments[0]))], AuditLog(), 2).entries[0]
    assert (opened.op, opened.outcome, opened.seq) == ("log_created", "recorded", 1)


def test_lines_that_are_no_entries_are_counted_and_passed_over() -> None:
    """Whoever garbles a line hides that line, and not that there was one."""
    writer = Writer()
    writer.turn(event("a"), event("b"))
    lines = writer.segments[0]
    at = next(place for place, line in enumerate(lines) if b'"name":"a"' in line)
    lines[at] = b'{"seq":"two"}'
    parts = [Part(1, 4, Counted(lines))]
    for page in (page_back(parts, AuditLog(), 4), page_on(parts, AuditLog(after=0), 0)):
        assert (numbers(page.entries), page.unreadable) == ([1, 3], 1)


def test_garbage_of_any_length_is_got_past() -> None:
    """A segment that holds no entry at all doesn't keep who reads from the ones beside it."""
    parts, end = log_of(1, 1, 1)
    junk = Part(parts[1].first, parts[1].end, Counted([b"x" * 999] * 2000))
    parts[1] = junk
    wanted = [*range(1, junk.first), *range(junk.end, end)]
    found = [entry for page in backward(parts, AuditLog(), end) for entry in page.entries]
    assert sorted(numbers(found)) == wanted
    found = [entry for page in forward(parts) for entry in page.entries]
    assert numbers(found) == wanted


def test_readers_of_the_log_are_no_news_by_themselves() -> None:
    """Two who follow the log don't tell each other for ever; with other news they are told."""
    writer = Writer()
    writer.turn(event("a"))
    writer.turn(READ_OF_LOG, READ_OF_LOG)
    parts = [Part(1, 5, Counted(writer.segments[0]))]
    assert page_on(parts, AuditLog(after=2), 2) == AuditPage((), 2)
    writer.turn(event("b"))
    parts = [Part(1, 6, Counted(writer.segments[0]))]
    assert numbers(page_on(parts, AuditLog(after=2), 2).entries) == [3, 4, 5]


def test_many_readers_are_told_rather_than_wait_for_ever() -> None:
    """A full page of them goes out, or nobody would ever get past it."""
    writer = Writer()
    writer.turn(*[READ_OF_LOG] * 5)
    parts = [Part(1, 7, Counted(writer.segments[0]))]
    assert numbers(page_on(parts, AuditLog(after=1, limit=5), 1).entries) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "asked",
    [
        AuditLog(before=3, after=2),
        AuditLog(limit=0),
        AuditLog(limit=1001),
        AuditLog(pattern="*" * 256),
    ],
)
def test_a_page_that_cannot_be_meant_is_refused(asked: AuditLog) -> None:
    """Rather than guessed at; a pattern of a million stars would be tried on every name."""
    with pytest.raises(InvalidRequest):
        check(asked)


def test_a_page_fits_a_frame() -> None:
    """An entry on the wire is never longer than its line, and a page's lines are bounded."""
    from jarvis_secretsd.wire.codec import encode_reply
    from jarvis_secretsd.wire.frames import MAX_FRAME

    writer = Writer()
    wild = "\x07ü€😀" * 200
    for _ in range(40):
        writer.turn(*[event(note=wild, rule=wild)] * 10)
    (lines,) = writer.segments
    page = page_back([Part(1, 402, Counted(lines))], AuditLog(), 402)
    assert page.before is not None, "the page was full before the log was at its end"
    assert len(encode_reply(page)) < auditpaging.PAGE_BYTES < MAX_FRAME
