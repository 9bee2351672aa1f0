"""What a hook is told, what it may answer, and what its end means."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Struct

from jarvis_secretsd.domain.secret import Version
from jarvis_secretsd.values import SecretName, SecretValue

UNCHANGED = 69
"""The exit status of a hook that changed nothing: EX_UNAVAILABLE of sysexits.h. It is none that a
shell, an interpreter or a signal gives by accident, for then the far end may have the new value."""

MAX_ANSWER_BYTES = 4096
"""Of what a hook prints so much is kept, until its answer is read from it."""

Outcome = Literal["confirm", "drop", "doubt"]


class Action(StrEnum):
    """What a hook is asked for."""

    ROTATE = "rotate"
    """Give the far end the new value."""
    VERIFY = "verify"
    """Change nothing, and say which value the far end takes."""


class Reason(StrEnum):
    """Why a hook failed, in the only words of its own that are told to anybody."""

    UNREACHABLE = "unreachable"
    DENIED = "denied"
    REJECTED = "rejected"
    MISCONFIGURED = "misconfigured"


class HookInput(Struct, frozen=True, omit_defaults=True):
    """The JSON object on a hook's standard input; an encoding is "base64", or missing for text."""

    action: Action
    name: str
    kid: str
    previous_kid: str
    value: str
    previous_value: str
    encoding: str | None = None
    previous_encoding: str | None = None


class HookAnswer(Struct, frozen=True, omit_defaults=True):
    """The JSON object that a hook may print, and must when it is asked to verify."""

    live: Literal["new", "previous"] | None = None
    reason: Reason | None = None


class Ending(Struct, frozen=True):
    """How a hook ended: `status` as subprocess has it, a signal negative; None: it never ran.

    `cut` says why it was killed by us, `printed` are the bytes on its standard output, and `answer`
    the first of them.
    """

    status: int | None
    cut: str = ""
    printed: int = 0
    answer: bytes = b""

    def __str__(self) -> str:
        if self.cut:
            return self.cut
        if self.status is None:
            return "couldn't be run"
        how = f"exit status {self.status}" if self.status >= 0 else f"signal {-self.status}"
        reason = _answer(self).reason
        return f"{how}, {reason}" if reason else how


def told(action: Action, name: SecretName, new: Version, previous: Version) -> bytes:
    """What the hook reads. Here both values leave, to the program that the configuration names."""
    asked = HookInput(
        action,
        str(name),
        str(new.kid),
        str(previous.kid),
        *(_text(new.value), _text(previous.value)),
        encoding=_encoding(new.value),
        previous_encoding=_encoding(previous.value),
    )
    return msgspec.json.encode(asked)


def judged(action: Action, ending: Ending) -> Outcome | None:
    """What became of the new version; None: nobody knows yet, and the hook must be asked."""
    if action is Action.VERIFY:
        live = _answer(ending).live if ending.status == 0 else None
        return "doubt" if live is None else "confirm" if live == "new" else "drop"
    if ending.status == 0:
        return "confirm"
    return "drop" if ending.status in (None, UNCHANGED) else None


def _answer(ending: Ending) -> HookAnswer:
    try:
        return msgspec.json.decode(ending.answer, type=HookAnswer)
    except ValueError:  # msgspec's errors, and bytes that aren't UTF-8
        return HookAnswer()


def _text(value: SecretValue) -> str:
    return value.reveal_text() if value.is_text else base64.b64encode(value.reveal()).decode()


def _encoding(value: SecretValue) -> str | None:
    return None if value.is_text else "base64"
