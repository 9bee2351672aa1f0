"""`jarvis-secrets import`: from what a file says to what the daemon holds, and back to compare."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from jarvis_secretsd.cli.dotenv import Assignment
from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.client import SecretNotFound, SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Can, Found, Get, Identity, Put, Result, Stored, Verdict, WhoAmI
from jarvis_secretsd.values import ClientId, Kid, Permission


class Change(StrEnum):
    """What an import does to one name."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Step(Struct, frozen=True):
    """One assignment, and the version that its value replaces, if there is one."""

    assignment: Assignment
    change: Change
    replaces: Kid | None = None


class Imported(Result, frozen=True):
    """The names that an import created, changed, and left as they were."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


def plan(client: SecretsClient, assignments: Sequence[Assignment]) -> tuple[Step, ...]:
    """What is to be done, by what is there. Nothing is written.

    Raises SecretsClientError with the name as a note where the client may not read, and Refused
    where it may not write: a file is imported whole or not at all.
    """
    current = client.ask_all([Get(found.name) for found in assignments], Found)
    steps = tuple(map(_step, assignments, current))
    _check_may_write(client, [step for step in steps if step.change is not Change.UNCHANGED])
    return steps


def carry_out(client: SecretsClient, steps: Sequence[Step]) -> Imported:
    """Store what differs, then read every value back.

    Each put expects the version that the plan saw. Raises SecretsClientError or Refused, which say
    how far it came; to repeat an import is safe, since what is stored already stays as it is.
    """
    due = [step for step in steps if step.change is not Change.UNCHANGED]
    _store(client, due)
    _compare(client, [step.assignment for step in steps])
    return report(steps)


def report(steps: Sequence[Step]) -> Imported:
    """The steps, sorted by what they do."""
    return Imported(*(_names(steps, change) for change in Change))


def _names(steps: Sequence[Step], change: Change) -> tuple[str, ...]:
    return tuple(str(step.assignment.name) for step in steps if step.change is change)


def _step(wanted: Assignment, current: Found | SecretsClientError) -> Step:
    match current:
        case SecretNotFound():
            return Step(wanted, Change.CREATED)
        case SecretsClientError():
            current.add_note(f"{wanted.name} can't be read to compare it")
            raise current
        case Found() if current.value.reveal() == wanted.value.reveal():
            return Step(wanted, Change.UNCHANGED)
        case Found():
            return Step(wanted, Change.CHANGED, replaces=current.kid)


def _check_may_write(client: SecretsClient, steps: Sequence[Step]) -> None:
    """Ask before the first write, so that a missing right leaves nothing half done."""
    me = client.ask(WhoAmI(), Identity).client
    if me is None:
        return
    names = [step.assignment.name for step in steps]
    asked = [Can(ClientId(me), Permission.WRITE, name) for name in names]
    verdicts = client.ask_all(asked, Verdict)
    refused = [
        name
        for name, verdict in zip(names, verdicts, strict=True)
        if isinstance(verdict, Verdict) and not verdict.allowed
    ]
    if refused:
        raise Refused(f"nothing was imported: {me} has no right to write {', '.join(refused)}")


def _store(client: SecretsClient, steps: Sequence[Step]) -> None:
    puts = [
        Put(
            step.assignment.name,
            step.assignment.value.reveal_text(),
            expect_kid=step.replaces or "",
        )
        for step in steps
    ]
    answers = client.ask_all(puts, Stored)
    failed = [answer for answer in answers if isinstance(answer, SecretsClientError)]
    for step, answer in zip(steps, answers, strict=True):
        if isinstance(answer, SecretsClientError):
            stored = len(answers) - len(failed)
            answer.add_note(f"{stored} of {len(answers)} were stored; {step.assignment.name}")
            raise answer


def _compare(client: SecretsClient, assignments: Sequence[Assignment]) -> None:
    held = client.ask_all([Get(found.name) for found in assignments], Found)
    differing = [
        str(wanted.name)
        for wanted, found in zip(assignments, held, strict=True)
        if not isinstance(found, Found) or found.value.reveal() != wanted.value.reveal()
    ]
    if differing:
        raise Refused(f"stored, but not read back the same: {', '.join(differing)}")
