"""How `jarvis-secrets` ends: one exit status and one line for every failure."""

from __future__ import annotations

from enum import IntEnum

from jarvis_secretsd.client import (
    AccessDenied,
    BadRequest,
    Conflict,
    ConnectionLost,
    DaemonUnavailable,
    DaemonUnreachable,
    SecretNotFound,
    SecretsClientError,
)
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


_NEXT = {
    "client_required": "name yours with --client ID or JARVIS_CLIENT_ID",
    "bad_token": "JARVIS_SECRETS_TOKEN_FILE names the file with the token",
    "denied": "`jarvis-secrets whoami` shows your rights",
    "not_found": "`jarvis-secrets list` shows what you may read",
    "conflict": "it was changed meanwhile; look, then repeat",
    "unavailable": "it resumes by itself; `jarvis-secrets health` shows its state",
    "rate_limited": "wait a moment, then repeat",
}


def status_of(error: SecretsClientError | SecretsError) -> Exit:
    """The exit status that this failure has."""
    match error:
        case Refused():
            return error.status
        case BadRequest():
            return Exit.USAGE
        case SecretNotFound():
            return Exit.NOT_FOUND
        case AccessDenied():
            return Exit.DENIED
        case DaemonUnreachable():
            return Exit.UNREACHABLE
        case DaemonUnavailable():
            return Exit.UNAVAILABLE
        case Conflict():
            return Exit.CONFLICT
        case _:
            return Exit.FAILURE


def explain(error: SecretsClientError | SecretsError) -> str:
    """One line: what it was about (the error's notes), what was wrong, what to do next."""
    text = ": ".join([*getattr(error, "__notes__", ()), error.message])
    advice = _NEXT.get(error.code, "")
    if isinstance(error, ConnectionLost):
        advice = "look what took effect before you repeat it"
    return f"{text}; {advice}" if advice else text
