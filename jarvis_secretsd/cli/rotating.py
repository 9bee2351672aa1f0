"""The commands about the versions of secrets: rotate, versions, rollback, revoke."""

from __future__ import annotations

from collections.abc import Iterator

import click
from msgspec.structs import replace

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import (
    GENERATED,
    kid_argument,
    kid_option,
    made_as_options,
    name_argument,
    names_argument,
)
from jarvis_secretsd.cli.exits import Exit
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import NOTHING, moment, remark, show, show_json, table
from jarvis_secretsd.cli.settling import current_kids, outcomes, waiting_options
from jarvis_secretsd.values import Kid, Kind, SecretName, State


@click.command()
@names_argument()
@click.option("--generate", type=GENERATED, metavar="KIND", help="Make this kind of value.")
@made_as_options("with --generate")
@waiting_options
@shared_options
def rotate(
    names: tuple[SecretName, ...],
    generate: str | None,
    length: int | None,
    alphabet: str | None,
    patience: float | None,
) -> int:
    """Give each of NAMES a new generated value; without one, all that are due.

    Where a hook has to change the far end first, the new value is pending until then.
    """
    if not generate and (length or alphabet):
        raise click.UsageError("--length and --alphabet say how to --generate KIND")
    made = m.Generate(Kind(generate), length, alphabet) if generate else None
    with connect() as client:
        before = {} if patience is None else current_kids(client)
        done = client.ask(m.Rotate(names, made), m.Rotated)
    if patience is not None:
        done = outcomes(done, before, patience)
    if settings().json:
        show_json(done)
    else:
        show(*(f"rotated {name}" for name in done.rotated))
        if not (done.rotated or done.pending or done.failed):
            show("nothing is due")
    return _tell_rest(done, waited=patience is not None)


def _tell_rest(done: m.Rotated, *, waited: bool) -> Exit:
    """Tell what isn't rotated; the status that it is worth."""
    for name in done.pending:
        if waited:
            remark(f"{name} is still pending; see `jarvis-secrets versions {name}`")
        elif not settings().json:
            show(f"{name} is pending: its hook is at work; see `jarvis-secrets versions {name}`")
    for failed, failure in done.failed.items():
        remark(f"{failed}: {failure.message}")
    return Exit.FAILURE if done.failed or (waited and done.pending) else Exit.OK


@click.command()
@name_argument()
@shared_options
def versions(name: SecretName) -> None:
    """Show the versions of NAME: where each is in its life, and who read it last.

    The newest is first. A version in grace is given to who asks for its kid, until its time is up.
    """
    with connect() as client:
        found = client.ask(m.Versions(name), m.VersionListing)
    if settings().json:
        show_json(found)
        return
    headings = ("KID", "VERSION", "STATE", "CREATED", "UNTIL", "LAST READ", "BY")
    table(headings, map(_row, reversed(found.versions)))
    remark(f"reads are known since {moment(found.reads_since)}")
    for text in _advice(found):
        remark(text)


def _row(version: m.VersionInfo) -> tuple[str, ...]:
    return (
        version.kid,
        str(version.version),
        version.state,
        moment(version.created_at),
        _until(version),
        moment(version.last_read) if version.last_read else NOTHING,
        version.last_reader or NOTHING,
    )


def _until(version: m.VersionInfo) -> str:
    if version.until is not None:
        return moment(version.until)
    return "never" if version.state is State.GRACE else NOTHING


def _advice(found: m.VersionListing) -> Iterator[str]:
    """What a person is to do where the daemon can't go on by itself."""
    kids = {version.state: version.kid for version in found.versions}
    if State.UNRESOLVED in kids:
        yield (
            "nobody can tell which of the two is live: see which one the far end takes, "
            f"{kids[State.CURRENT]} or {kids[State.UNRESOLVED]}, "
            f"and end the other with `jarvis-secrets revoke {found.name} KID`"
        )


@click.command()
@name_argument()
@kid_option(State.GRACE, text="That version; without it, the one that was current last.")
@waiting_options
@shared_options
def rollback(name: SecretName, kid: Kid | None, patience: float | None) -> int:
    """Make a version of NAME that is in grace current again.

    Where a hook has to change the far end first, its value becomes a new version, which is pending
    until then.
    """
    with connect() as client:
        before = {} if patience is None else current_kids(client)
        stored = client.ask(m.Rollback(name, kid), m.Stored)
    if not stored.pending:
        return _tell_rolled_back(stored)
    done = m.Rotated((), 0, (name,), {})
    if patience is not None:
        done = outcomes(done, before, patience)
    if done.rotated:
        return _tell_rolled_back(replace(stored, pending=False))
    if done.pending and settings().json:
        show_json(stored)
    return _tell_rest(done, waited=patience is not None)


def _tell_rolled_back(stored: m.Stored) -> Exit:
    if settings().json:
        show_json(stored)
    else:
        show(f"rolled back {stored.name}: version {stored.version}, kid {stored.kid}")
    return Exit.OK


@click.command()
@name_argument()
@kid_argument(State.GRACE, State.UNRESOLVED)
@shared_options
def revoke(name: SecretName, kid: Kid) -> None:
    """End the version KID of NAME at once; it is served no more.

    The current one can't be: `rotate` or `rollback` first. Of two of which nobody can tell which is
    live, either can be, and the other is current then.
    """
    with connect() as client:
        done = client.ask(m.Revoke(name, kid), m.Revoked)
    if settings().json:
        show_json(done)
    else:
        show(f"revoked {done.kid} of {name}; {done.current} is current")


COMMANDS = (rotate, versions, rollback, revoke)
