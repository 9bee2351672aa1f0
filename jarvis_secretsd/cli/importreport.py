"""What `jarvis-secrets import` tells: about the files, before it stores, and afterwards."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from jarvis_secretsd.cli.gathering import Entry, Note
from jarvis_secretsd.cli.importing import REFUSED, Change, Imported, Step, report
from jarvis_secretsd.cli.naming import Wanted
from jarvis_secretsd.cli.options import settings
from jarvis_secretsd.cli.output import count_bytes, counted, remark, show, show_json, table
from jarvis_secretsd.messages import Result

_COMMONPLACE = re.compile(rb"|true|false|yes|no|on|off|none|null|\d{1,5}", re.IGNORECASE)
"""Settings rather than secrets: that two variables share them says nothing."""

_WOULD = {
    Change.CREATED: "created",
    Change.CHANGED: "changed",
    Change.UNCHANGED: "unchanged",
    Change.KEPT: "kept",
    Change.UNREADABLE: "refused: you may not read it",
    Change.UNWRITABLE: "refused: you may not write it",
}


class Prospect(Result, frozen=True):
    """What would become of one variable; `change` is null where the daemon didn't say."""

    variable: str
    secret: str
    length: int
    change: Change | None


class Prospects(Result, frozen=True):
    """A dry run: what would become of each variable, and which ones were left out."""

    secrets: tuple[Prospect, ...]
    skipped: tuple[str, ...]


def tell_notes(notes: Iterable[Note], unmeant: Collection[str]) -> None:
    """Say what a person should look at in the files, but at the places of what isn't meant."""
    for note in notes:
        if note.place not in unmeant:
            remark(f"{note.place}: {note.text}")


def tell_sharing(entries: Sequence[Entry]) -> None:
    """Say which variables several files set, and which have one value."""
    repeated = [entry.variable for entry in entries if len(entry.places) > 1]
    if repeated:
        remark(f"the same in several files: {', '.join(repeated)}")
    for sharing in _sharing(entries):
        remark(f"the same value under {' and '.join(sharing)}")


def tell_prospects(steps: Sequence[Step], skipped: Sequence[str]) -> None:
    """Show what would become of each variable, by what is there."""
    _tell_prospects([(step.wanted, step.change) for step in steps], skipped)
    if any(step.change in REFUSED for step in steps):
        remark("nothing would be imported: a right is missing (`jarvis-secrets whoami`)")
        return
    counts = _counts(report(steps, skipped))
    remark(f"dry run, compared with what is there: {counts}; nothing was stored")


def tell_unknown(wanted: Sequence[Wanted], skipped: Sequence[str], why: str) -> None:
    """Show what the files say, where the daemon doesn't say what is there."""
    _tell_prospects([(one, None) for one in wanted], skipped)
    remark(f"dry run, not compared with what is there: {why}")
    remark(f"{counted(len(wanted), 'secret')} would be imported; nothing was stored")


def tell_done(done: Imported) -> None:
    """Show what was done to each name."""
    if settings().json:
        show_json(done)
        return
    for change, names in _by_change(done):
        show(*(f"{change} {name}" for name in names))
    which = "every other value" if done.kept else "every value"
    if any((done.created, done.changed, done.unchanged, done.kept)):
        show(f"{_counts(done)}; {which} was read back and is the same")
    if done.skipped:
        remark(f"left out: {', '.join(done.skipped)}")


def _by_change(done: Imported) -> Iterator[tuple[Change, tuple[str, ...]]]:
    yield Change.CREATED, done.created
    yield Change.CHANGED, done.changed
    yield Change.UNCHANGED, done.unchanged
    if done.kept:
        yield Change.KEPT, done.kept


def _counts(done: Imported) -> str:
    return ", ".join(f"{len(names)} {change}" for change, names in _by_change(done))


def _tell_prospects(
    prospects: Sequence[tuple[Wanted, Change | None]], skipped: Sequence[str]
) -> None:
    if settings().json:
        told = (Prospect(w.variable, w.name, len(w.value), change) for w, change in prospects)
        show_json(Prospects(tuple(told), tuple(skipped)))
        return
    rows = [
        (
            one.variable,
            str(one.name),
            count_bytes(one.value),
            _WOULD[change] if change else "imported",
        )
        for one, change in prospects
    ]
    rows += [(variable, "-", "-", "left out") for variable in skipped]
    if rows:
        table(("VARIABLE", "SECRET", "LENGTH", "WOULD BE"), rows)


def _sharing(entries: Iterable[Entry]) -> Iterator[list[str]]:
    """The places of variables that hold one value, for each value that tells something."""
    holders: dict[bytes, list[str]] = {}
    for entry in entries:
        value = entry.value.reveal()
        if _COMMONPLACE.fullmatch(value) is None:
            holders.setdefault(value, []).append(f"{entry.variable} ({entry.places[0]})")
    return (sharing for sharing in holders.values() if len(sharing) > 1)
