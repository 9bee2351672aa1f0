"""The Unix socket's file: who may put it there, what it replaces, and when it goes."""

from __future__ import annotations

import os
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from jarvis_secretsd.daemon.accounts import group_named
from jarvis_secretsd.daemon.files import opened_parent
from jarvis_secretsd.errors import AlreadyRunning, ConfigurationError, StartRefused, UnsafeFile

BIND_UMASK = 0o177
"""What bind(2) makes is 0600 until its mode is set; nobody connects before we listen anyway."""


class SocketFile:
    """A bound Unix socket, and the file that it made. It removes that file and no other."""

    def __init__(self, sock: socket.socket, path: Path, identity: tuple[int, int]) -> None:
        self.socket = sock
        self._path = path
        self._identity = identity

    @classmethod
    def bind(cls, path: Path, mode: int, group: str | None) -> Self:
        """A bound socket that doesn't listen yet, its file with this mode and group.

        The caller's lock says that no other daemon has the vault, so a socket of ours where nobody
        accepts is left from a crash, and is replaced. Nothing else ever is. Raises StartRefused,
        UnsafeFile, AlreadyRunning, ConfigurationError.
        """
        gid = -1 if group is None else _gid_of(group)
        with _directory_of(path) as (directory, name):
            _make_way(path, name, directory)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                _bind(sock, path)
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                self = cls(sock, path, (found.st_dev, found.st_ino))
            except OSError as error:
                sock.close()
                raise StartRefused(f"{path}: {_bind_fault(error, path.parent)}") from error
            try:
                _give_access(name, directory, mode, gid)
            except PermissionError as error:
                self.close()
                raise _not_in_group(group) from error
        return self

    def close(self) -> None:
        """Close the socket, and remove its file if it is still the one that we made."""
        try:
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._identity:
                os.unlink(self._path)
        except FileNotFoundError:
            pass
        finally:
            self.socket.close()


@contextmanager
def _directory_of(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with opened_parent(path) as found:
            yield found
    except FileNotFoundError as error:
        directory = shlex.quote(str(path.parent))
        raise StartRefused(
            f"{path}: its directory isn't there;"
            f" run: install -d -m 0755 -o {os.geteuid()} {directory}"
        ) from error


def _make_way(path: Path, name: str, directory: int) -> None:
    """Remove a socket of ours that nobody accepts on; refuse to touch anything else."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise UnsafeFile(f"{path} is there and is not a socket; move it away, or set socket_path")
    if found.st_uid != os.geteuid():
        raise UnsafeFile(
            f"{path} is a socket of uid {found.st_uid}; if nobody needs it, run:"
            f" rm {shlex.quote(str(path))}"
        )
    if _somebody_accepts(path):
        raise AlreadyRunning(
            f"{path}: another process listens there; who: ss -lxp src {shlex.quote(str(path))}"
        )
    os.unlink(name, dir_fd=directory)


def _somebody_accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # its queue is full, or it can't be told: not proven stale
    return True


def _bind(sock: socket.socket, path: Path) -> None:
    before = os.umask(BIND_UMASK)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)


def _bind_fault(error: OSError, directory: Path) -> str:
    fault = os.strerror(error.errno or 0)
    if isinstance(error, PermissionError):
        fault += f"; run: chown {os.geteuid()} {shlex.quote(str(directory))}"
    return fault


def _give_access(name: str, directory: int, mode: int, gid: int) -> None:
    if gid != -1:
        os.chown(name, -1, gid, dir_fd=directory, follow_symlinks=False)
    os.chmod(name, mode, dir_fd=directory)


def _gid_of(group: str) -> int:
    gid = group_named(group)
    if gid is None:
        raise ConfigurationError(
            (f"server.socket_group: there is no group {group!a}; run: groupadd {group}",)
        )
    return gid


def _not_in_group(group: str | None) -> ConfigurationError:
    return ConfigurationError(
        (
            f"server.socket_group: uid {os.geteuid()} is not in {group}, so it can't give the"
            f" socket to it; run: usermod -aG {group} USER",
        )
    )
