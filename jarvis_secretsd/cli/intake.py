"""Taking in a value: from a prompt, a pipe or a file, never from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

import click

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.values import MAX_VALUE_BYTES, SecretValue


def take_value(name: str, path: str | None, *, keep_newline: bool) -> SecretValue:
    """The value for `name`; `path` is a file, taken as it is.

    From a pipe, one final newline only ended the line and is dropped, unless `keep_newline`.
    """
    if path is not None:
        return _value(read_file(path, MAX_VALUE_BYTES))
    if sys.stdin.isatty():
        return _value(_prompted(name))
    data = _bounded(sys.stdin.buffer, MAX_VALUE_BYTES + 1, "the value")
    return _value(data if keep_newline else data.removesuffix(b"\n"))


def read_file(path: str, limit: int) -> bytes:
    """The bytes of a file, `-` for stdin. Raises Refused when it can't be read or is too large."""
    if path == "-":
        return _bounded(sys.stdin.buffer, limit, "stdin")
    try:
        with Path(path).open("rb") as file:
            return _bounded(file, limit, path)
    except OSError as error:
        raise Refused(f"can't read {path}: {error.strerror}") from None


def _bounded(file: IO[bytes], limit: int, what: str) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise Refused(f"{what} is larger than {limit:,} bytes")
    return data


def _prompted(name: str) -> bytes:
    text: str = click.prompt(
        f"Value of {name}",
        hide_input=True,
        confirmation_prompt=True,
        default="",
        show_default=False,
        err=True,
    )
    return text.encode("utf-8", "surrogateescape")


def _value(data: bytes) -> SecretValue:
    """Text where it is UTF-8 without a NUL, as grep tells them apart; else bytes."""
    try:
        is_text = "\0" not in data.decode()
    except UnicodeDecodeError:
        is_text = False
    try:
        return SecretValue(data, is_text=is_text)
    except ValueError as error:
        raise Refused(str(error)) from None
