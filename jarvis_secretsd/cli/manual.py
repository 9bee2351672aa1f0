"""The commands that explain: help topics, and the completion of shells."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import cast

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.fitting import broken, window
from jarvis_secretsd.cli.guessing import guess
from jarvis_secretsd.cli.layout import Formatter, HelpContext, help_width

COMPLETE_VARIABLE = "_JARVIS_SECRETS_COMPLETE"
"""What click's scripts set; its name follows from the program's."""

SHELLS = {shell.name: shell for shell in (BashComplete, ZshComplete, FishComplete)}

TOPICS = {
    "getting-started": "the first five minutes",
    "dotenv": "moving in from .env files, and out again",
    "run": "programs that read variables",
    "files": "programs and containers that read files",
    "clients": "how an application asks",
    "rotation": "new values, and who still uses the old one",
    "denied": "what to do when the answer is no",
    "environment": "every variable that is read",
    "exit-status": "what scripts can rely on",
    "completion": "names and options at the Tab key",
}
"""What `topics/` holds, in the order in which it is listed."""

_ENTRY = re.compile(r"  (\S.*?)  +(\S.*)")
"""A line of a topic with a term, and beside it what that is."""


def _subjects(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    commands = _group(context).list_commands(context)
    return [subject for subject in (*TOPICS, *commands) if subject.startswith(begun)]


@click.command("help")
@click.argument("subject", metavar="[TOPIC]", required=False, shell_complete=_subjects)
@click.pass_context
def show_help(context: click.Context, subject: str | None) -> None:
    """Explain a TOPIC or a command; without one, list the topics."""
    if subject is None:
        click.echo(_contents())
        return
    explained = [*_topic(subject), *_usage(context.find_root(), subject)]
    if not explained:
        hint = guess(subject, (*TOPICS, *_group(context).list_commands(context))) or (
            "; `jarvis-secrets help` lists the topics, `jarvis-secrets --help` the commands"
        )
        raise Refused(f"there is neither a topic nor a command {subject!r}{hint}", Exit.USAGE)
    _page("\n\n".join(explained))


def _topic(name: str) -> Iterator[str]:
    if name in TOPICS:
        file = files("jarvis_secretsd.cli").joinpath("topics", f"{name}.txt")
        yield laid_out(file.read_text("utf-8"), help_width())


def _usage(root: click.Context, name: str) -> Iterator[str]:
    command = _group(root).get_command(root, name)
    if command is not None:
        yield command.get_help(HelpContext(command, root, command.name))


def laid_out(text: str, width: int) -> str:
    """A topic on lines of this width; what is indented and no list is to be typed, and stays."""
    return "\n\n".join(_paragraph(lines.strip("\n"), width) for lines in text.split("\n\n"))


def _paragraph(text: str, width: int) -> str:
    if not text.startswith(" "):
        return broken(text, width)
    entries = [_ENTRY.fullmatch(line) for line in text.split("\n")]
    if not all(entries):
        return text
    return _listed([(found[1], found[2]) for found in entries if found], width)


def _listed(entries: Iterable[tuple[str, str]], width: int) -> str:
    formatter = Formatter(width)
    with formatter.indentation():
        formatter.write_dl(entries)
    return formatter.getvalue().rstrip("\n")


def _group(context: click.Context) -> click.Group:
    return cast(click.Group, context.find_root().command)


def _contents() -> str:
    width = help_width()
    return (
        "jarvis-secrets help TOPIC explains\n\n"
        f"{_listed(TOPICS.items(), width)}\n\n"
        f"{broken('jarvis-secrets help COMMAND explains a command,', width)}\n"
        "jarvis-secrets --help lists them."
    )


def _page(text: str) -> None:
    if sys.stdout.isatty() and text.count("\n") + 2 > window(sys.stdout).lines:
        click.echo_via_pager(f"{text}\n")
    else:
        click.echo(text)


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice([*SHELLS]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, and names of secrets.

    SHELL is bash, zsh or fish. `jarvis-secrets help completion` says where it goes.
    """
    script = SHELLS[shell](_group(context), {}, "jarvis-secrets", COMPLETE_VARIABLE)
    click.echo(script.source())


COMMANDS = (show_help, completion)
