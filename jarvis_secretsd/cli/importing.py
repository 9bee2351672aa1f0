"""`jarvis-secrets import`: from what files say to what the daemon holds, and back to compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from msgspec import Struct, structs

from jarvis_secretsd.cli.asking import ask_each, unwritable
from jarvis_secretsd.cli.exits import Exit, Refused, status_of
from jarvis_secretsd.cli.naming import Wanted
from jarvis_secretsd.cli.output import remark
from jarvis_secretsd.client import (
    AccessDenied,
    DaemonUnreachable,
    SecretNotFound,
    SecretsClient,
    SecretsClientError,
)
from jarvis_secretsd.messages import Found, Get, Put, Result, Stored
from jarvis_secretsd.values import Kid


class Change(StrEnum):
    """What an import does to one name."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    UNREADABLE = "unreadable"
    UNWRITABLE = "unwritable"


_WRITTEN = frozenset({Change.CREATED, Change.CHANGED})

REFUSED = {Change.UNREADABLE: "read (to compare)", Change.UNWRITABLE: "write"}
"""What stops the import, and the right that is missing."""


class Step(Struct, frozen=True):
    """One secret, what becomes of it, and the version that its value replaces, if there is one."""

    wanted: Wanted
    change: Change
    replaces: Kid | None = None


class Imported(Result, frozen=True):
    """The names that an import created, changed, found as they should be, and kept although they
    have another value; and the variables that it left out."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: tuple[str, ...]
    skipped: tuple[str, ...]


_REPEAT = "repeat the import: what is stored already stays as it is"


class Stopped(Refused):
    """The daemon went away on the way; what was stored stays, and to repeat the import is safe."""

    def __init__(self, how_far: str, error: DaemonUnreachable) -> None:
        super().__init__(
            f"{how_far}: {error.message}; {_REPEAT}",
            status_of(error),
        )


def look(
    client: SecretsClient, wanted: Sequence[Wanted], *, overwrite: bool = True
) -> tuple[Step, ...]:
    """What is to be done, by what is there and what the client may do. Nothing is written.

    Raises SecretsClientError where the daemon doesn't say.
    """
    held = ask_each(client, [Get(one.name) for one in wanted], Found, "Looking")
    steps = [_step(one, found, overwrite) for one, found in zip(wanted, held, strict=True)]
    barred = unwritable(client, [step.wanted.name for step in steps if step.change in _WRITTEN])
    return tuple(
        structs.replace(step, change=Change.UNWRITABLE) if step.wanted.name in barred else step
        for step in steps
    )


def carry_out(client: SecretsClient, steps: Sequence[Step]) -> None:
    """Store what differs, then read every value back.

    Raises Refused before the first write where a right is missing: files are imported whole or not
    at all. Each put expects the version that `look` saw. What fails later says how far it came.
    """
    _check_rights(steps)
    due = [step for step in steps if step.change in _WRITTEN]
    _store(client, due)
    _compare(client, [step.wanted for step in steps if step.change is not Change.KEPT])


def report(steps: Sequence[Step], skipped: Sequence[str]) -> Imported:
    """The steps, sorted by what they do."""
    return Imported(
        _names(steps, Change.CREATED),
        _names(steps, Change.CHANGED),
        _names(steps, Change.UNCHANGED),
        _names(steps, Change.KEPT),
        tuple(skipped),
    )


def _names(steps: Sequence[Step], change: Change) -> tuple[str, ...]:
    return tuple(str(step.wanted.name) for step in steps if step.change is change)


def _step(wanted: Wanted, held: Found | SecretsClientError, overwrite: bool) -> Step:
    match held:
        case Found() if held.value.reveal() == wanted.value.reveal():
            return Step(wanted, Change.UNCHANGED)
        case Found() if overwrite:
            return Step(wanted, Change.CHANGED, replaces=held.kid)
        case Found():
            return Step(wanted, Change.KEPT)
        case SecretNotFound():
            return Step(wanted, Change.CREATED)
        case AccessDenied(code="denied"):
            return Step(wanted, Change.UNREADABLE)
        case _:
            raise held


def _check_rights(steps: Sequence[Step]) -> None:
    missing = [
        f"{verb} {', '.join(names)}"
        for change, verb in REFUSED.items()
        if (names := _names(steps, change))
    ]
    if missing:
        raise Refused(
            f"nothing was imported: you have no right to {', nor to '.join(missing)}; "
            "`jarvis-secrets whoami` shows your rights",
            Exit.DENIED,
        )


def _store(client: SecretsClient, steps: Sequence[Step]) -> None:
    puts = [
        Put(
            step.wanted.name,
            step.wanted.value.reveal_text(),
            expect_kid=step.replaces or "",
        )
        for step in steps
    ]
    answers: list[Stored | SecretsClientError] = []
    try:
        answers.extend(ask_each(client, puts, Stored, "Storing"))
    except DaemonUnreachable as error:
        raise Stopped(f"at least {_count(answers)} of {len(puts)} were stored", error) from error
    except KeyboardInterrupt:
        remark(f"at least {_count(answers)} of {len(puts)} were stored; {_REPEAT}")
        raise
    refused = [
        (step.wanted.name, answer)
        for step, answer in zip(steps, answers, strict=True)
        if isinstance(answer, SecretsClientError)
    ]
    for name, answer in refused:
        remark(f"{name}: {answer.message}")
    if refused:
        raise Refused(
            f"{_count(answers)} of {len(puts)} were stored; look at the rest before you repeat",
            status_of(refused[0][1]),
        )


def _count(answers: Sequence[Stored | SecretsClientError]) -> int:
    return sum(isinstance(answer, Stored) for answer in answers)


def _compare(client: SecretsClient, wanted: Sequence[Wanted]) -> None:
    try:
        differing = [*_differing(client, wanted)]
    except DaemonUnreachable as error:
        raise Stopped("all were stored, but not read back", error) from error
    if differing:
        raise Refused(f"stored, but not read back the same: {', '.join(differing)}")


def _differing(client: SecretsClient, wanted: Sequence[Wanted]) -> Iterator[str]:
    held = ask_each(client, [Get(one.name) for one in wanted], Found, "Comparing")
    for one, found in zip(wanted, held, strict=True):
        if not isinstance(found, Found) or found.value.reveal() != one.value.reveal():
            yield one.name
