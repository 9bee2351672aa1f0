"""What the Tab key finds. Where the daemon doesn't answer, or says no, it finds nothing."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.messages import (
    Identity,
    TokenList,
    TokenListing,
    VersionListing,
    Versions,
    WhoAmI,
)
from jarvis_secretsd.values import SecretName, State

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


def kids_of(states: Container[State]) -> Finder:
    """Finds the kids of the NAME that stands on the line, of versions in one of these states."""

    def find(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        # Of a line that ends with an option without its value, click takes no argument.
        words = filter(None, (context.params.get("name"), *context.args))
        try:
            name = SecretName(next(words))
        except (StopIteration, ValueError):
            return []
        kids = _asked(
            lambda client: (
                version.kid
                for version in client.ask(Versions(name), VersionListing).versions
                if version.state in states
            )
        )
        return kids(context, parameter, begun)

    return find


def renamed_secrets(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """What `VAR=` can go on with: the names of the secrets that may be read."""
    variable, equals, name = begun.partition("=")
    found = secret_names(context, option, name) if equals else []
    return [f"{variable}={each}" for each in found]


@add_completion_class
class Bash(BashComplete):
    """Puts together what bash takes apart at each `=`, and gives it what follows the last one."""

    _kept = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is begun, and that one."""
        before, begun = super().get_completion_args()
        *words, word = _joined([*before, begun])
        self._kept = word if begun == "=" else word.removesuffix(begun)
        return words, word

    def format_completion(self, item: CompletionItem) -> str:
        """A word, without what stands on the line already."""
        item.value = item.value.removeprefix(self._kept)
        return super().format_completion(item)


def _joined(parts: Iterable[str]) -> list[str]:
    words: list[str] = []
    for part in parts:
        if words and (part == "=" or words[-1].endswith("=")):
            words[-1] += part
        else:
            words.append(part)
    return words
