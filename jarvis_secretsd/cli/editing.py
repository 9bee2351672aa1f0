"""The command that changes a value in an editor, on a file that never touches a disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import name_argument
from jarvis_secretsd.cli.asking import unwritable
from jarvis_secretsd.cli.editor import private_directory, run_editor
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.intake import read_file, to_value
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import count_bytes, remark, show, show_json
from jarvis_secretsd.client import SecretNotFound, SecretsClient, SecretsClientError
from jarvis_secretsd.values import MAX_VALUE_BYTES, SecretName, SecretValue

AT_ONCE = 1.0
"""Seconds in which nobody has changed anything."""

_WAITING = (
    "an editor with a window of its own may have to be told to wait (`code --wait`, `gvim -f`)"
)


@click.command()
@name_argument()
@shared_options
def edit(name: SecretName) -> None:
    """Change the value of NAME in your editor ($VISUAL or $EDITOR); a new NAME starts empty.

    The file that the editor sees lies in memory, only you can read it, and it is removed. What
    somebody else stored meanwhile is never overwritten; your text is kept then.
    """
    with connect() as client, private_directory() as directory:
        held = _held(client, name)
        before = b"" if held is None else _text(held)
        _check_right(client, name)
        file = directory / name.rpartition("/")[2]
        file.touch(mode=0o600)
        file.write_bytes(before)
        took = run_editor(file)
        with _kept_if_refused(file):
            after, without = _read_back(file, before)
            if after == before:
                hint = f"; {_WAITING}" if took < AT_ONCE else ""
                remark(f"{name} is unchanged; nothing was stored{hint}")
                return
            stored = _store(client, name, after, held.kid if held else "")
    if settings().json:
        show_json(stored)
    else:
        length = f"{count_bytes(SecretValue(after))}{without}"
        show(f"stored {name}: {length}, version {stored.version}, kid {stored.kid}")


def _held(client: SecretsClient, name: SecretName) -> m.Found | None:
    try:
        return client.fetch(name)
    except SecretNotFound:
        return None


def _check_right(client: SecretsClient, name: SecretName) -> None:
    """Before somebody works on it for nothing. Raises Refused."""
    if unwritable(client, [name]):
        raise Refused(
            f"you have no right to write {name}; `jarvis-secrets whoami` shows your rights",
            Exit.DENIED,
        )


def _text(held: m.Found) -> bytes:
    data = held.value.reveal()
    if not held.value.is_text or b"\0" in data:
        raise Refused(
            f"{held.name} holds bytes, which an editor could spoil; use `get {held.name} > FILE` "
            f"and `put {held.name} --file FILE`"
        )
    return data


def _read_back(file: Path, before: bytes) -> tuple[bytes, str]:
    """What the editor left of the value, and a remark where it is less than the file."""
    after = read_file(str(file), 2 * MAX_VALUE_BYTES)
    if before and not after:
        raise Refused("the editor saved an empty file; nothing was stored (`put` can store one)")
    # Nearly every editor ends the last line, which is no part of a password.
    if after.endswith(b"\n") and not before.endswith(b"\n"):
        return after.removesuffix(b"\n"), " without the editor's final newline"
    return after, ""


def _store(client: SecretsClient, name: SecretName, data: bytes, expect_kid: str) -> m.Stored:
    value = to_value(data)
    if not value.is_text:
        raise Refused("the editor saved what is not text in UTF-8; nothing was stored")
    return client.put(name, value.reveal_text(), expect_kid=expect_kid)


@contextmanager
def _kept_if_refused(file: Path) -> Iterator[None]:
    """Nobody's work is lost: what wasn't stored stays in memory, and is told where."""
    try:
        yield
    except (SecretsClientError, Refused, KeyboardInterrupt):
        if file.is_file() and file.stat().st_size:
            kept = file.parent.with_suffix(".kept")
            file.parent.rename(kept)
            remark(f"your text is kept in {kept / file.name}; remove it when you are done")
        raise


COMMANDS = (edit,)
