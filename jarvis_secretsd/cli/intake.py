"""Taking in a value: from a prompt, a pipe or a file, never from the command line."""

from __future__ import annotations

import os
import sys
from typing import IO

import click

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.values import MAX_VALUE_BYTES, SecretValue


def take_value(name: str, path: str | None, *, keep_newline: bool) -> SecretValue:
    """The value for `name`; `path` is a file, taken as it is.

    From a pipe, one final newline only ended the line and is dropped, unless `keep_newline`.
    """
    if path is not None:
        return to_value(read_file(path, MAX_VALUE_BYTES))
    if sys.stdin.isatty():
        return to_value(_prompted(name))
    data = _from_stdin(MAX_VALUE_BYTES, "the value", spare=1)
    return to_value(data if keep_newline else data.removesuffix(b"\n"))


def read_file(path: str, limit: int) -> bytes:
    """The bytes of a file, `-` for stdin. Raises Refused when it can't be read or is too large."""
    if path == "-":
        return _from_stdin(limit, "stdin")
    try:
        with open(path, "rb") as file:
            return _bounded(file, limit, path)
    except OSError as error:
        raise Refused(f"can't read {path or repr(path)}: {error.strerror}") from None


def _from_stdin(limit: int, what: str, *, spare: int = 0) -> bytes:
    os.set_blocking(0, True)  # or what comes a moment later would be missing without a word
    try:
        return _bounded(sys.stdin.buffer, limit, what, spare=spare)
    except OSError as error:
        raise Refused(f"can't read stdin: {error.strerror}") from None


def _bounded(file: IO[bytes], limit: int, what: str, *, spare: int = 0) -> bytes:
    """All that the file holds; `spare` bytes over the limit are the caller's to look at."""
    data = file.read(limit + spare + 1)
    if len(data) > limit + spare:
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


def to_value(data: bytes) -> SecretValue:
    """Text where it is UTF-8 without a NUL, as grep tells them apart; else bytes."""
    try:
        is_text = "\0" not in data.decode()
    except UnicodeDecodeError:
        is_text = False
    try:
        return SecretValue(data, is_text=is_text)
    except ValueError as error:
        raise Refused(str(error)) from None
