"""Asking about many secrets: in batches, so that a person sees how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from jarvis_secretsd.cli.output import progress
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Can, Identity, Operation, Result, Verdict, WhoAmI
from jarvis_secretsd.values import ClientId, Permission, SecretName

BATCH = 64
"""Questions between two steps of the bar: a few milliseconds of a daemon that syncs."""

R = TypeVar("R", bound=Result)


def ask_each(
    client: SecretsClient, operations: Sequence[Operation], result: type[R], what: str
) -> Iterator[R | SecretsClientError]:
    """The answers in order, a refusal in its place. Raises DaemonUnreachable after those it got."""
    with progress(what, len(operations)) as advance:
        for start in range(0, len(operations), BATCH):
            batch = operations[start : start + BATCH]
            yield from client.ask_all(batch, result)
            advance(len(batch))


def unwritable(client: SecretsClient, names: Iterable[SecretName]) -> frozenset[SecretName]:
    """Those of the names that we may not write, to be known before anything is done for it."""
    wanted = tuple(names)
    me = client.ask(WhoAmI(), Identity).client if wanted else None
    if me is None:
        return frozenset()
    asked = [Can(ClientId(me), Permission.WRITE, name) for name in wanted]
    return frozenset(
        name
        for name, verdict in zip(wanted, client.ask_all(asked, Verdict), strict=True)
        if isinstance(verdict, Verdict) and not verdict.allowed
    )
