"""Which units a change makes restart."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from jarvis_secretsd.domain.changes import (
    AnyChange,
    Care,
    SecretDeleted,
    SecretRestored,
    Stepped,
    VersionPending,
    VersionPut,
)
from jarvis_secretsd.domain.lifecycle import Step
from jarvis_secretsd.domain.policy import Client, OnRotation
from jarvis_secretsd.domain.unitrenewal import stale_units, treatments
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue
from tests.domain.test_credentials import WEB, unit_client
from tests.domain.world import NOW, policy_of

NAME, KID, VALUE = SecretName("plain"), Kid("0" * 16), SecretValue(b"x")
CARE = Care(Kind.STATIC)
RESTART, RELOAD = OnRotation.RESTART, OnRotation.RELOAD


def put(number: int, name: SecretName = NAME) -> VersionPut:
    return VersionPut(name, KID, number, VALUE, CARE, NOW)


def step(step: Step) -> Stepped:
    return Stepped(NAME, KID, step, NOW)


def restarted(name: str, *units: str, how: OnRotation = RESTART) -> Client:
    return replace(unit_client(name, "plain", units=units), on_rotation=how)


@pytest.mark.parametrize("change", [put(2), step(Step.CONFIRM), step(Step.REINSTATE)])
def test_another_version_makes_its_units_stale(change: AnyChange) -> None:
    """A put, a rotation that its hook confirmed, and a rollback."""
    policy = policy_of(restarted("web", WEB, "worker.service"), unit_client("calm", "plain"))
    assert stale_units(policy, [change, change]) == {WEB, "worker.service"}


@pytest.mark.parametrize(
    "change",
    [
        put(1),
        put(2, SecretName("other")),
        VersionPending(NAME, KID, 2, VALUE, CARE, NOW),
        step(Step.DOUBT),
        step(Step.DROP),
        step(Step.END),
        step(Step.REVOKE),
        SecretDeleted(NAME, NOW),
        SecretRestored(NAME),
    ],
)
def test_nothing_else_does(change: AnyChange) -> None:
    """A unit that is restarted without need, or can't start again, is an outage of our making."""
    assert stale_units(policy_of(restarted("web", WEB)), [change]) == frozenset()


def test_a_denied_secret_concerns_nobody() -> None:
    """What the client may not read, its units don't hold."""
    assert (
        stale_units(policy_of(replace(restarted("web", WEB), grants=())), [put(2)]) == frozenset()
    )


def test_a_unit_is_treated_as_its_clients_say() -> None:
    """Where one says restart and another reload, a restart serves both."""
    policy = policy_of(
        restarted("a", WEB, how=RELOAD),
        restarted("b", WEB, "b.service"),
        restarted("c", WEB, "c.service", how=RELOAD),
        unit_client("d", "plain", units=("d.service",)),
    )
    assert treatments(policy) == {WEB: RESTART, "b.service": RESTART, "c.service": RELOAD}
