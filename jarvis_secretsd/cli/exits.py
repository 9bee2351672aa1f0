"""How `jarvis-secrets` ends: one exit status and one line for every failure."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from jarvis_secretsd.client import ConnectionLost, SecretsClientError
from jarvis_secretsd.client.errors import NoDaemon
from jarvis_secretsd.errors import SecretsError


class Exit(IntEnum):
    """The exit statuses; scripts branch on them, so a number never changes its meaning.

    `run` ends with the status of its command, and with 126 or 127 as a shell does (POSIX 2.8.2).
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    UNREACHABLE = 5
    UNAVAILABLE = 6
    CONFLICT = 7
    NOT_EXECUTABLE = 126
    COMMAND_NOT_FOUND = 127
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Refused(SecretsError):
    """What the command line itself won't do; nothing was done."""

    code = "refused"

    def __init__(self, message: str, status: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.status = status


class _Ending(NamedTuple):
    """How a failure ends, and what to do about it; `instead` of words that aren't for a person."""

    status: Exit
    advice: str = ""
    instead: str = ""


_ENDINGS = {
    "invalid_request": _Ending(Exit.USAGE),
    "too_large": _Ending(Exit.USAGE),
    "method_not_allowed": _Ending(Exit.USAGE),
    "not_found": _Ending(Exit.NOT_FOUND, "`jarvis-secrets list` shows what you may read"),
    "denied": _Ending(
        Exit.DENIED,
        "`jarvis-secrets whoami` shows your rights, `jarvis-secrets help denied` what to do",
    ),
    "client_required": _Ending(
        Exit.DENIED,
        "name it with --client ID or JARVIS_CLIENT_ID; `jarvis-secrets whoami` lists yours",
        instead="which client are you?",
    ),
    "bad_token": _Ending(Exit.DENIED, "`jarvis-secrets help denied` says where it goes"),
    "unreachable": _Ending(Exit.UNREACHABLE),
    "unavailable": _Ending(Exit.UNAVAILABLE, "it resumes by itself; repeat it later"),
    "rate_limited": _Ending(Exit.UNAVAILABLE, "wait a moment, then repeat it"),
    "conflict": _Ending(Exit.CONFLICT, "`jarvis-secrets list` shows what is there"),
}
"""The ending of each code of docs/wire.md; any other code is a plain failure."""


def status_of(error: SecretsClientError | SecretsError) -> Exit:
    """The exit status that this failure has."""
    if isinstance(error, Refused):
        return error.status
    return _ENDINGS.get(error.code, _Ending(Exit.FAILURE)).status


def explain(error: SecretsClientError | SecretsError) -> str:
    """One line: what it was about (the error's notes), what was wrong, what to do next."""
    ending = _ENDINGS.get(error.code, _Ending(Exit.FAILURE))
    text = ": ".join([*getattr(error, "__notes__", ()), ending.instead or error.message])
    joint = " " if text.endswith("?") else "; "
    return joint.join(filter(None, (text, _advice(error, ending))))


def _advice(error: SecretsClientError | SecretsError, ending: _Ending) -> str:
    """What to do about it: for some failures more than what their code says, or nothing more."""
    match error:
        case ConnectionLost():
            return "look what took effect before you repeat it"
        case NoDaemon():
            return "`jarvis-secrets help getting-started` says how to start one"
        case _:
            says_a_command = "`" in error.message and not ending.instead
            return "" if says_a_command else ending.advice
