"""The commands of `jarvis-secrets` by name; a module is imported with the first of its commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from jarvis_secretsd import __version__
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.layout import in_window
from jarvis_secretsd.cli.options import shared_options
from jarvis_secretsd.cli.usage import Group, complaint

PROGRAM = "jarvis-secrets"

EPILOG = """\
Short names: ls is list, rm is delete, set is put.

`jarvis-secrets help` lists what can be read about: .env files, `run`, `files`, applications,
rotation, denials, the environment, exit statuses, completion."""


def _secrets() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import secrets  # noqa: PLC0415

    return secrets.COMMANDS


def _rotating() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import rotating  # noqa: PLC0415

    return rotating.COMMANDS


def _editing() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import editing  # noqa: PLC0415

    return editing.COMMANDS


def _transfer() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import transfer  # noqa: PLC0415

    return transfer.COMMANDS


def _inventory() -> Sequence[click.Command]:
    from jarvis_secretsd.cli.inventory import command  # noqa: PLC0415

    return command.COMMANDS


def _launch() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import launch  # noqa: PLC0415

    return launch.COMMANDS


def _filing() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import filing  # noqa: PLC0415

    return filing.COMMANDS


def _standing() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import standing  # noqa: PLC0415

    return standing.COMMANDS


def _reviewing() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import reviewing  # noqa: PLC0415

    return reviewing.COMMANDS


def _tokens() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import tokens  # noqa: PLC0415

    return tokens.COMMANDS


def _locking() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import locking  # noqa: PLC0415

    return locking.COMMANDS


def _manual() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import manual  # noqa: PLC0415

    return manual.COMMANDS


class Entry(NamedTuple):
    """Where a command is, and what it does in a line of a narrow window.

    That line has no comma: fish shows nothing after one.
    """

    room: Callable[[], Sequence[click.Command]]
    what: str


ENTRIES = {
    "get": Entry(_secrets, "write a secret's value to stdout"),
    "put": Entry(_secrets, "store a value or have one generated"),
    "edit": Entry(_editing, "change a value in your editor"),
    "list": Entry(_secrets, "list the secrets that you may read"),
    "rotate": Entry(_rotating, "give secrets new generated values"),
    "versions": Entry(_rotating, "show a secret's versions and who reads them"),
    "rollback": Entry(_rotating, "make an earlier version current again"),
    "revoke": Entry(_rotating, "end a version at once"),
    "delete": Entry(_secrets, "take a secret out of use"),
    "restore": Entry(_secrets, "bring a deleted secret back"),
    "inventory": Entry(_inventory, "find the secrets in a project's files"),
    "import": Entry(_transfer, "store the variables of .env files"),
    "export": Entry(_transfer, "write secrets as a .env file"),
    "run": Entry(_launch, "start a program with secrets as variables"),
    "files": Entry(_filing, "keep a directory filled with secrets"),
    "status": Entry(_standing, "how the daemon is and who you are to it"),
    "whoami": Entry(_standing, "who you are and what you may"),
    "can": Entry(_standing, "whether you may do something and why"),
    "audit": Entry(_reviewing, "read the audit log"),
    "denied": Entry(_reviewing, "the latest refusals and what would allow them"),
    "token": Entry(_tokens, "see to the tokens of clients"),
    "lock": Entry(_locking, "release nothing until unlock"),
    "unlock": Entry(_locking, "release again what the policy allows"),
    "health": Entry(_standing, "whether the daemon is well"),
    "completion": Entry(_manual, "what makes your shell complete names"),
    "help": Entry(_manual, "explain a topic or a command"),
}
"""Every command, in the order in which the help lists them."""

SHORT_NAMES = {"ls": "list", "rm": "delete", "set": "put"}


class Commands(Group):
    """Finds commands by `ENTRIES` and by their short names."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The full names, in the order of the help."""
        return list(ENTRIES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of this full or short name."""
        full = SHORT_NAMES.get(name, name)
        room = ENTRIES[full].room() if full in ENTRIES else ()
        return next((in_window(found) for found in room if found.name == full), None)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """The full names, with the words of the help; no command is loaded for it."""
        names = [name for name in ENTRIES if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, context, incomplete)
        return [*(CompletionItem(name, help=ENTRIES[name].what) for name in names), *options]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """A line for each, whole in a narrow window; none of them is loaded for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.what) for name, entry in ENTRIES.items()])


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name=PROGRAM)
@shared_options
def cli() -> None:
    """Fetch, store and rotate the secrets of this host."""


def run_group(arguments: list[str]) -> int:
    """Run one command line; its exit status. Raises what the command does, and Refused."""
    try:
        status = cli.main(arguments or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except click.UsageError as error:
        raise Refused(complaint(error, PROGRAM), Exit.USAGE) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as end:  # click's own: completion ends with 0, a broken pipe with 1
        if end.code:
            raise BrokenPipeError from None
        return Exit.OK
    return status if isinstance(status, int) else Exit.OK
