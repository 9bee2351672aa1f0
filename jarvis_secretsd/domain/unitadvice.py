"""What in a client's lines about units of systemd can't work, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jarvis_secretsd.domain.policy import Client, OnRotation, Policy, TokenRule
from jarvis_secretsd.values import SecretName

MAX_TEXT = 83
"""Characters of unit and credential together. systemd connects from an address with both in it, of
which it takes 24 of 107 characters for itself, and fails the unit where they don't fit."""

MAX_OF_UNIT = 1024 * 1024
"""Bytes of all credentials of a unit, names included (CREDENTIALS_TOTAL_SIZE_MAX)."""


def credentials_of_units(policy: Policy) -> Mapping[str, Mapping[str, SecretName]]:
    """What each unit may load, as far as the policy names it: file to secret."""
    found: dict[str, dict[str, SecretName]] = {}
    for client in policy.clients.values():
        files = {credential.file: credential.name for credential in client.credentials}
        if not client.bound:
            files |= {str(name): name for name in _named(client)}
        for unit in client.units:
            found.setdefault(unit, {}).update(files)
    return found


def unit_warnings(client: Client) -> Iterator[str]:
    """What systemd can't do for the units of this client."""
    if not client.units:
        if client.credentials:
            yield ".credentials: systemd asks for a unit's; add `units: [NAME.service]`"
        if client.on_rotation is not None:
            yield f".on_rotation: there is no unit to {client.on_rotation}; add `units: [...]`"
    if client.credentials and client.token is TokenRule.REQUIRED:
        yield ".token: systemd has no token, so it gets no credential; take `token: required` out"
    if client.credentials and client.on_rotation is OnRotation.RELOAD:
        yield (
            ".on_rotation: a reload loads credentials anew only from systemd 260 on, with "
            "RefreshOnReload=credentials in the unit; else write `on_rotation: restart`"
        )
    for credential in client.credentials:
        yield from _length_warnings(client, credential.file, "write a shorter name for the file")
    for name in () if client.bound else _named(client):
        yield from _name_warnings(client, name)


def _name_warnings(client: Client, name: SecretName) -> Iterator[str]:
    """What keeps systemd, which alone can be this client, from asking for it by its own name."""
    if "/" in name:
        file = name.replace("/", "-")
        yield f".allow: no credential is named {name}; add `credentials: {{{file}: {name}}}`"
    else:
        yield from _length_warnings(client, name, f"add `credentials: {{SHORT: {name}}}`")


def _length_warnings(client: Client, file: str, remedy: str) -> Iterator[str]:
    for unit in sorted(client.units):
        length = len(unit) + len(file)
        if length > MAX_TEXT:
            yield (
                f".credentials: {unit} and {file} have {length} characters together, and systemd "
                f"has room for {MAX_TEXT}; {remedy}"
            )


def _named(client: Client) -> Iterator[SecretName]:
    """The secrets that its lines name in full and no credential stands for."""
    known = {credential.name for credential in client.credentials}
    for grant in client.grants:
        for pattern in grant.allow:
            if len(pattern.parts) == 1 and pattern.text not in known:
                try:
                    yield SecretName(pattern.text)
                except ValueError:
                    continue  # said of the pattern itself
