"""Why a connection didn't come about, for the person who can change that."""

from __future__ import annotations

import os
import stat
from grp import getgrgid
from pathlib import Path
from pwd import getpwuid
from typing import TYPE_CHECKING

from jarvis_secretsd.client.address import UnixAddress
from jarvis_secretsd.client.errors import DaemonUnreachable, NoDaemon

if TYPE_CHECKING:
    from jarvis_secretsd.client.url import Address


def cannot_connect(address: Address, error: OSError) -> DaemonUnreachable:
    """What went wrong at this address, and what to do about it."""
    is_absent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
    kind = NoDaemon if is_absent else DaemonUnreachable
    return kind(f"can't reach the daemon at {address}: {_why(address, error)}")


def _why(address: Address, error: OSError) -> str:
    match error:
        case PermissionError() if isinstance(address, UnixAddress):
            return _who_may(Path(address))
        case FileNotFoundError():
            return "there is no such socket; is the daemon running, and is this its socket_path?"
        case ConnectionRefusedError():
            return "nothing listens there; is the daemon running?"
        case TimeoutError() | BlockingIOError():
            return "it takes no connection; is it stopped or overloaded?"
        case _:
            return error.strerror or str(error)


def _who_may(path: Path) -> str:
    """What stands in the way: the first directory that can't be entered, or the socket itself."""
    for directory in reversed(path.parents):
        if not os.access(directory, os.X_OK):
            return _permissions(directory, stat.S_IXGRP, "enter it")
    return _permissions(path, stat.S_IWGRP, "connect to it")


def _permissions(path: Path, group_bit: int, act: str) -> str:
    found = path.stat()
    user, owner = _user(os.geteuid()), _user(found.st_uid)
    group = _group(found.st_gid)
    text = f"{path} is {owner}:{group} {stat.S_IMODE(found.st_mode):04o}, and {user} may not {act}"
    if found.st_mode & group_bit:
        return f"{text}; join the group (usermod -aG {group} {user}) and log in anew"
    return f"{text}; its group may not either"


def _user(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
