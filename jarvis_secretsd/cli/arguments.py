"""Arguments that are valid words of the house when a command sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from jarvis_secretsd.cli.completing import client_ids, secret_names
from jarvis_secretsd.values import ClientId, Kind, Permission, SecretName

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


def _each(kind: Callable[[str], str]) -> Callable[[click.Context, click.Parameter, Raw], Raw]:
    def parse(raw: Raw) -> Raw:
        if isinstance(raw, tuple):
            return tuple(map(kind, raw))
        return None if raw is None else kind(raw)

    return parsed_by(parse)
