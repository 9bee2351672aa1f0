"""What the Tab key finds. Where the daemon doesn't answer, or says no, it finds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.messages import Identity, TokenList, TokenListing, WhoAmI

PATIENCE = 1.0
"""Seconds for the daemon's answer: a Tab key that hangs is worse than one that finds nothing."""

Finder = Callable[[click.Context, click.Parameter, str], list[str]]


def _asked(question: Callable[[SecretsClient], Iterable[str]]) -> Finder:
    """Finds what the daemon answers, without what stands on the line already."""

    def find(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        # Not at the top: the options themselves are completed by what is here.
        from jarvis_secretsd.cli.options import connect  # noqa: PLC0415

        before = context.params.get(parameter.name or "") or ()
        try:
            with context.scope(), connect(timeout=PATIENCE, wait=0) as client:
                answer = [*question(client)]
        except SecretsClientError:
            return []
        return [word for word in answer if word.startswith(begun) and word not in before]

    return find


secret_names = _asked(lambda client: (entry.name for entry in client.list()))
"""The names of the secrets that may be read."""

client_ids = _asked(lambda client: client.ask(WhoAmI(), Identity).clients)
"""The clients that the caller may be."""

token_ids = _asked(
    lambda client: (found.token_id for found in client.ask(TokenList(), TokenListing).tokens)
)
"""The ids of all tokens, for who may see them."""
