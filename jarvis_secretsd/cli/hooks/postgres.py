"""`jarvis-hook-postgres`: a rotated secret becomes the password of a PostgreSQL role."""

from __future__ import annotations

import re

import click

from jarvis_secretsd.cli.hooks.asking import Failed, Status, answer, run
from jarvis_secretsd.daemon.hookprotocol import Action, HookAnswer, HookInput, Reason


@click.command()
@click.option(
    "--role", help="The role; else it is the end of the secret's name, without _password."
)
@click.option(
    "--conninfo",
    "where",
    default="",
    metavar="TEXT",
    help="Where the server is, as psql takes it: 'host=/run/postgresql dbname=app'.",
)
@click.option(
    "--admin",
    metavar="ROLE",
    help="Connect as ROLE without a password (peer, on a Unix socket); else as the role itself.",
)
def command(role: str | None, where: str, admin: str | None) -> Status:
    """Set a PostgreSQL role's password to a rotated secret, as a hook of jarvis-secretsd.

    \b
    [[hooks]]
    pattern = "postgres_*"
    command = ["/usr/local/bin/jarvis-hook-postgres", "--role", "app"]
    """

    def act(asked: HookInput) -> HookAnswer:
        try:
            from jarvis_secretsd.cli.hooks import pgrole  # noqa: PLC0415 - an extra brings its driver
        except ImportError:
            text = "psycopg is missing; run: pip install 'jarvis-secretsd[postgres]'"
            raise Failed(Reason.MISCONFIGURED, text) from None
        target = pgrole.Target(role or role_of(asked.name), where, admin)
        if asked.action is Action.ROTATE:
            return pgrole.rotate(asked, target)
        return pgrole.verify(asked, target)

    return answer(act)


def role_of(name: str) -> str:
    """The role whose password this secret is by its name: `app` of `postgres/app_password`."""
    return re.sub(r"[_.-](password|passwd|pass)$", "", name.rpartition("/")[2])


def main() -> None:
    """The program."""
    run(command)
