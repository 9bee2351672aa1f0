"""Arguments that are valid words of the house when a command sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from jarvis_secretsd.cli.completing import client_ids, kids_of, secret_names
from jarvis_secretsd.values import ClientId, Kid, Kind, Permission, SecretName, State

# Their values as text: of an enumeration click takes the members' names, from 8.2 on.
PERMISSION = click.Choice([permission.value for permission in Permission])
KIND = click.Choice([kind.value for kind in Kind])
GENERATED = click.Choice([kind.value for kind in Kind if kind not in (Kind.STATIC, Kind.EXTERNAL)])
"""The kinds that the daemon can make by itself."""

Raw = str | tuple[str, ...] | None
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def name_argument(**more: Any) -> Callable[[F], F]:
    """NAME, a secret's name; anything else is a usage error that suggests one."""
    convert = _each(SecretName)
    return click.argument("name", callback=convert, shell_complete=secret_names, **more)


def names_argument() -> Callable[[F], F]:
    """NAMES, any number of secrets' names."""
    convert = _each(SecretName)
    return click.argument("names", nargs=-1, callback=convert, shell_complete=secret_names)


def kid_argument(*states: State) -> Callable[[F], F]:
    """KID, a version's key id; Tab finds those of NAME that are in one of these states."""
    return click.argument("kid", callback=_each(Kid), shell_complete=kids_of(states))


def kid_option(*states: State, text: str) -> Callable[[F], F]:
    """`--kid KID`, completed in the same way."""
    return click.option(
        "--kid", metavar="KID", callback=_each(Kid), shell_complete=kids_of(states), help=text
    )


def made_as_options(when: str) -> Callable[[F], F]:
    """`--length` and `--alphabet`: how a value is generated."""
    length = click.option(
        "--length", type=int, metavar="N", help=f"Of so many characters ({when})."
    )
    alphabet = click.option("--alphabet", metavar="CHARACTERS", help=f"Drawn from these ({when}).")
    return lambda command: length(alphabet(command))


def seconds_option(name: str, text: str, default: float | None = None) -> Callable[[F], F]:
    """An option that is a time, in seconds."""
    convert = parsed_by(_time)
    return click.option(
        name, type=float, metavar="SECONDS", default=default, callback=convert, help=text
    )


def client_argument() -> Callable[[F], F]:
    """CLIENT, a client's id."""
    convert = _each(ClientId)
    return click.argument("subject", metavar="CLIENT", callback=convert, shell_complete=client_ids)


def client_option(*names: str, text: str) -> Callable[[F], F]:
    """An option that is a client's id."""
    convert = _each(ClientId)
    return click.option(
        *names, metavar="CLIENT", callback=convert, shell_complete=client_ids, help=text
    )


def parsed_by(parse: Callable[[Any], T]) -> Callable[[click.Context, click.Parameter, Any], T]:
    """A callback that turns the ValueError of `parse` into a usage error of its option."""

    def convert(context: click.Context, parameter: click.Parameter, raw: Any) -> T:
        try:
            return parse(raw)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return convert


def _time(seconds: float | None) -> float | None:
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"{seconds:g} is no time to wait")
    return seconds


def _each(kind: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, Raw], Raw]:
    def parse(raw: Raw) -> Raw:
        if isinstance(raw, tuple):
            return tuple(map(kind, raw))
        return None if raw is None else kind(raw)

    return parsed_by(parse)
