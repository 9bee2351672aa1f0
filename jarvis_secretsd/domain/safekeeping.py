"""Locking the vault, so that nothing leaves it, and what it knows of its backups."""

from __future__ import annotations

import re
from datetime import datetime
from typing import assert_never

from jarvis_secretsd.domain.changes import BackedUp, VaultLocked, VaultUnlocked
from jarvis_secretsd.domain.host import Host
from jarvis_secretsd.domain.operations import Done, Setting
from jarvis_secretsd.errors import InvalidRequest
from jarvis_secretsd.messages import AuditHeadStatus, Backup, Lock, LockStatus, Unlock

_DIGEST = re.compile(r"[0-9a-f]{64}")


def keep_safe(operation: Lock | Unlock | Backup, setting: Setting, host: Host) -> Done:
    """What an admin does with the vault as a whole.

    Raises InvalidRequest for a digest that is none.
    """
    match operation:
        case Lock():
            return _lock(setting)
        case Unlock():
            return _unlock(setting)
        case Backup(taken):
            return backup(taken, setting.now, host.audit_head())
        case _:
            assert_never(operation)


def _lock(setting: Setting) -> Done:
    """Nothing is released from now on. One that is locked stays so since it was."""
    if setting.vault.lock is not None:
        _, locked = setting.vault.lock
        return Done(LockStatus(True, locked.at), note="unchanged")
    return Done(LockStatus(True, setting.now), VaultLocked(setting.now))


def _unlock(setting: Setting) -> Done:
    """What the policy allows is released again."""
    if setting.vault.lock is None:
        return Done(LockStatus(False), note="unchanged")
    return Done(LockStatus(False), VaultUnlocked())


def backup(taken: str | None, now: datetime, head: AuditHeadStatus) -> Done:
    """Where log and vault end, for who copies them up to there; and then, that this was done.

    Raises InvalidRequest for a digest that is none.
    """
    if taken is None:
        return Done(head, note=f"up to entry {head.seq}")
    if _DIGEST.fullmatch(taken) is None:
        raise InvalidRequest("taken is the SHA-256 of the backup in 64 hex digits")
    return Done(head, BackedUp(now), note=f"taken: sha256 {taken}")
