"""The options that every command takes, before its name or after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from msgspec import Struct, structs

from jarvis_secretsd.cli.completing import client_ids
from jarvis_secretsd.client import SecretsClient

F = TypeVar("F", bound=Callable[..., Any])


TIMEOUT = 5.0
"""Seconds that each answer may take."""


class Settings(Struct, frozen=True):
    """What those options said; the environment speaks for what they leave out."""

    socket: str | None = None
    url: str | None = None
    client: str | None = None
    allow_remote: bool = False
    json: bool = False


def settings() -> Settings:
    """The settings of the command that runs."""
    found = click.get_current_context().find_root().obj
    return found if isinstance(found, Settings) else Settings()


def connect(*, timeout: float = TIMEOUT, wait: float | None = None) -> SecretsClient:
    """A client with these settings. Nothing is cached: a command asks once."""
    said = settings()
    return SecretsClient(
        said.socket,
        said.url,
        said.client,
        timeout=timeout,
        wait=wait,
        cache_ttl=0,
        allow_remote=said.allow_remote,
    )


def shared_options(command: F) -> F:
    """Give a command the options of `Settings`. What is said last holds."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def options_without_client(command: F) -> F:
    """As `shared_options`, for a command that means another client by `--client`."""
    for option in reversed(_OPTIONS):
        command = option(command) if option is not _CLIENT else command
    return command


def options_without_daemon(command: F) -> F:
    """As `shared_options`, for a command that asks no daemon."""
    return _JSON(command)


def _remember(context: click.Context, option: click.Parameter, said: str | bool | None) -> None:
    if said and option.name:
        root = context.find_root()
        known = root.obj if isinstance(root.obj, Settings) else Settings()
        root.obj = structs.replace(known, **{option.name: said})


def _option(*names: str, **more: Any) -> Callable[[F], F]:
    return click.option(*names, expose_value=False, callback=_remember, **more)


_CLIENT = _option(
    "--client",
    metavar="ID",
    shell_complete=client_ids,
    help="The client to be [JARVIS_CLIENT_ID].",
)

_JSON = _option("--json", is_flag=True, help="Print the result as JSON.")

_OPTIONS = (
    _option(
        "--socket",
        metavar="PATH",
        type=click.Path(),
        help="The daemon's socket [JARVIS_SECRETS_SOCKET].",
    ),
    _option("--url", metavar="URL", help="http://127.0.0.1:8081 instead [JARVIS_SECRETS_URL]."),
    _CLIENT,
    _option("--allow-remote", is_flag=True, help="Take a URL that leaves this host unencrypted."),
    _JSON,
)
