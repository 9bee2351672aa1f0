"""The commands about single secrets: get, put, list, delete, restore."""

from __future__ import annotations

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import (
    GENERATED,
    KIND,
    kid_option,
    made_as_options,
    name_argument,
)
from jarvis_secretsd.cli.completing import secret_names
from jarvis_secretsd.cli.intake import take_value
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import (
    count_bytes,
    day,
    moment,
    release,
    remark,
    show,
    show_json,
    table,
)
from jarvis_secretsd.cli.selection import choose
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue, State

SERVED = (State.CURRENT, State.GRACE, State.UNRESOLVED)
"""The states in which a version is given to who asks for its kid."""


@click.command()
@name_argument()
@kid_option(*SERVED, text="That version, while its grace lasts.")
@shared_options
def get(name: SecretName, kid: Kid | None) -> None:
    """Write the value of NAME to stdout, byte for byte.

    A terminal gets control characters as escapes.
    """
    with connect() as client:
        found = client.fetch(name, kid)
    if settings().json:
        show_json(found)
    else:
        release(found.value)


@click.command()
@name_argument()
@click.argument("surplus", nargs=-1, metavar="")
@click.option(
    "--file",
    "path",
    metavar="PATH",
    type=click.Path(),
    help="Take the file as it is (- for stdin).",
)
@click.option("--generate", type=GENERATED, metavar="KIND", help="Let the daemon make it.")
@made_as_options("now and at each rotation")
@click.option("--keep-newline", is_flag=True, help="Keep the final newline of stdin.")
@click.option("--kind", type=KIND, metavar="KIND", help="What it is.")
@click.option("--rotation-days", type=int, metavar="DAYS", help="When it is due for rotation.")
@click.option("--grace-days", type=int, metavar="DAYS", help="How long its predecessor serves.")
@click.option("--auto-rotate/--no-auto-rotate", default=None, help="Whether the clock rotates it.")
@click.option("--expect-kid", metavar="KID", help='Only over this version; "": only if new.')
@shared_options
def put(
    name: SecretName,
    surplus: tuple[str, ...],
    path: str | None,
    generate: str | None,
    length: int | None,
    alphabet: str | None,
    keep_newline: bool,
    kind: str | None,
    rotation_days: int | None,
    grace_days: int | None,
    auto_rotate: bool | None,
    expect_kid: str | None,
) -> None:
    """Store a value under NAME: from a prompt, from stdin, from a file, or generated.

    Of stdin, one final newline is dropped. A value is never an argument: every user of the host
    sees those, and the shell's history keeps them.
    """
    if surplus:
        raise click.UsageError("a value is never an argument; pipe it in, or use --file")
    if generate and (path or kind or keep_newline):
        raise click.UsageError("--generate KIND makes the value; it goes with no other source")
    value = None if generate else take_value(name, path, keep_newline=keep_newline)
    with connect() as client:
        stored = client.put(
            name,
            _sendable(value),
            kind=_kind(generate or kind),
            rotation_days=rotation_days,
            grace_days=grace_days,
            auto_rotate=auto_rotate,
            expect_kid=expect_kid,
            length=length,
            alphabet=alphabet,
        )
    _tell_stored(stored, value)


def _kind(text: str | None) -> Kind | None:
    return None if text is None else Kind(text)


def _sendable(value: SecretValue | None) -> str | bytes | None:
    if value is None:
        return None
    return value.reveal_text() if value.is_text else value.reveal()


def _tell_stored(stored: m.Stored, value: SecretValue | None) -> None:
    if value is not None and not len(value):
        remark(f"the value of {stored.name} is empty")
    length = "generated" if value is None else count_bytes(value)
    if value is not None and value.reveal().endswith(b"\n"):
        length += " with its final newline"
    if settings().json:
        show_json(stored)
    else:
        show(f"stored {stored.name}: {length}, version {stored.version}, kid {stored.kid}")


@click.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=secret_names)
@shared_options
def list_secrets(patterns: tuple[str, ...]) -> None:
    """List the secrets that you may read, never their values.

    With PATTERNs those that match one of them; * is any run of characters: 'db/*'.
    """
    with connect() as client:
        listed = client.list()
    if patterns:
        names = choose(
            (entry.name for entry in listed), patterns, (), what="secret that you may read"
        )
        listed = tuple(entry for entry in listed if entry.name in names)
    if settings().json:
        show_json(m.Listing(listed))
    elif not listed:
        remark("there is no secret that you may read; `jarvis-secrets put NAME` stores one")
    else:
        table(("NAME", "KIND", "VERSION", "CREATED", "DUE", "STATE"), map(_row, listed))
        for entry in listed:
            if entry.state is State.UNRESOLVED:
                remark(f"{entry.name} needs you; see `jarvis-secrets versions {entry.name}`")


def _row(entry: m.Listed) -> tuple[str, ...]:
    return (
        entry.name,
        entry.kind,
        str(entry.version),
        day(entry.created_at),
        day(entry.expires_at),
        _standing(entry),
    )


def _standing(entry: m.Listed) -> str:
    """What is under way goes before that it is time for it; then the versions in grace."""
    is_at_rest = entry.state is State.CURRENT
    standing = "overdue" if entry.is_expired and is_at_rest else str(entry.state)
    return f"{standing}, {entry.in_grace} in grace" if entry.in_grace else standing


@click.command()
@name_argument()
@shared_options
def delete(name: SecretName) -> None:
    """Take NAME out of use; until its grace ends, `restore` brings it back."""
    with connect() as client:
        gone = client.ask(m.Delete(name), m.Deleted)
    if settings().json:
        show_json(gone)
    else:
        until = moment(gone.restorable_until)
        show(f"deleted {name}; until {until} `jarvis-secrets restore {name}` brings it back")


@click.command()
@name_argument()
@shared_options
def restore(name: SecretName) -> None:
    """Bring the deleted NAME back."""
    with connect() as client:
        stored = client.ask(m.Restore(name), m.Stored)
    if settings().json:
        show_json(stored)
    else:
        show(f"restored {name}: version {stored.version}, kid {stored.kid}")


COMMANDS = (get, put, list_secrets, delete, restore)
