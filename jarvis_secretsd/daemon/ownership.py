"""Whose directories the state lies in: a daemon keeps its files only in directories of its own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.errors import ConfigurationError


def insist_on_own(paths: PathsConfig) -> None:
    """Refuse a state that another user's directories hold. Raises ConfigurationError."""
    faults = tuple(foreign_directories(paths, os.geteuid(), os.getegid()))
    if faults:
        raise ConfigurationError(faults)


def foreign_directories(paths: PathsConfig, uid: int, gid: int) -> Iterator[str]:
    """For each directory of the state that isn't `uid`'s: whose it is, and what mends it.

    One that is missing or can't be looked at isn't judged: who opens it says why.
    """
    for directory in dict.fromkeys(path.parent for path in (paths.vault_path, paths.audit_path)):
        with suppress(OSError):
            found = os.stat(directory)
            if found.st_uid != uid:
                yield _fault(directory, found, uid, gid)


def _fault(directory: Path, found: os.stat_result, uid: int, gid: int) -> str:
    remedy = f"run: chown -R {uid}:{gid} {shlex.quote(str(directory))}"
    if found.st_uid != 0:
        user = f'user: "{found.st_uid}:{found.st_gid}"'
        remedy += f" (or start this as its owner; in a Compose file: {user})"
    return f"{directory} belongs to uid {found.st_uid}, not to uid {uid}, who runs this; {remedy}"
