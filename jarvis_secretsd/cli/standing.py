"""The commands about who may what, and how the daemon is: status, whoami, can, health."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pwd import getpwuid

import click

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import PERMISSION, client_option, name_argument
from jarvis_secretsd.cli.exits import Exit, Refused
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import counted, remark, show, show_json
from jarvis_secretsd.client import AccessDenied, SecretsClient
from jarvis_secretsd.client.access import CLIENT_VARIABLE, TOKEN_FILE_VARIABLE
from jarvis_secretsd.errors import Reason
from jarvis_secretsd.values import ClientId, Permission, SecretName

LONG = 70
"""Characters of rights above which a status doesn't spell them out."""

_UNWELL: Mapping[str, str] = {
    Reason.AUDIT_UNWRITABLE: "the audit log can't be written, so nothing is given out",
    Reason.STORAGE_FULL: "the disk is full, so nothing is given out or stored",
    Reason.STORAGE_FAILED: "the disk fails, so nothing is given out or stored",
    Reason.LOCKED: "an admin has locked it, so nothing is given out",
}

_SYNC = {
    "always": "no answer leaves before its audit entry is on the disk",
    "interval": "answers don't wait for the audit log, which is synced by interval",
}


class Status(m.Result, frozen=True):
    """How the daemon is, and who one is to it."""

    health: m.HealthStatus
    identity: m.Identity


@click.command()
@shared_options
def status() -> int:
    """Say in a line how the daemon is, who you are, and what you may.

    Ends with 0 if the daemon is well, 6 if not.
    """
    with connect() as client:
        found = Status(client.ask(m.Health(), m.HealthStatus), client.ask(m.WhoAmI(), m.Identity))
    if settings().json:
        show_json(found)
    else:
        sync = _sync(found.health)
        show(f"{_how(found.health)}; you are {_who(found.identity)}; {sync}")
    return _wellness(found.health)


def _how(health: m.HealthStatus) -> str:
    why = _UNWELL.get(health.status, "")
    secrets = counted(health.secrets_count, "secret")
    return f"{health.status}: {why}{'; ' if why else ''}{secrets}"


def _sync(health: m.HealthStatus) -> str:
    return _SYNC.get(health.audit_sync, f"audit sync: {health.audit_sync}")


def _wellness(health: m.HealthStatus) -> Exit:
    return Exit.OK if health.status == "ok" else Exit.UNAVAILABLE


def _who(identity: m.Identity) -> str:
    if identity.client is None:
        return f"{_user(identity)} as no client ({_why_nobody(identity)})"
    return f"{_user(identity)} as {identity.client} and may {_rights(identity)}"


def _user(identity: m.Identity) -> str:
    """The user's name with the uid; the uid alone where it has none."""
    if identity.uid is None:
        return "a user whom the kernel doesn't name"
    try:
        return f"{getpwuid(identity.uid).pw_name} (uid {identity.uid})"
    except KeyError:
        return f"uid {identity.uid}"


def _why_nobody(identity: m.Identity) -> str:
    """Why a peer is no client, and what to do about it."""
    claim = settings().client or os.environ.get(CLIENT_VARIABLE)
    others = " or ".join(identity.clients)
    if not claim:
        named = f"--client or {CLIENT_VARIABLE} can be {others}"
        return named if others else "the policy binds none to you"
    if claim not in identity.clients:
        return f"you may not be {claim}, {'but ' if others else 'nor another'}{others}"
    return f"{claim} needs its token; {TOKEN_FILE_VARIABLE} names a file with it"


def _rights(identity: m.Identity) -> str:
    """What one may, in words, spelled out where that is short."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for permission, patterns in identity.permissions.items():
        alike.setdefault(patterns, []).append(permission)
    if not alike:
        return "nothing"
    told = "; ".join(
        f"{', '.join(permissions)} {_names(patterns)}".strip()
        for patterns, permissions in alike.items()
    )
    if set(alike) <= {("*",), ()} and set(identity.permissions) == set(Permission):
        told = "do everything"
    if identity.deny:
        told += f", but never touch {', '.join(identity.deny)}"
    if len(told) <= LONG:
        return told
    return f"{', '.join(identity.permissions)} (`jarvis-secrets whoami` says what)"


def _names(patterns: tuple[str, ...]) -> str:
    return "everything" if patterns == ("*",) else ", ".join(patterns)


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
    yield f"user: {_user(identity)}, over {identity.transport}"
    yield f"client: {identity.client or f'none ({_why_nobody(identity)})'}"
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

    PERMISSION is read, write, rotate, delete, sign, audit or admin. Ends with 0 for yes, 4 for no.
    """
    with connect() as client:
        asked = m.Can(subject or _myself(client), Permission(permission), name, uid)
        try:
            verdict = client.ask(asked, m.Verdict)
        except AccessDenied as error:
            if error.code == "denied":
                error.add_note("to ask for another client or user takes the permission admin")
            raise
    if settings().json:
        show_json(verdict)
    else:
        show(f"{'yes' if verdict.allowed else 'no'}: {verdict.rule}")
    return Exit.OK if verdict.allowed else Exit.DENIED


def _myself(client: SecretsClient) -> ClientId:
    identity = client.ask(m.WhoAmI(), m.Identity)
    if identity.client is None:
        raise Refused(f"as which client? {_why_nobody(identity)}; or ask --for one", Exit.USAGE)
    return ClientId(identity.client)


@click.command()
@shared_options
def health() -> int:
    """Ask whether the daemon is well. Ends with 0 if so, 6 if not."""
    with connect() as client:
        found = client.ask(m.Health(), m.HealthStatus)
    if settings().json:
        show_json(found)
    else:
        show(f"{_how(found)}; version {found.version}, up {_span(found.uptime_secs)}")
        if found.audit_sync != "always":
            remark(_sync(found))
    return _wellness(found)


def _span(seconds: int) -> str:
    """A stretch of time in its largest unit."""
    for size, unit in ((24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(seconds // size, unit)
    return counted(seconds, "second")


COMMANDS = (status, whoami, can, health)
