"""Every failure of the program, each with its stable code.

A code is a contract: clients branch on it, so it never changes its spelling. Which HTTP status a
code has is the wire's business (`wire.http`), which exit status it has is the command line's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Why the daemon can't answer now, as it stands in an `unavailable` reply and in `health`."""

    AUDIT_UNWRITABLE = "audit_unwritable"
    STORAGE_FULL = "storage_full"
    STORAGE_FAILED = "storage_failed"
    LOCKED = "locked"


class SecretsError(Exception):
    """A failure that is told to whoever asked: `code` for programs, `message` for people."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(SecretsError):
    """The request asks for something that can't be meant."""

    code = "invalid_request"


class ClientRequired(SecretsError):
    """The operation needs a client id and none was given."""

    code = "client_required"


class BadToken(SecretsError):
    """A token is missing, unknown, ended, or not for this client."""

    code = "bad_token"


class Denied(SecretsError):
    """The policy says no.

    `rule` is for the audit entry and the log, `remedy` (the line of policy that would allow it) for
    the log; neither is for the caller.
    """

    code = "denied"

    def __init__(
        self, message: str = "the policy does not allow this", rule: str = "", remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.rule = rule
        self.remedy = remedy


class NotFound(SecretsError):
    """No such secret, or no such version of it."""

    code = "not_found"


class MethodNotAllowed(SecretsError):
    """The path exists, but not with this HTTP method. `allow` lists those it has."""

    code = "method_not_allowed"

    def __init__(self, message: str, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class Conflict(SecretsError):
    """What is stored isn't what the request expected."""

    code = "conflict"


class TooLarge(SecretsError):
    """A limit on size was exceeded; the message names it."""

    code = "too_large"


class RateLimited(SecretsError):
    """This uid has used up its share; later requests may pass."""

    code = "rate_limited"


class Internal(SecretsError):
    """A fault of ours. The message says nothing of the inside."""

    code = "internal"


class InvalidToken(SecretsError):
    """A JWT that doesn't verify; the message says why."""

    code = "invalid_token"


class Unavailable(SecretsError):
    """The daemon can't answer now; `reason` says why, and it resumes by itself."""

    code = "unavailable"

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(message or f"not available now: {reason}")
        self.reason = reason


class MalformedInput(SecretsError):
    """Bytes that follow no rule of the wire: the peer gets a last word and the connection ends."""

    code = "invalid_request"


class StartRefused(SecretsError):
    """The daemon can't start until a person has mended something; the message says what and how."""

    code = "start_refused"


class ConfigurationError(StartRefused):
    """Configuration or policy is wrong. `problems` holds every fault found, one a line."""

    code = "configuration"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnsafeFile(StartRefused):
    """A file, its owner, mode, links or parents are not what the daemon may trust."""

    code = "unsafe_file"


class KeyRefused(StartRefused):
    """No key at hand opens the vault; the message names the slots."""

    code = "key_refused"


class StateRefused(StartRefused):
    """Vault and audit log contradict each other: one was turned back, cut off or swapped."""

    code = "state_refused"


class BackupBroken(SecretsError):
    """A file is no backup, or not what was written when it was taken; nothing was done with it."""

    code = "backup_broken"


class AlreadyRunning(StartRefused):
    """Another process holds this vault."""

    code = "already_running"


class StorageFull(SecretsError):
    """The disk took no more; nothing of the write is left behind."""

    code = "storage_full"


class StorageFailed(SecretsError):
    """The disk refused a write for another reason than space; nothing of it is left behind."""

    code = "storage_failed"


class SyncFailed(SecretsError):
    """A sync failed. What the disk holds is unknown from here on, so the process must end."""

    code = "sync_failed"
