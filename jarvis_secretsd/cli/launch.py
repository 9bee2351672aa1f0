"""The command that starts a program with secrets in its environment."""

from __future__ import annotations

from functools import partial
from signal import Signals
from typing import NoReturn

import click

from jarvis_secretsd.cli import choosing, running
from jarvis_secretsd.cli.arguments import parsed_by, seconds_option
from jarvis_secretsd.cli.faults import faults_told
from jarvis_secretsd.cli.handing import FILE_SUFFIX, as_files, as_variables
from jarvis_secretsd.cli.naming import Renaming, renaming_option
from jarvis_secretsd.cli.options import connect, shared_options
from jarvis_secretsd.cli.output import remark
from jarvis_secretsd.cli.selection import choose, selecting_options

RESTART = "restart"

_TELLS_NOTHING = frozenset({Signals.SIGKILL, Signals.SIGSTOP, Signals.SIGCHLD})


def _action(text: str | None) -> str | Signals | None:
    """`restart`, or the signal of this name, with or without its SIG. Raises ValueError."""
    if text is None or text == RESTART:
        return text
    found = Signals.__members__.get(f"SIG{text.upper().removeprefix('SIG')}")
    if found is None or found in _TELLS_NOTHING:
        raise ValueError(f"{text!r} is neither {RESTART} nor a signal like HUP")
    return found


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@selecting_options
@renaming_option("--as", text="The secret NAME is this variable, and not the one of its own name.")
@click.option(
    "--env-file",
    "paths",
    multiple=True,
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="The variables of FILE; a value jarvis://NAME is that secret.",
)
@click.option("--files", is_flag=True, help="Secrets as files: FOO_BAR_FILE is a path.")
@click.option("--watch", is_flag=True, help="Restart COMMAND when a secret of it changes.")
@click.option(
    "--on-change",
    "action",
    metavar="ACTION",
    callback=parsed_by(_action),
    help=f"Watch, and then: {RESTART}, or a signal like HUP.",
)
@seconds_option("--stop-timeout", "What a restart gives it to end by itself: 10.", default=10.0)
@click.option("--allow-dangerous", is_flag=True, help="Even variables like PATH and LD_PRELOAD.")
@shared_options
def run(
    command: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    renamed: tuple[Renaming, ...],
    paths: tuple[str, ...],
    files: bool,
    watch: bool,
    action: str | Signals | None,
    stop_timeout: float,
    allow_dangerous: bool,
) -> NoReturn:
    """Become COMMAND, with secrets as variables: the secret foo/bar is FOO_BAR.

    They are all that you may read; with --as or --env-file only what those name, and what --only
    adds (--only '*': all others too).

    \b
    A variable is what the first of these says:
    --as, the last --env-file, a secret by its name, the variable that is there already.

    With --watch it is a child of `run` instead, which is ended and started anew with the new values
    when one changes, and ends `run` when it ends.

    With --files no value is in the environment: the variable is the path of a file in memory, which
    only COMMAND and what it starts can open. A program that closes inherited descriptors loses it.
    """
    with faults_told():
        said = [line for path in paths for line in choosing.read_lines(path)]
        said += choosing.renamed(renamed)
        with connect() as client:
            by_name = only or skip or not (renamed or paths)
            listed = [entry.name for entry in client.list()] if by_name else []
            names = choose(listed, only, skip, what="secret that you may read")
            suffix = FILE_SUFFIX if files else ""
            wanted = choosing.choose(names, said, suffix, allow_dangerous=allow_dangerous)
            given = running.fetch(client, wanted)
        hand = as_files if files else as_variables
        handed = hand(given)
    if by_name and not wanted:
        remark("there is no secret that you may read; the command starts without any")
    for text in choosing.unreadable(wanted):
        remark(text)
    if not (watch or action):
        running.become(command, running.inherited() | handed.variables)
    from jarvis_secretsd.cli.noticing import Notices  # noqa: PLC0415  # others don't pay for it
    from jarvis_secretsd.cli.supervising import Plan, supervise  # noqa: PLC0415  # as above

    asking = connect(wait=0)
    signal = action if isinstance(action, Signals) else None
    renew = None if signal else partial(running.fetch, asking, wanted)
    plan = Plan(command, hand, signal, stop_timeout)
    supervise(plan, handed, Notices(asking, given, renew))


COMMANDS = (run,)
