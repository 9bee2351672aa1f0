"""What is wrong with a command line, in our words: click's own differ between its versions."""

from __future__ import annotations

import click

from jarvis_secretsd.cli.guessing import guess
from jarvis_secretsd.cli.layout import FittedGroup


class Group(FittedGroup):
    """Commands of which the nearest is named to who mistypes one."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does. Raises UsageError with the name that was probably meant."""
        name = arguments[0]
        is_meant = not name.startswith("-") and not context.resilient_parsing
        if is_meant and self.get_command(context, name) is None:
            hint = guess(name, self.list_commands(context))
            raise click.UsageError(f"there is no command {name!r}{hint}", context)
        return super().resolve_command(context, arguments)


def complaint(error: click.UsageError, program: str) -> str:
    """One line: what is wrong, and where the right use is explained."""
    path = error.ctx.command_path if error.ctx else program
    return f"{_what(error).rstrip('.')} (see `{path} --help`)"


def _what(error: click.UsageError) -> str:
    match error:
        case click.NoSuchOption():
            hint = guess(error.option_name, error.possibilities or ())
            return f"there is no option {error.option_name}{hint}"
        case click.MissingParameter(param=click.Parameter() as missing):
            return f"{_name(missing)} is missing"
        case click.BadParameter(param=click.Parameter() as bad):
            return f"{_name(bad)}: {error.message}"
        case _:
            return error.format_message()


def _name(parameter: click.Parameter) -> str:
    """As the help of the command writes it."""
    if isinstance(parameter, click.Option):
        return parameter.opts[0]
    return parameter.human_readable_name.removesuffix("...")
