"""Who is told what when secrets change. Pure: a watcher is whatever the daemon calls one.

What is told of a secret is which version is current: after a new one came into force, after a
deletion, and after a restore. A version that is pending or unresolved, or whose grace ends, changes
nothing for those who read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Generic, TypeVar

from msgspec import Struct

from jarvis_secretsd.domain.changes import (
    AnyChange,
    SecretDeleted,
    SecretRestored,
    Stepped,
    VersionPut,
)
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.domain.operations import Done
from jarvis_secretsd.domain.peer import Peer
from jarvis_secretsd.domain.policy import DEFAULT_DENY, Client, Decision, Policy
from jarvis_secretsd.domain.vault import Vault
from jarvis_secretsd.errors import InvalidRequest
from jarvis_secretsd.messages import MAX_PAGE, Request, Told, Watch
from jarvis_secretsd.values import ClientId, Kid, Permission, SecretName

Kids = Mapping[SecretName, Kid | None]
"""The current version by name, None where there is no such secret."""

Watcher = TypeVar("Watcher", bound=Hashable)

_MAKES_CURRENT = (Step.CONFIRM, Step.REINSTATE)


class Watching(Struct, frozen=True):
    """A watch that was allowed: what was asked, by whom, and as which client."""

    request: Request
    peer: Peer
    client: Client
    operation: Watch


def decide(policy: Policy, client: Client, watch: Watch) -> tuple[Decision, SecretName | None]:
    """May this client watch that? And the name that is decisive: one that it may not read.

    It may watch names of which it may read each, and "all" if there is anything that it may read.
    Raises InvalidRequest for more names than a page has.
    """
    if len(watch.names) > MAX_PAGE:
        raise InvalidRequest(f"at most {MAX_PAGE:,} names are watched at once; no names: all")
    for name in watch.names:
        decision = policy.decide(client, Permission.READ, name)
        if not decision.allowed or len(watch.names) == 1:
            return decision, name
    if watch.names or any(Permission.READ in grant.permissions for grant in client.grants):
        return Decision(True, f"clients.{client.id}"), None
    return DEFAULT_DENY, None


def begun(watch: Watch) -> Done:
    """The beginning of a watch, and how it stands in the audit log."""
    return Done(Told(), note=None if len(watch.names) == 1 else _extent(watch))


def changed_names(changes: Iterable[AnyChange]) -> list[SecretName]:
    """The secrets of which another version is current now, or none, or one again; each once."""
    names: dict[SecretName, None] = {}
    for change in changes:
        match change:
            case VersionPut(name) | SecretDeleted(name) | SecretRestored(name):
                names[name] = None
            case Stepped(name, step=step) if step in _MAKES_CURRENT:
                names[name] = None
    return list(names)


class Audience(Generic[Watcher]):
    """All who watch, by what they watch: a change finds those whom it concerns at once."""

    def __init__(self) -> None:
        self._all: dict[Watcher, Watching] = {}
        self._by_name: dict[SecretName, set[Watcher]] = {}
        self._by_client: dict[ClientId, set[Watcher]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[tuple[Watcher, Watching]]:
        return iter([*self._all.items()])

    def watching(self, watcher: Watcher) -> Watching | None:
        """What he watches, if he does."""
        return self._all.get(watcher)

    def join(self, watcher: Watcher, watching: Watching) -> None:
        """He is told of changes from now on; what he watched before is forgotten."""
        self.leave(watcher)
        self._all[watcher] = watching
        for place in self._places(watching):
            place.add(watcher)

    def leave(self, watcher: Watcher) -> None:
        """He is told no more."""
        watching = self._all.pop(watcher, None)
        if watching is None:
            return
        for place in self._places(watching):
            place.discard(watcher)
        for name in watching.operation.names:
            if not self._by_name.get(name, True):
                del self._by_name[name]

    def tell(
        self, names: Iterable[SecretName], vault: Vault, policy: Policy
    ) -> list[tuple[Watcher, Told]]:
        """What each of them is told now that these have changed, one message each."""
        kids = {name: current_kid(vault, name) for name in names}
        messages: list[tuple[Watcher, Told]] = []
        for client, watchers in self._by_client.items():
            for told in _told_to(policy.clients[client], kids, vault, policy) if watchers else ():
                messages += ((watcher, told) for watcher in watchers)
        concerned: dict[Watcher, dict[SecretName, Kid | None]] = {}
        for name, kid in kids.items():
            for watcher in self._by_name.get(name, ()):
                concerned.setdefault(watcher, {})[name] = kid
        messages += ((watcher, Told(part, vault.seq)) for watcher, part in concerned.items())
        return messages

    def _places(self, watching: Watching) -> list[set[Watcher]]:
        if not watching.operation.names:
            return [self._by_client.setdefault(watching.client.id, set())]
        return [self._by_name.setdefault(name, set()) for name in watching.operation.names]


class Beginning:
    """What a watch begins with, a part at a time: all that is, or what changed after `since`.

    The vault may change between two parts. Each is true when it is given, and what changes then is
    told beside them.
    """

    def __init__(self, watching: Watching, since: int | None) -> None:
        self._names = watching.operation.names
        self._client = watching.client
        self._since = since
        self._at = ""

    def next(self, vault: Vault, policy: Policy) -> Told:
        """The next part, which may be empty; the last has no `more`."""
        names = self._names or tuple(islice(vault.names(self._at), MAX_PAGE))
        part = {
            name: kid
            for name, kid in self._news(names, vault)
            if policy.decide(self._client, Permission.READ, name).allowed
        }
        if self._names or len(names) < MAX_PAGE:
            return Told(part, vault.seq, whole=self._since is None)
        self._at = names[-1]
        return Told(part, more=True)

    def _news(
        self, names: Iterable[SecretName], vault: Vault
    ) -> Iterator[tuple[SecretName, Kid | None]]:
        for name in names:
            secret = vault.secret(name)
            kid = secret.current.kid if secret is not None and secret.is_live else None
            if self._since is None:
                if kid is not None or self._names:
                    yield name, kid
            elif secret is not None and secret.seq > self._since:
                yield name, kid


def current_kid(vault: Vault, name: SecretName) -> Kid | None:
    """The version that `get` gives, None where it gives none."""
    secret = vault.live(name)
    return None if secret is None else secret.current.kid


def _told_to(client: Client, kids: Kids, vault: Vault, policy: Policy) -> Iterator[Told]:
    """What all who watch everything as this client are told."""
    readable = [
        (name, kid)
        for name, kid in kids.items()
        if policy.decide(client, Permission.READ, name).allowed
    ]
    for start in range(0, len(readable), MAX_PAGE):
        page = dict(readable[start : start + MAX_PAGE])
        is_last = start + MAX_PAGE >= len(readable)
        yield Told(page, vault.seq) if is_last else Told(page, more=True)


def _extent(watch: Watch) -> str:
    return f"{len(watch.names)} names" if watch.names else "all that it may read"
