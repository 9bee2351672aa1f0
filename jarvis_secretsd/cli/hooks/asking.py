"""A hook's side of the protocol: what it was asked, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import IntEnum

import click
import msgspec

from jarvis_secretsd.cli.output import printable
from jarvis_secretsd.daemon.hookprotocol import UNCHANGED, HookAnswer, HookInput, Reason

MAX_INPUT_BYTES = 4 * 1024 * 1024
"""Two values of 256 KiB, each byte of which JSON may write as six."""


class Status(IntEnum):
    """The exit status of a hook; the daemon takes any other for UNKNOWN."""

    DONE = 0
    UNCHANGED = UNCHANGED
    UNKNOWN = 75


class Failed(Exception):
    """It came to nothing; `status` says whether the far end may have the new value."""

    def __init__(self, reason: Reason, text: str, status: Status = Status.UNCHANGED) -> None:
        super().__init__(text)
        self.reason = reason
        self.status = status


def answer(act: Callable[[HookInput], HookAnswer]) -> Status:
    """Do what standard input asks for, and print the answer. People read why not on stderr."""
    try:
        said, status = act(_read()), Status.DONE
    except Failed as error:
        click.echo(printable(str(error)), err=True)
        said, status = HookAnswer(reason=error.reason), error.status
    click.echo(msgspec.json.encode(said))
    return status


def run(command: click.Command) -> None:
    """The program: where its own command line is wrong, nothing was changed."""
    try:
        status = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        click.echo(msgspec.json.encode(HookAnswer(reason=Reason.MISCONFIGURED)))
        status = Status.UNCHANGED
    sys.exit(status)


def _read() -> HookInput:
    try:
        return msgspec.json.decode(sys.stdin.buffer.read(MAX_INPUT_BYTES), type=HookInput)
    except ValueError:
        raise Failed(
            Reason.MISCONFIGURED, "this is a hook: it takes what jarvis-secretsd asks, on stdin"
        ) from None
