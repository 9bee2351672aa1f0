"""Which units of systemd must be restarted or reloaded, since they hold what was rotated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from jarvis_secretsd.domain.changes import AnyChange, Stepped, VersionPut
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.domain.policy import OnRotation, Policy
from jarvis_secretsd.values import Permission, SecretName

_TAKES_OVER = (Step.CONFIRM, Step.REINSTATE)


def stale_units(policy: Policy, changes: Iterable[AnyChange]) -> frozenset[str]:
    """The units whose client asks for it, and may read a secret that now has another version.

    A secret that is new is in nobody's hands, and one that is deleted would keep its units from
    starting again.
    """
    names = frozenset(_renewed(changes))
    return frozenset(
        unit
        for client in policy.clients.values()
        if client.on_rotation is not None
        and any(policy.decide(client, Permission.READ, name).allowed for name in names)
        for unit in client.units
    )


def treatments(policy: Policy) -> Mapping[str, OnRotation]:
    """What each unit needs on a rotation. Of two clients that list it, the one with `restart`."""
    found: dict[str, OnRotation] = {}
    for client in policy.clients.values():
        if client.on_rotation is not None:
            for unit in client.units:
                if found.get(unit) is not OnRotation.RESTART:
                    found[unit] = client.on_rotation
    return found


def _renewed(changes: Iterable[AnyChange]) -> Iterator[SecretName]:
    for change in changes:
        match change:
            case VersionPut(name, number=number) if number > 1:
                yield name
            case Stepped(name, step=step) if step in _TAKES_OVER:
                yield name
