"""The command that keeps a directory filled with secrets, for programs that read files."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from jarvis_secretsd.cli.arguments import parsed_by
from jarvis_secretsd.cli.completing import renamed_secrets, secret_names
from jarvis_secretsd.cli.faults import faults_told
from jarvis_secretsd.cli.folder import Look, opened_folder
from jarvis_secretsd.cli.labelling import Labels, Selection, parse_labels
from jarvis_secretsd.cli.noticing import counted_off
from jarvis_secretsd.cli.options import connect, shared_options
from jarvis_secretsd.cli.output import counted, remark
from jarvis_secretsd.cli.selection import selecting_options
from jarvis_secretsd.cli.upkeep import Upkeep
from jarvis_secretsd.daemon.accounts import account_named, group_named
from jarvis_secretsd.daemon.systemd import Notifier

MAX_ID = 2**32 - 2
"""The largest uid and gid; the next one means "leave it as it is" (chown(2))."""


def _parse_owner(text: str) -> tuple[int, int]:
    """`USER`, `USER:GROUP` or `:GROUP`, as chown(1) takes them, by name or number; -1: as it is."""
    user, _, group = text.partition(":")
    return _uid(user) if user else -1, _gid(group) if group else -1


def _uid(text: str) -> int:
    found = account_named(text)
    if found is None or found.uid > MAX_ID:
        raise ValueError(f"no user is called {text!r} on this host; a number will do")
    return found.uid


def _gid(text: str) -> int:
    found = group_named(text)
    if found is None or found > MAX_ID:
        raise ValueError(f"no group is called {text!r} on this host; a number will do")
    return found


def _parse_mode(text: str) -> int:
    """What others than the owner may do is to read, at most."""
    mode = int(text, 8) if re.fullmatch(r"0?[0-7]{3}", text) else 0
    if not mode & 0o400 or mode & 0o133:
        raise ValueError(f"{text!r} is not a mode like 0400, 0440 or 0600: read, and never execute")
    return mode


def _complete(context: click.Context, argument: click.Parameter, begun: str) -> list[str]:
    return (renamed_secrets if "=" in begun else secret_names)(context, argument, begun)


@click.command()
@click.argument(
    "labels",
    nargs=-1,
    metavar="[NAME | FILE=NAME]...",
    callback=parsed_by(parse_labels),
    shell_complete=_complete,
)
@click.option(
    "--dir", "path", metavar="DIR", type=click.Path(), required=True, help="The directory."
)
@selecting_options
@click.option(
    "--owner",
    metavar="USER[:GROUP]",
    callback=parsed_by(lambda text: _parse_owner(text or "")),
    help="Who gets the files: 999, postgres, 999:999. Takes root.",
)
@click.option(
    "--mode",
    metavar="MODE",
    default="0400",
    callback=parsed_by(_parse_mode),
    help="What they may be read by: 0400, 0440 with a group.",
)
@click.option("--once", is_flag=True, help="Write them and end.")
@click.option("--allow-disk", is_flag=True, help="Even a DIR that is not in memory.")
@shared_options
def files(
    labels: Labels,
    path: str,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    owner: tuple[int, int],
    mode: int,
    once: bool,
    allow_disk: bool,
) -> None:
    """Keep DIR filled with secrets, a file each: db/main is the file db_main.

    They are all that you may read; with names only those, and what --only adds. A file holds the
    value byte for byte. When the secret changes a new file takes its place at once, and when it is
    deleted, or you may not read it any more, the file goes too. While the daemon is away, and when
    this ends, all files stay.

    DIR is in memory (below /run) and for this alone: every other file in it is removed. It is made
    if it isn't there.
    """
    look = Look(*owner, mode)
    notifier = Notifier.from_environ(os.environ, os.getpid())

    def tell(text: str) -> None:
        notifier.status(text)
        remark(text)

    def began(names: Sequence[str]) -> None:
        said = f"{path} holds {counted(len(names), 'file')}" + (
            f": {counted_off(sorted(names))}" if names else ""
        )
        notifier.ready(said)
        remark(said)

    with faults_told(), opened_folder(path, look, allow_disk=allow_disk) as folder:
        selection = Selection(labels, only, skip)
        if once:
            Upkeep(connect(), folder, selection, tell, began).fill()
        else:
            signal.signal(signal.SIGTERM, _leave)
            Upkeep(connect(wait=0), folder, selection, tell, began).go_on()


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """A signal by which it may end well, also where it is a container's first process."""
    sys.exit()


COMMANDS = (files,)
