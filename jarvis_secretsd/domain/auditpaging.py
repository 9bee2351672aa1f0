"""A page of the audit log for who may read it, found and read in a bounded time.

A log may be gigabytes, and a page is read between two turns of the loop. So a place in it is found
by halving, and a page looks at so many bytes and no more, whether or not they hold what is wanted.
What is read here isn't verified: that is `domain.verification`, which reads all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec import Struct

from jarvis_secretsd.domain.auditreading import is_signature
from jarvis_secretsd.domain.policy import Pattern
from jarvis_secretsd.domain.witness import Answer
from jarvis_secretsd.errors import InvalidRequest
from jarvis_secretsd.messages import MAX_PAGE, AuditEntry, AuditLog, AuditPage
from jarvis_secretsd.values import MAX_NAME_BYTES

PAGE_BYTES = 512 * 1024
"""What one page reads of the log. An entry on the wire is no longer than its line, so that is below
a frame too."""

_NEAR = 64 * 1024
"""Four of the longest lines: a place that is this near is found by looking at all of them."""

_USUAL = 4 * 1024
"""What holds the next entry nearly always."""

_ENTRY = re.compile(rb'\n\{"seq":([0-9]{1,18}),')


class Text(Protocol):
    """The bytes of a segment: `size` of them."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on, never past `size`."""


class Part(Struct, frozen=True):
    """A segment of the log: its entries from `first` up to, but not including, `end`."""

    first: int
    end: int
    text: Text


def check(asked: AuditLog) -> None:
    """Raises InvalidRequest for a page that can't be meant."""
    if asked.before is not None and asked.after is not None:
        raise InvalidRequest("a page goes on `before` an entry or `after` one, not both")
    if asked.limit is not None and not 1 <= asked.limit <= MAX_PAGE:
        raise InvalidRequest(f"limit is {asked.limit}; it can be 1 to {MAX_PAGE}")
    if asked.pattern is not None and len(asked.pattern) > MAX_NAME_BYTES:
        raise InvalidRequest(f"pattern is longer than the {MAX_NAME_BYTES} bytes of a name")


def unless_empty(answer: Answer) -> Answer:
    """The answer with its entry, or without one where the page tells nothing.

    So whoever waits for news doesn't make any.
    """
    page = answer.reply
    return Answer(page) if isinstance(page, AuditPage) and not page.entries else answer


def page_back(parts: Iterable[Part], asked: AuditLog, end: int) -> AuditPage:
    """The last entries before number `asked.before`, or before `end`. `parts` are the newest first.

    They are taken one by one, and no further than the page goes.
    """
    page = _Page(asked)
    before = end if asked.before is None else min(asked.before, end)
    for part in parts:
        if part.first >= before:
            continue
        stop = place_of(part.text, min(before, part.end))
        start = max(0, stop - page.left)
        lines = page.lines(part.text, start, stop)
        last = page.look(reversed(lines[1:] if start else lines))
        before = min(before, part.first if last is None else last)
        if page.is_over:
            break
        if page.is_full:
            return AuditPage(page.entries[::-1], end - 1, before, page.unreadable)
    return AuditPage(page.entries[::-1], end - 1, None, page.unreadable)


def page_on(parts: Iterable[Part], asked: AuditLog, after: int) -> AuditPage:
    """The first entries after number `after`. `parts` are the oldest first.

    A page that would tell of nothing but readers of the log is empty, and goes on where it began:
    to be told is to read the log, so two who follow it would tell each other for ever.
    """
    page, reached = _Page(asked), after
    for part in parts:
        if part.end <= reached + 1:
            continue
        start = place_of(part.text, reached + 1)
        stop = place_of(part.text, part.end)
        last = page.look(page.lines(part.text, start, min(stop, start + page.left))[:-1])
        reached = max(reached, part.end - 1 if last is None else last)
        if page.is_full:
            return AuditPage(page.entries, reached, None, page.unreadable)
    if page.entries and all(entry.op == asked.op for entry in page.entries):
        return AuditPage((), after)
    return AuditPage(page.entries, reached, None, page.unreadable)


def place_of(text: Text, seq: int) -> int:
    """Where the line of the first entry begins that has this number or a higher one."""
    low, high = 0, text.size
    while high - low > _NEAR:
        middle = (low + high) // 2
        found = _ENTRY.search(text.read(middle, _USUAL)) or _ENTRY.search(text.read(middle, _NEAR))
        if found is None or int(found[1]) >= seq:
            high = middle
        else:
            low = middle + found.start() + 1
    for found in _ENTRY.finditer(b"\n" + text.read(low, 2 * _NEAR)):
        if int(found[1]) >= seq:
            return low + found.start()
    return text.size


class Sieve:
    """Which lines are entries that are wanted. It counts those that can't be read."""

    def __init__(self, asked: AuditLog) -> None:
        self._pattern = None if asked.pattern is None else Pattern.of(asked.pattern)
        self._subject = asked.subject
        self._since = asked.since
        self.unreadable = 0

    def entry(self, line: bytes) -> AuditEntry | None:
        """The entry that this line is."""
        if is_signature(line) or not line:
            return None
        try:
            return _entries.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable += 1
            return None

    def passes(self, entry: AuditEntry) -> bool:
        """Is it one of those that are asked for?"""
        if self.is_too_old(entry) or (self._subject and entry.client != self._subject):
            return False
        return self._pattern is None or bool(entry.name and self._pattern.matches(entry.name))

    def is_too_old(self, entry: AuditEntry) -> bool:
        """Is it, and so are all before it, older than what is asked for?"""
        return self._since is not None and entry.time < self._since


class _Page:
    """What is found for a page, and how many bytes it may still read."""

    def __init__(self, asked: AuditLog) -> None:
        self._sieve = Sieve(asked)
        self._limit = asked.limit or MAX_PAGE
        self._found: list[AuditEntry] = []
        self.left = PAGE_BYTES
        self.is_over = False

    @property
    def is_full(self) -> bool:
        """Does it have what it may hold, or has it read what it may read?"""
        return len(self._found) >= self._limit or self.left <= 0

    @property
    def entries(self) -> tuple[AuditEntry, ...]:
        """What was found, in the order in which it was."""
        return tuple(self._found)

    @property
    def unreadable(self) -> int:
        """Lines that couldn't be read."""
        return self._sieve.unreadable

    def lines(self, text: Text, start: int, stop: int) -> list[bytes]:
        """The pieces between line ends from `start` to `stop`."""
        data = text.read(start, stop - start)
        self.left -= len(data)
        return data.split(b"\n")

    def look(self, lines: Iterable[bytes]) -> int | None:
        """Take what is wanted of these lines until there is enough; the last entry's number.

        `is_over` says that one of them was too old.
        """
        last = None
        for entry in filter(None, map(self._sieve.entry, lines)):
            last = entry.seq
            self.is_over = self.is_over or self._sieve.is_too_old(entry)
            if self._sieve.passes(entry):
                self._found.append(entry)
            if len(self._found) >= self._limit:
                break
        return last


_entries = msgspec.json.Decoder(AuditEntry)
