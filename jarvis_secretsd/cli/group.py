"""The commands of `jarvis-secrets` by name; a module is imported with the first of its commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches

import click

from jarvis_secretsd import __version__
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.options import shared_options

PROGRAM = "jarvis-secrets"

EPILOG = """\b
Short names: ls is list, rm is delete, set is put.

\b
`jarvis-secrets help` lists what can be read about: .env files, `run`, applications,
denials, the environment, exit statuses, completion."""


def _secrets() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import secrets  # noqa: PLC0415

    return secrets.COMMANDS


def _editing() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import editing  # noqa: PLC0415

    return editing.COMMANDS


def _transfer() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import transfer  # noqa: PLC0415

    return transfer.COMMANDS


def _launch() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import launch  # noqa: PLC0415

    return launch.COMMANDS


def _standing() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import standing  # noqa: PLC0415

    return standing.COMMANDS


def _tokens() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import tokens  # noqa: PLC0415

    return tokens.COMMANDS


def _reading() -> Sequence[click.Command]:
    from jarvis_secretsd.cli import reading  # noqa: PLC0415

    return reading.COMMANDS


ROOMS: dict[str, Callable[[], Sequence[click.Command]]] = {
    "get": _secrets,
    "put": _secrets,
    "edit": _editing,
    "list": _secrets,
    "rotate": _secrets,
    "delete": _secrets,
    "restore": _secrets,
    "import": _transfer,
    "export": _transfer,
    "run": _launch,
    "status": _standing,
    "whoami": _standing,
    "can": _standing,
    "token": _tokens,
    "health": _standing,
    "completion": _reading,
    "help": _reading,
}
"""Where each command is, in the order in which the help lists them."""

SHORT_NAMES = {"ls": "list", "rm": "delete", "set": "put"}


class Commands(click.Group):
    """Finds commands by `ROOMS` and by their short names."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The full names, in the order of the help."""
        return list(ROOMS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of this full or short name."""
        full = SHORT_NAMES.get(name, name)
        room = ROOMS[full]() if full in ROOMS else ()
        return next((found for found in room if found.name == full), None)

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and a slip of the pen gets the name that was probably meant."""
        name = arguments[0]
        is_meant = not name.startswith("-") and not context.resilient_parsing
        if is_meant and self.get_command(context, name) is None:
            near = get_close_matches(name, [*ROOMS, *SHORT_NAMES], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no command {name!r}{hint}", context)
        return super().resolve_command(context, arguments)


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
        path = error.ctx.command_path if error.ctx else PROGRAM
        message = error.format_message().rstrip(".")
        raise Refused(f"{message} (see `{path} --help`)", Exit.USAGE) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    except (
        SystemExit
    ) as end:  # of click's own only completion's 0, and 1 for a broken pipe, are left
        if end.code:
            raise BrokenPipeError from None
        return Exit.OK
    return status if isinstance(status, int) else Exit.OK
