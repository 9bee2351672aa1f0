"""What lies around: files with secrets that others can read, and copies of the master key."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.doctor.symptoms import Symptoms

_SENSITIVE = re.compile(
    r"\.env.*|.*\.env|.*\.key.*|.*\.pem.*|vault.*|audit\.jsonl.*|.*\.heads.*"
    r"|.*\.(?:bak|backup|old|orig|save|swp|tar|tgz|zip|dump|sql)(?:\..*)?|.*~",
    re.IGNORECASE,
)
"""Names of files that hold secrets, or names of secrets, or copies of such files."""

_PUBLIC = frozenset({"audit.sign.pub"})

MAX_KEY_BYTES = 4096
MAX_FILES = 10_000
"""Files that are looked at in a directory: more of them are another program's."""


def examine_leftovers(config: Config, config_path: Path | None, found: Symptoms) -> None:
    """The directories of state, key, configuration and policy, and nothing below them."""
    before = len(found.found)
    key = _bytes_of(config.paths.master_key_path)
    own = os.path.realpath(config.paths.master_key_path)
    for directory in _directories(config, config_path):
        for path, there in _files(directory, found):
            is_copy = key is not None and there.st_size == len(key) and path != own
            if is_copy and _bytes_of(Path(path)) == key:
                found.warn(
                    path,
                    "is a copy of the master key, which opens the vault",
                    f"keep it away from this machine; run: shred -u {shlex.quote(path)}",
                )
            _examine(path, there, found)
    if len(found.found) == before:
        found.ok("", "no file of secrets lies open beside state, configuration and policy")


def _examine(path: str, there: os.stat_result, found: Symptoms) -> None:
    name = os.path.basename(path)
    if name in _PUBLIC or not _SENSITIVE.fullmatch(name):
        return
    remedy = f"run: chmod go= {shlex.quote(path)}, or remove it"
    if there.st_mode & stat.S_IROTH:
        if _is_reachable(path):
            found.fault(path, "every user of this host can read it", remedy)
        else:
            found.warn(path, "only its directory keeps every user from reading it", remedy)
    elif there.st_mode & stat.S_IRGRP:
        found.warn(path, f"its group ({there.st_gid}) can read it", remedy)


def _is_reachable(path: str) -> bool:
    """Can every user get to it?"""
    above = Path(os.path.realpath(path)).parents
    return all(os.stat(directory).st_mode & stat.S_IXOTH for directory in above)


def _directories(config: Config, config_path: Path | None) -> tuple[str, ...]:
    paths = (
        config.paths.vault_path,
        config.paths.audit_path,
        config.paths.master_key_path,
        config.security.rbac_policy_path,
        *((config_path,) if config_path else ()),
    )
    return tuple(dict.fromkeys(os.path.realpath(path.parent) for path in paths))


def _files(directory: str, found: Symptoms) -> Iterator[tuple[str, os.stat_result]]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return  # whoever looks at the state says so
    except OSError as error:
        found.note(directory, f"not looked at: {error.strerror}", "run it as root")
        return
    if len(names) > MAX_FILES:
        found.note(directory, f"of its {len(names):,} files {MAX_FILES:,} were looked at")
    for name in names[:MAX_FILES]:
        path = os.path.join(directory, name)
        try:
            there = os.lstat(path)
        except OSError:
            continue  # it is gone again
        if stat.S_ISREG(there.st_mode):
            yield path, there


def _bytes_of(path: Path) -> bytes | None:
    """The bytes of a small file; None of one that is empty, large, or can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_KEY_BYTES + 1)
    return data if 0 < len(data) <= MAX_KEY_BYTES else None
