"""What a program that asks for secrets may have to catch, each with the daemon's stable code."""

from __future__ import annotations

TYPE_CHECKING = False  # see values.py
if TYPE_CHECKING:
    from jarvis_secretsd.errors import Reason
    from jarvis_secretsd.messages import Failure


class SecretsClientError(Exception):
    """Why a call gave nothing: `code` (docs/wire.md) for programs, `message` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BadRequest(SecretsClientError):
    """What was asked can't be meant: a name that is none, a value that is too large."""


class SecretNotFound(SecretsClientError):
    """No such secret, or no such version of it."""


class AccessDenied(SecretsClientError):
    """The policy says no, or doesn't know who asks (codes `client_required` and `bad_token`)."""


class Conflict(SecretsClientError):
    """What is stored isn't what `expect_kid` said."""


class InvalidToken(SecretsClientError):
    """A JWT doesn't hold; the message says why."""


class DaemonUnavailable(SecretsClientError):
    """The daemon answers that it can't now; `reason` says why. It resumes by itself."""

    def __init__(self, code: str, message: str, reason: Reason | None = None) -> None:
        super().__init__(code, message)
        self.reason = reason


class DaemonUnreachable(SecretsClientError):
    """Nothing answers as a daemon would, or not in time. `code` is `unreachable`."""

    def __init__(self, message: str) -> None:
        super().__init__("unreachable", message)


class NoDaemon(DaemonUnreachable):
    """Nothing listens there yet, or any more: to wait may help."""


class UntrustedDaemon(DaemonUnreachable):
    """Somebody listens on the port who may not be told a secret; nothing was sent to him."""


class ConnectionLost(DaemonUnreachable):
    """The daemon was asked and the connection ended first: nobody here knows whether it acted."""


def error_of(failure: Failure) -> SecretsClientError:
    """The exception that this reply is."""
    match failure.code:
        case "not_found":
            kind: type[SecretsClientError] = SecretNotFound
        case "denied" | "client_required" | "bad_token":
            kind = AccessDenied
        case "invalid_request" | "too_large" | "method_not_allowed":
            kind = BadRequest
        case "conflict":
            kind = Conflict
        case "invalid_token":
            kind = InvalidToken
        case "unavailable" | "rate_limited":
            return DaemonUnavailable(failure.code, failure.message, failure.reason)
        case _:
            kind = SecretsClientError
    return kind(failure.code, failure.message)
