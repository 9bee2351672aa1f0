"""A directory in memory that holds secrets as files, all of them ours.

A file is replaced by another of its name (rename(2)), so that who opens it reads the old value or
the new one, whole. What is there already as it should be isn't touched: it may be mounted alone.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.daemon.files import opened_parent, storage_errors, temporary_name, write_all
from jarvis_secretsd.daemon.mounts import mounts_of

MARK = ".jarvis-secrets"
"""The file that says that all others beside it are ours to remove."""

IN_MEMORY = frozenset({"tmpfs", "ramfs"})

_READ_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Look(Struct, frozen=True):
    """How each file is to be; an id of -1 is whatever the kernel gives a new file of ours."""

    uid: int
    gid: int
    mode: int

    @property
    def is_shared(self) -> bool:
        """Whether others than we have to get at the files."""
        return self.uid not in {-1, os.geteuid()} or bool(self.mode & 0o077)

    def is_of(self, found: os.stat_result) -> bool:
        """Whether a file looks like that, and has one name."""
        return (
            stat.S_ISREG(found.st_mode)
            and stat.S_IMODE(found.st_mode) == self.mode
            and self.uid in {-1, found.st_uid}
            and self.gid in {-1, found.st_gid}
            and found.st_nlink == 1
        )


class FolderGone(Refused):
    """Somebody has removed the directory."""


class Folder:
    """The directory of this descriptor. Raises Refused, StorageFull and StorageFailed."""

    def __init__(self, path: str, descriptor: int, look: Look) -> None:
        self.path = path
        self._descriptor = descriptor
        self._look = look

    def hold(self, file: str, data: bytes) -> bool:
        """Have exactly these bytes in the file; whether that was new."""
        with storage_errors(os.path.join(self.path, file)):
            if self._read(file, len(data) + 1) == data:
                return False
            temporary = temporary_name(file)
            try:
                self._write(temporary, data)
                self._put_in_place(temporary, file)
            except FileNotFoundError:
                raise FolderGone(f"{self.path} was removed; start again") from None
            except BaseException:
                self.remove(temporary)
                raise
        return True

    def remove(self, file: str) -> None:
        """Have no such file."""
        with suppress(FileNotFoundError), storage_errors(os.path.join(self.path, file)):
            os.unlink(file, dir_fd=self._descriptor)

    def sweep(self, held: Container[str]) -> None:
        """Remove every file but those, and what a crash left."""
        for found in os.listdir(self._descriptor):
            if found != MARK and found not in held:
                self.remove(found)

    def claim(self) -> None:
        """Make sure that it is ours alone, now and later; where it isn't, nothing is changed."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{self.path} is kept by another `jarvis-secrets files`") from None
        found = os.listdir(self._descriptor)
        if MARK in found:
            return
        if found:
            raise Refused(
                f"{self.path} holds {min(found)}, which isn't ours; give the secrets a directory "
                "of their own"
            )
        with storage_errors(self.path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(MARK, flags, 0o600, dir_fd=self._descriptor))

    def _read(self, file: str, limit: int) -> bytes | None:
        """What is in it, if it looks as it should and is ours to read."""
        try:
            descriptor = os.open(file, _READ_SAFELY, dir_fd=self._descriptor)
        except OSError:
            return None
        try:
            if not self._look.is_of(os.fstat(descriptor)):
                return None
            with open(descriptor, "rb", closefd=False) as opened:
                return opened.read(limit)
        finally:
            os.close(descriptor)

    def _write(self, file: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600, dir_fd=self._descriptor)
        try:
            os.fchmod(descriptor, self._look.mode)  # first: of another's file only root may
            self._give_away(descriptor)
            write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def _give_away(self, descriptor: int) -> None:
        try:
            os.fchown(descriptor, self._look.uid, self._look.gid)
        except PermissionError:
            whom = f"uid {self._look.uid}" if self._look.uid != -1 else f"gid {self._look.gid}"
            raise Refused(
                f"can't give a file to {whom}: that takes root (CAP_CHOWN); run it so, or leave "
                "out --owner"
            ) from None

    def _put_in_place(self, temporary: str, file: str) -> None:
        here = self._descriptor
        try:
            os.rename(temporary, file, src_dir_fd=here, dst_dir_fd=here)
        except IsADirectoryError:
            raise Refused(
                f"{os.path.join(self.path, file)} is a directory, as Docker makes one where it "
                "mounts what isn't there yet; remove it, and start this before the containers"
            ) from None


@contextmanager
def opened_folder(path: str, look: Look, *, allow_disk: bool) -> Iterator[Folder]:
    """The directory, made if it isn't there, for us alone until the block ends.

    Raises UnsafeFile where somebody else could exchange it, and Refused where it isn't in memory
    or holds what isn't ours.
    """
    _make(path, 0o711 if look.is_shared else 0o700, allow_disk=allow_disk)
    with opened_parent(os.path.join(path, MARK)) as (descriptor, _):
        if os.fstat(descriptor).st_mode & 0o022:
            raise Refused(f"{path} is a directory that others can write to; use one below it")
        if not allow_disk:
            _check_in_memory(path, descriptor)
        folder = Folder(path, descriptor, look)
        folder.claim()
        yield folder


def _make(path: str, mode: int, *, allow_disk: bool) -> None:
    try:
        with opened_parent(path) as (parent, name), suppress(FileExistsError):
            if not os.path.lexists(path) and not allow_disk:
                _check_in_memory(path, parent)
            os.mkdir(name, 0o700, dir_fd=parent)
            os.chmod(name, mode, dir_fd=parent)
    except FileNotFoundError:
        above = os.path.dirname(os.path.abspath(path))
        raise Refused(f"{above} isn't there; make it with mkdir -p") from None


def _check_in_memory(path: str, descriptor: int) -> None:
    kind = _file_system(descriptor)
    if kind not in IN_MEMORY:
        raise Refused(
            f"{path} is not in memory but on {kind or 'an unknown file system'}, where deleted "
            "secrets stay; use a directory below /run, or say --allow-disk"
        )


def _file_system(descriptor: int) -> str:
    """The type of the file system that it is on; "" if nothing says it."""
    number = os.fstat(descriptor).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    seen = (one.file_system for one in mounts_of(Path("/proc/self")) if one.device == device)
    return next(seen, "")
