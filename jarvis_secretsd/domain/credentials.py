"""Which secret a unit's LoadCredential= asks for, and as which client of the policy."""

from __future__ import annotations

from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.domain.policy import ROOT, Client, Policy, TokenRule
from jarvis_secretsd.errors import Denied
from jarvis_secretsd.messages import Get, LoadCredential, Request
from jarvis_secretsd.values import Permission, SecretName


def request_of(policy: Policy, peer: Peer, asked: LoadCredential) -> Request:
    """The `get` that this comes to: as the first client of the unit that may read the secret.

    If none may, it is the first that has such a secret, and will be denied. Raises Denied where
    systemd isn't asking, or nobody has one.
    """
    _check_asker(peer, asked)
    clients = [each for each in policy.candidates(peer) if each.token is not TokenRule.REQUIRED]
    offers = [
        (client, name)
        for client in clients
        if (name := secret_behind(client, asked.file)) is not None
    ]
    if not offers:
        raise _missing(clients, asked)
    granting = (
        (client, name)
        for client, name in offers
        if policy.decide(client, Permission.READ, name).allowed
    )
    client, name = next(granting, offers[0])
    return Request(Get(name), client.id)


def secret_behind(client: Client, file: str) -> SecretName | None:
    """The secret that a credential of this name is: by its line, else the one of the same name."""
    for credential in client.credentials:
        if credential.file == file:
            return credential.name
    try:
        return SecretName(file)
    except ValueError:
        return None


def _check_asker(peer: Peer, asked: LoadCredential) -> None:
    if peer.transport is not Transport.CREDENTIALS:
        raise Denied(rule="credentials: asked for by a request")
    if peer.uid != ROOT:
        raise Denied(
            rule=f"credentials: uid {peer.uid} is not the system's systemd",
            remedy="a user's unit asks as a program: ExecStart=jarvis-secrets run -- ...",
        )
    if peer.unit != asked.unit:
        raise Denied(
            rule=f"credentials: {asked.unit} was said, the cgroup is of {peer.unit or 'no unit'}",
            remedy="load it in a service of the system, with no Slice= outside system.slice",
        )


def _missing(clients: list[Client], asked: LoadCredential) -> Denied:
    if not clients:
        return Denied(
            rule=f"credentials: {asked.unit} is in no client's units",
            remedy=f"under clients add `NAME: {{units: [{asked.unit}], allow: [SECRET]}}`",
        )
    return Denied(
        rule=f"clients.{clients[0].id}.credentials: no line for {asked.file}",
        remedy=f"under clients.{clients[0].id} add `credentials: {{{asked.file}: SECRET}}`",
    )
