"""Is a hook's program there, can we run it, and can nobody else exchange it?"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence

from jarvis_secretsd.daemon.config import HookConfig
from jarvis_secretsd.daemon.files import MAX_LINKS, opened_parent
from jarvis_secretsd.daemon.findings import Findings
from jarvis_secretsd.errors import SecretsError, UnsafeFile


def inspect_hooks(hooks: Sequence[HookConfig], found: Findings) -> None:
    """Each hook's program, as `rotate` would find it."""
    for place, hook in enumerate(hooks):
        fault = program_fault(hook.command[0])
        if fault is not None:
            found.error(f"hooks[{place}].command: {fault}")


def program_fault(path: str) -> str | None:
    """Why this program isn't run, with the remedy; None where it may be.

    It is given secrets, so only root and we may be able to write it, or the links on the way to it.
    """
    try:
        _check(path)
    except FileNotFoundError:
        return f"{path} isn't there; install it, or mend the command"
    except SecretsError as error:
        return error.message
    return None


def _check(path: str) -> None:
    for _ in range(MAX_LINKS):
        with opened_parent(path) as (directory, name):
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if there.st_uid not in {0, os.geteuid()}:
                raise UnsafeFile(
                    f"{path} belongs to uid {there.st_uid}; run: {_run('chown 0', path)}"
                )
            if not stat.S_ISLNK(there.st_mode):
                _check_file(path, there, may_run=_may_run(name, directory))
                return
            path = os.path.join(os.path.dirname(path), os.readlink(name, dir_fd=directory))
    raise UnsafeFile(f"{path}: too many links on its way")


def _check_file(path: str, there: os.stat_result, *, may_run: bool) -> None:
    if not stat.S_ISREG(there.st_mode):
        raise UnsafeFile(f"{path} isn't a file")
    if there.st_mode & 0o022:
        raise UnsafeFile(f"{path} can be written by others; run: {_run('chmod go-w', path)}")
    if not may_run:
        who = os.geteuid()
        raise UnsafeFile(f"{path} can't be run by uid {who}; run: {_run('chmod +x', path)}")


def _may_run(name: str, directory: int) -> bool:
    return os.access(name, os.X_OK, dir_fd=directory, effective_ids=True)


def _run(command: str, path: str) -> str:
    return f"{command} {shlex.quote(path)}"
