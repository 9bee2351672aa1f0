"""The commands that explain: help topics, and the completion of shells."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from shutil import get_terminal_size
from typing import cast

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from jarvis_secretsd.cli.exits import Exit, Refused

COMPLETE_VARIABLE = "_JARVIS_SECRETS_COMPLETE"
"""What click's scripts set; its name follows from the program's."""

SHELLS = {shell.name: shell for shell in (BashComplete, ZshComplete, FishComplete)}

TOPICS = {
    "getting-started": "the first five minutes",
    "dotenv": "moving in from .env files, and out again",
    "run": "programs that read variables",
    "clients": "how an application asks",
    "denied": "what to do when the answer is no",
    "environment": "every variable that is read",
    "exit-status": "what scripts can rely on",
    "completion": "names and options at the Tab key",
}
"""What `topics/` holds, in the order in which it is listed."""

MAX_WIDTH = 78
"""Characters of a line of prose: longer ones are hard to read, however wide the window."""


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
        raise Refused(
            f"there is neither a topic nor a command {subject!r}; `jarvis-secrets help` lists the "
            "topics, `jarvis-secrets --help` the commands",
            Exit.USAGE,
        )
    _page("\n\n".join(explained))


def _topic(name: str) -> Iterator[str]:
    if name in TOPICS:
        file = files("jarvis_secretsd.cli").joinpath("topics", f"{name}.txt")
        width = min(MAX_WIDTH, get_terminal_size().columns)
        yield laid_out(file.read_text("utf-8"), width)


def _usage(root: click.Context, name: str) -> Iterator[str]:
    command = _group(root).get_command(root, name)
    if command is not None:
        yield command.get_help(click.Context(command, root, command.name))


def laid_out(text: str, width: int) -> str:
    """A topic on lines of this width; what is indented is to be typed, and stays as it is."""
    return "\n\n".join(
        paragraph.rstrip("\n")
        if paragraph.startswith(" ")
        else textwrap.fill(paragraph, width, break_long_words=False, break_on_hyphens=False)
        for paragraph in text.split("\n\n")
    )


def _group(context: click.Context) -> click.Group:
    return cast(click.Group, context.find_root().command)


def _contents() -> str:
    width = max(map(len, TOPICS))
    topics = "\n".join(f"  {topic:{width}}  {what}" for topic, what in TOPICS.items())
    return (
        "jarvis-secrets help TOPIC explains\n\n"
        f"{topics}\n\n"
        "jarvis-secrets help COMMAND explains a command,\n"
        "jarvis-secrets --help lists them."
    )


def _page(text: str) -> None:
    if sys.stdout.isatty() and text.count("\n") + 2 > get_terminal_size().lines:
        click.echo_via_pager(f"{text}\n")
    else:
        click.echo(text)


@click.command()
@click.argument("shell", type=click.Choice([*SHELLS]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, and names of secrets.

    `jarvis-secrets help completion` says where it goes.
    """
    script = SHELLS[shell](_group(context), {}, "jarvis-secrets", COMPLETE_VARIABLE)
    click.echo(script.source())


COMMANDS = (show_help, completion)
