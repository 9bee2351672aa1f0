"""The commands about the tokens of clients."""

from __future__ import annotations

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import client_argument
from jarvis_secretsd.cli.completing import token_ids
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import day, moment, remark, show, show_json, table
from jarvis_secretsd.cli.usage import Group
from jarvis_secretsd.client import SecretNotFound
from jarvis_secretsd.values import ClientId

DAY = 24 * 60 * 60


@click.group(cls=Group, no_args_is_help=False)
@shared_options
def token() -> None:
    """Make, list and revoke the tokens of clients."""


@token.command("create")
@client_argument()
@click.option("--days", type=int, metavar="DAYS", help="Its life [365].")
@click.option("--uid", "uids", type=int, multiple=True, metavar="UID", help="Only for this user.")
@shared_options
def create_token(subject: ClientId, days: int | None, uids: tuple[int, ...]) -> None:
    """Make a token for CLIENT and write it to stdout, this once."""
    lifetime = None if days is None else days * DAY
    with connect() as client:
        made = client.ask(m.TokenCreate(subject, lifetime, uids), m.TokenCreated)
    if settings().json:
        show_json(made)
        return
    show(made.token.reveal())
    remark(
        f"this is token {made.token_id} of {made.client}, good until {moment(made.expires_at)}; "
        "it isn't shown again"
    )


@token.command("list")
@shared_options
def list_tokens() -> None:
    """List the tokens by their ids."""
    with connect() as client:
        listing = client.ask(m.TokenList(), m.TokenListing)
    if settings().json:
        show_json(listing)
    elif not listing.tokens:
        remark("there is no token; `jarvis-secrets token create CLIENT` makes one")
    else:
        table(("ID", "CLIENT", "CREATED", "UNTIL", "UIDS"), map(_row, listing.tokens))


def _row(token: m.TokenListed) -> tuple[str, ...]:
    uids = ",".join(map(str, token.uids)) or "any"
    return (token.token_id, token.client, day(token.created_at), day(token.expires_at), uids)


@token.command("revoke")
@click.argument("token_id", metavar="ID", shell_complete=token_ids)
@shared_options
def revoke_token(token_id: str) -> None:
    """End the token with this ID at once."""
    try:
        with connect() as client:
            ended = client.ask(m.TokenRevoke(token_id), m.TokenRevoked)
    except SecretNotFound:
        raise Refused(
            f"no token has the id {token_id}; `jarvis-secrets token list` shows all",
            Exit.NOT_FOUND,
        ) from None
    if settings().json:
        show_json(ended)
    else:
        show(f"revoked {ended.token_id}; whoever uses it is refused from now on")


COMMANDS = (token,)
