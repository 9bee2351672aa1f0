"""Logins of other programs as secrets: each a record in JSON, under a name made of its address.

A name can't hold every address, so two addresses may have one name. A record says what address it
is for, and whoever reads it compares.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from msgspec import DecodeError, Struct, json

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.client import Conflict, SecretNotFound, SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Delete, Deleted
from jarvis_secretsd.values import MAX_VALUE_BYTES, Kid, Kind, SecretName, suggest_name

ATTEMPTS = 3
"""Changes of one record that meet are rare; more than this is somebody else's loop."""

R = TypeVar("R", bound=Struct)


def read_input() -> bytes:
    """All that the program says. Raises Refused for more than any value has room for."""
    data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if len(data) > MAX_VALUE_BYTES:
        raise Refused(f"the input is larger than {MAX_VALUE_BYTES:,} bytes")
    return data


def write_output(text: str) -> None:
    """Give the program its answer: in UTF-8, which it expects whatever the locale is."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def name_for(prefix: str, address: str) -> SecretName:
    """The secret of an address, below a prefix. Raises Refused where no character can stand."""
    name = suggest_name(address)
    if name is None:
        raise Refused(f"no name can be made for the address {address!a}")
    try:
        return SecretName(f"{prefix}/{name}")
    except ValueError as error:
        raise Refused(f"no name can be made for the address {address!a}: {error}") from None


def look_up(client: SecretsClient, name: SecretName, kind: type[R]) -> R | None:
    """The record of this name, if there is one. Raises SecretsClientError, and Refused for others'
    secrets.
    """
    record, _ = _held(client, name, kind)
    return record


def revise(
    client: SecretsClient, name: SecretName, kind: type[R], change: Callable[[R | None], R | None]
) -> None:
    """Put what `change` makes of the record in its place, unless it stays the same; None is none.

    A change by somebody else in between is taken up, not overwritten.
    """
    for attempt in range(1, ATTEMPTS + 1):
        old, kid = _held(client, name, kind)
        new = change(old)
        if new == old:
            return
        try:
            _replace(client, name, new, kid)
        except Conflict:
            if attempt == ATTEMPTS:
                raise
        else:
            return


def _held(client: SecretsClient, name: SecretName, kind: type[R]) -> tuple[R | None, Kid | None]:
    try:
        with _about(name):
            found = client.fetch(name)
    except SecretNotFound:
        return None, None
    try:
        return json.decode(found.value.reveal(), type=kind), found.kid
    except DecodeError:  # whose text may quote the value
        raise Refused(f"{name} holds something else than such a login") from None


def _replace(
    client: SecretsClient, name: SecretName, record: Struct | None, kid: Kid | None
) -> None:
    with _about(name):
        if record is None:
            client.ask(Delete(name), Deleted)
        else:
            text = json.encode(record).decode()
            client.put(name, text, kind=Kind.EXTERNAL, expect_kid=kid or "")


@contextmanager
def _about(name: SecretName) -> Iterator[None]:
    try:
        yield
    except SecretsClientError as error:
        error.add_note(name)
        raise
