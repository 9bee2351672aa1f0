"""The command that starts a program with secrets in its environment."""

from __future__ import annotations

import click

from jarvis_secretsd.cli import choosing, running
from jarvis_secretsd.cli.faults import faults_told
from jarvis_secretsd.cli.naming import Renaming, renaming_option
from jarvis_secretsd.cli.options import connect, shared_options
from jarvis_secretsd.cli.output import remark
from jarvis_secretsd.cli.selection import choose, selecting_options


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
@click.option("--allow-dangerous", is_flag=True, help="Even variables like PATH and LD_PRELOAD.")
@shared_options
def run(
    command: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    renamed: tuple[Renaming, ...],
    paths: tuple[str, ...],
    allow_dangerous: bool,
) -> None:
    """Become COMMAND, with secrets as variables: the secret foo/bar is FOO_BAR.

    They are all that you may read; with --as or --env-file only what those name, and what --only
    adds (--only '*': all others too).

    \b
    A variable is what the first of these says:
    --as, the last --env-file, a secret by its name, the variable that is there already.
    """
    with faults_told():
        said = [line for path in paths for line in choosing.read_lines(path)]
        said += choosing.renamed(renamed)
        with connect() as client:
            by_name = only or skip or not (renamed or paths)
            listed = [entry.name for entry in client.list()] if by_name else []
            names = choose(listed, only, skip, what="secret that you may read")
            wanted = choosing.choose(names, said, allow_dangerous=allow_dangerous)
            given = running.fetch(client, wanted)
    if by_name and not wanted:
        remark("there is no secret that you may read; the command starts without any")
    for text in choosing.unreadable(wanted):
        remark(text)
    running.become(command, running.inherited() | given)


COMMANDS = (run,)
