"""Waiting until a hook has done its work, and telling what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import seconds_option
from jarvis_secretsd.cli.options import connect
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.values import Kid, State

F = TypeVar("F", bound=Callable[..., Any])

LIMIT = 300.0
"""Seconds to wait by default: a hook that takes longer has a timeout of its own that says so."""

RESTART = 30.0
"""Seconds that a daemon may take to come back: it then asks the hook what became of its work."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks; each doubles, since every look is an entry in the audit log."""

Kids = Mapping[str, Kid]
"""The current version of each secret that may be read."""


def waiting_options(command: F) -> F:
    """`--wait` and `--timeout`: the command gets the seconds to wait as `patience`, or None."""

    @wraps(command)
    def merged(*, wait: bool, timeout: float | None, **others: Any) -> Any:
        if timeout is not None and not wait:
            raise click.UsageError("--timeout says how long to --wait")
        limit = LIMIT if timeout is None else timeout
        return command(patience=limit if wait else None, **others)

    for option in (
        seconds_option("--timeout", f"How long to --wait: {LIMIT:g}."),
        click.option("--wait", is_flag=True, help="Until nothing is pending."),
    ):
        merged = option(merged)
    return merged  # type: ignore[return-value]


def current_kids(client: SecretsClient) -> Kids:
    """What is current now, to be compared with afterwards."""
    return {entry.name: entry.kid for entry in client.list()}


def outcomes(done: m.Rotated, before: Kids, patience: float) -> m.Rotated:
    """The result once what was pending is settled, or after `patience` seconds.

    What was confirmed is rotated; what was dropped, or can't be told, has failed.
    """
    deadline = time.monotonic() + patience
    pause = FIRST_PAUSE
    with connect(wait=RESTART) as client:
        done = _looked(client, done, before)
        while done.pending and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
            done = _looked(client, done, before)
    return done


def _looked(client: SecretsClient, done: m.Rotated, before: Kids) -> m.Rotated:
    """The result as it is now."""
    rotated, pending, failed = [*done.rotated], [], {**done.failed}
    asked = [m.Versions(name) for name in done.pending]
    for name, found in zip(done.pending, client.ask_all(asked, m.VersionListing), strict=True):
        if isinstance(found, SecretsClientError):
            failed[name] = m.FailureInfo(found.code, f"can't wait for it: {found.message}")
        elif (outcome := _outcome(found, before.get(name))) is State.PENDING:
            pending.append(name)
        elif outcome is State.CURRENT:
            rotated.append(name)
        else:
            failed[name] = _failure(found, outcome)
    return m.Rotated(tuple(rotated), len(rotated), tuple(pending), failed)


def _outcome(found: m.VersionListing, before: Kid | None) -> State:
    """The state of the new version; one that isn't there any more has expired."""
    states = {version.state: version.kid for version in found.versions}
    for state in (State.PENDING, State.UNRESOLVED):
        if state in states:
            return state
    return State.EXPIRED if states.get(State.CURRENT) == before else State.CURRENT


def _failure(found: m.VersionListing, outcome: State) -> m.FailureInfo:
    """Why the new version isn't current, and which one is live."""
    if outcome is State.UNRESOLVED:
        return m.FailureInfo(
            "unresolved",
            "nobody can tell whether the new value or the one before is live, and both are "
            f"readable; `jarvis-secrets versions {found.name}` says what to do",
        )
    live = next(version for version in found.versions if version.state is State.CURRENT)
    return m.FailureInfo(
        "dropped",
        f"its hook failed, so version {live.version} is live as before and the new value is "
        "dropped; the daemon's log says why",
    )
