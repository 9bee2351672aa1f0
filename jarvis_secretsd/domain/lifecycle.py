"""The life of a version: one table, which the vault runs on and docs/rotation.md draws."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from jarvis_secretsd.values import State


class Step(StrEnum):
    """What can happen to a version."""

    CONFIRM = "confirm"
    """It is in force: its hook said so, or its time came."""
    DOUBT = "doubt"
    """Nobody can tell whether the far end took it."""
    DROP = "drop"
    """It never came into force."""
    SUPERSEDE = "supersede"
    """Another version became current."""
    REINSTATE = "reinstate"
    """A rollback made it current again."""
    END = "end"
    """Its grace is over."""
    REVOKE = "revoke"
    """Somebody ended it at once."""


LIFE: Mapping[State, Mapping[Step, State]] = {
    State.PENDING: {
        Step.CONFIRM: State.CURRENT,
        Step.DOUBT: State.UNRESOLVED,
        Step.DROP: State.EXPIRED,
    },
    State.UNRESOLVED: {
        Step.CONFIRM: State.CURRENT,
        Step.DROP: State.EXPIRED,
        Step.REVOKE: State.EXPIRED,
    },
    State.CURRENT: {Step.SUPERSEDE: State.GRACE},
    State.GRACE: {
        Step.REINSTATE: State.CURRENT,
        Step.END: State.EXPIRED,
        Step.REVOKE: State.EXPIRED,
    },
    State.EXPIRED: {},
}
"""From a state, by a step, to the next. A version begins as pending, or at once as current."""


def after(state: State, step: Step) -> State | None:
    """Where the step leads from this state; None where it can't be taken."""
    return LIFE[state].get(step)
