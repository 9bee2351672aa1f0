"""Asking about many secrets: in batches, so that a person sees how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from jarvis_secretsd.cli.output import progress
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Operation, Result

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
