"""The commands about who may what, and how the daemon is: whoami, can, token, health."""

from __future__ import annotations

from collections.abc import Iterator

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import PERMISSION, client_argument, client_option, name_argument
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import columns, moment, remark, show, show_json
from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.values import ClientId, Permission, SecretName

DAY = 24 * 60 * 60


@click.command()
@shared_options
def whoami() -> None:
    """Show who the kernel says you are, which clients you may be, and your rights."""
    with connect() as client:
        identity = client.ask(m.WhoAmI(), m.Identity)
    if settings().json:
        show_json(identity)
    else:
        show(*_described(identity))


def _described(identity: m.Identity) -> Iterator[str]:
    if identity.uid is None:
        yield f"user: the kernel doesn't say ({identity.transport})"
    else:
        yield f"user: uid {identity.uid}, gid {identity.gid} ({identity.transport})"
    yield f"client: {identity.client or 'none named; use --client ID or JARVIS_CLIENT_ID'}"
    yield f"may be: {', '.join(identity.clients) or 'no client of the policy'}"
    for permission, patterns in identity.permissions.items():
        yield f"may {permission}: {', '.join(patterns)}".removesuffix(": ")
    if identity.deny:
        yield f"never: {', '.join(identity.deny)}"


@click.command()
@click.argument("permission", type=PERMISSION, metavar="PERMISSION")
@name_argument(required=False)
@client_option("--for", "subject", text="Another client than you.")
@click.option("--uid", type=int, metavar="UID", help="As a process of this user.")
@shared_options
def can(permission: str, name: SecretName | None, subject: ClientId | None, uid: int | None) -> int:
    """Say whether you may PERMISSION (on NAME), and which line of the policy decides.

    Ends with 0 for yes and 4 for no.
    """
    with connect() as client:
        asked = m.Can(subject or _myself(client), Permission(permission), name, uid)
        verdict = client.ask(asked, m.Verdict)
    if settings().json:
        show_json(verdict)
    else:
        show(f"{'yes' if verdict.allowed else 'no'}: {verdict.rule}")
    return Exit.OK if verdict.allowed else Exit.DENIED


def _myself(client: SecretsClient) -> ClientId:
    me = client.ask(m.WhoAmI(), m.Identity).client
    if me is None:
        raise Refused("which client? Say it with --client, or ask --for another", Exit.USAGE)
    return ClientId(me)


@click.command()
@shared_options
def health() -> int:
    """Ask whether the daemon is well. Ends with 0 if so, 6 if not."""
    with connect() as client:
        status = client.ask(m.Health(), m.HealthStatus)
    if settings().json:
        show_json(status)
    else:
        show(
            f"{status.status}: version {status.version}, up {status.uptime_secs:,} s, "
            f"{status.secrets_count:,} secrets"
        )
        if status.audit_sync != "always":
            remark(f"the audit log is synced by {status.audit_sync}, not before each reply")
    return Exit.OK if status.status == "ok" else Exit.UNAVAILABLE


@click.group()
@shared_options
def token() -> None:
    """Make, list and revoke the tokens of clients."""


@token.command("create")
@client_argument()
@click.option("--days", type=click.IntRange(min=1), metavar="DAYS", help="Its life (365).")
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
    remark(f"token {made.token_id} of {made.client}, until {moment(made.expires_at)}")


@token.command("list")
@shared_options
def list_tokens() -> None:
    """List the tokens by their ids."""
    with connect() as client:
        listing = client.ask(m.TokenList(), m.TokenListing)
    if settings().json:
        show_json(listing)
        return
    rows = [("ID", "CLIENT", "CREATED", "UNTIL", "UIDS")]
    rows += [
        (
            found.token_id,
            found.client,
            moment(found.created_at),
            moment(found.expires_at),
            ",".join(map(str, found.uids)) or "any",
        )
        for found in listing.tokens
    ]
    show(*columns(rows))


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@shared_options
def revoke_token(token_id: str) -> None:
    """End the token with this ID at once."""
    with connect() as client:
        ended = client.ask(m.TokenRevoke(token_id), m.TokenRevoked)
    if settings().json:
        show_json(ended)
    else:
        show(f"revoked {ended.token_id}")


COMMANDS = (whoami, can, token, health)
