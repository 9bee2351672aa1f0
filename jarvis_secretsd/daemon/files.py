"""Careful opens: no link is followed, and every check is made on the descriptor that is then used.

The way to a file is walked directory by directory (openat(2)), so that what was checked is what is
used. A link on the way is followed only if root or we made it; the last component never is.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from jarvis_secretsd.errors import SecretsError, StorageFailed, StorageFull, SyncFailed, UnsafeFile

MAX_LINKS = 40
"""Links on the way to one file, as the kernel counts them (path_resolution(7))."""

MAX_REPLACED = 100
"""Times that a file may be replaced under our hands: a daemon does it once a second at most."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNSAFE = frozenset(
    {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM}
)

AnyPath = str | os.PathLike[str]
Check = Callable[[str, os.stat_result], None]


def open_private(path: AnyPath, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file that is ours alone: regular, 0600 or 0400, one link.

    Raises FileNotFoundError, UnsafeFile with the remedy, or StorageFailed.
    """
    return _open_checked(path, flags, _check_private)


def read_private(path: AnyPath, limit: int) -> bytes:
    """What is in a file that is ours alone; UnsafeFile if that is more than `limit` bytes."""
    return _read(path, limit, _check_private)


def read_trusted(path: AnyPath, limit: int) -> bytes:
    """What is in a file that only root or we can have written; UnsafeFile over `limit` bytes."""
    return _read(path, limit, _check_trusted)


def read_credential(name: str, limit: int) -> bytes:
    """A credential from `$CREDENTIALS_DIRECTORY` (systemd.exec(5)). FileNotFoundError if unset."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise FileNotFoundError(errno.ENOENT, "no $CREDENTIALS_DIRECTORY for the credential", name)
    if name in {"", ".", ".."} or "/" in name:
        raise UnsafeFile(f"a credential's name is one file name, not {name!r}")
    return _read(os.path.join(directory, name), limit, _check_credential)


def create_private(path: AnyPath, data: bytes, mode: int = 0o600) -> None:
    """A new durable file with these bytes. FileExistsError if anything is there already."""
    with opened_parent(path) as (directory, name), storage_errors(path):
        _write_new(directory, name, (data,), mode)
        _sync(directory, path)


def replace_private(path: AnyPath, data: bytes, mode: int = 0o600) -> None:
    """Durably put these bytes at the path: whoever looks finds the old file or the new, whole."""
    os.close(replace_chunks(path, (data,), mode))


def replace_chunks(path: AnyPath, chunks: Iterable[bytes], mode: int = 0o600) -> int:
    """As `replace_private`, for bytes that come in pieces; returns the new file's descriptor.

    The caller closes the descriptor, which is open for reading and appending.
    """
    descriptor, temporary = begin_private(path, chunks, mode)
    try:
        take_place(path, temporary)
    except BaseException:
        give_up(path, descriptor, temporary)
        raise
    return descriptor


def begin_private(path: AnyPath, chunks: Iterable[bytes], mode: int = 0o600) -> tuple[int, str]:
    """A durable new file beside the path, to take its place later: descriptor and name."""
    with opened_parent(path) as (directory, name), storage_errors(path):
        temporary = temporary_name(name)
        return _write_new(directory, temporary, chunks, mode, keep=True), temporary


def temporary_name(name: str) -> str:
    """What a new file is called that is to take this one's place; `sweep` knows it by that."""
    return f".{name}.{secrets.token_hex(8)}.new"


def take_place(path: AnyPath, temporary: str) -> None:
    """Durably rename what `begin_private` made over the path; the caller has synced it.

    If it raises, `give_up` is the caller's to call.
    """
    with opened_parent(path) as (directory, name), storage_errors(path):
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        _sync(directory, path)


def give_up(path: AnyPath, descriptor: int, temporary: str) -> None:
    """Close and remove what `begin_private` made, as far as it is there."""
    os.close(descriptor)
    with opened_parent(path) as (directory, _), suppress(OSError):
        os.unlink(temporary, dir_fd=directory)


def sweep(path: AnyPath) -> None:
    """Remove what a crash left of new files for this path."""
    with opened_parent(path) as (directory, name), storage_errors(path):
        for found in os.listdir(directory):
            if found.startswith(f".{name}.") and found.endswith(".new"):
                os.unlink(found, dir_fd=directory)


@contextmanager
def opened_parent(path: AnyPath) -> Iterator[tuple[int, str]]:
    """The descriptor of the file's directory, and the file's name in it, after checking the way.

    Raises UnsafeFile if anyone but root and us could exchange a directory on the way; a sticky
    directory (`/tmp`) is no such place.
    """
    with storage_errors(path):
        parent, name = os.path.split(os.path.abspath(path))
        descriptor = _walk(parent)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: AnyPath) -> Iterator[None]:
    """Translate what the kernel says about a file: UnsafeFile, StorageFull or StorageFailed.

    FileNotFoundError and FileExistsError pass, since they are answers.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: AnyPath, error: OSError) -> SecretsError:
    """The error of ours that stands for this OSError about this file."""
    reason = os.strerror(error.errno or errno.EIO)
    if error.errno in _FULL:
        return StorageFull(f"{path}: {reason}; make room, then it goes on by itself")
    if error.errno == errno.ELOOP:
        return UnsafeFile(f"{path} is a link; put the file itself there")
    if error.errno in _UNSAFE:
        look = f"look at `namei -l {shlex.quote(os.fspath(path))}`"
        if error.errno == errno.EACCES:
            reason += f" for uid {os.geteuid()}"
            look += ", or use sudo" if os.getuid() else ""
        return UnsafeFile(f"{path}: {reason}; {look}")
    if error.errno == errno.EROFS:
        reason += "; a unit of systemd writes elsewhere than its state by ReadWritePaths= only"
    return StorageFailed(f"{path}: {reason}")


def _open_checked(path: AnyPath, flags: int, check: Check) -> int:
    # O_NONBLOCK: a FIFO at the path must be refused, not waited for.
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    with opened_parent(path) as (directory, name), storage_errors(path):
        descriptor, found = _open_present(name, flags, directory)
    try:
        check(os.fspath(path), found)
    except UnsafeFile:
        os.close(descriptor)
        raise
    return descriptor


def _open_present(name: str, flags: int, directory: int) -> tuple[int, os.stat_result]:
    """Open what is there now: between open and look a daemon that runs may have replaced it."""
    for attempt in range(MAX_REPLACED):
        descriptor = os.open(name, flags, dir_fd=directory)
        found = os.fstat(descriptor)
        if found.st_nlink or attempt == MAX_REPLACED - 1:
            break
        os.close(descriptor)
    return descriptor, found


def _read(path: AnyPath, limit: int, check: Check) -> bytes:
    descriptor = _open_checked(path, os.O_RDONLY, check)
    with os.fdopen(descriptor, "rb", buffering=0) as file, storage_errors(path):
        parts: list[bytes] = []
        left = limit + 1
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
    if not left:
        raise UnsafeFile(f"{path} is larger than the {limit:,} bytes that it may have")
    return b"".join(parts)


def _write_new(
    directory: int, name: str, chunks: Iterable[bytes], mode: int, *, keep: bool = False
) -> int:
    """Write and sync a file that wasn't there; nothing stays of one that couldn't be written."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        for chunk in chunks:
            write_all(descriptor, chunk)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):  # the first error is the one to tell
            os.unlink(name, dir_fd=directory)
        raise
    if not keep:
        os.close(descriptor)
    return descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, in as many writes as it takes. OSError passes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(descriptor: int, path: AnyPath) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise SyncFailed(f"{path}: sync failed: {os.strerror(error.errno or 0)}") from error


def _walk(directory: str) -> int:
    """A descriptor of the directory, reached from the root by steps that were each checked."""
    rest = [name for name in reversed(directory.split("/")) if name]
    here, descriptor, links = "/", _open_step("/", None), 0
    try:
        _check_directory(here, os.fstat(descriptor))
        while rest:
            name = rest.pop()
            there, step = os.path.join(here, name), _open_step(name, descriptor)
            try:
                target = _link_target(there, step)
                if target is None:
                    _check_directory(there, os.fstat(step))
                    here, descriptor, step = there, step, descriptor
                    continue
            finally:
                os.close(step)
            links += 1
            if links > MAX_LINKS:
                _refuse(directory, "has too many links on its way")
            if target.startswith("/"):
                root = _open_step("/", None)
                os.close(descriptor)
                here, descriptor = "/", root
            rest.extend(name for name in reversed(target.split("/")) if name)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _open_step(name: str, directory: int | None) -> int:
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _link_target(path: str, descriptor: int) -> str | None:
    found = os.fstat(descriptor)
    if not stat.S_ISLNK(found.st_mode):
        return None
    if not _root_or_ours(found):
        _refuse(path, f"is a link made by uid {found.st_uid}", f"rm {_quoted(path)}")
    return os.readlink("", dir_fd=descriptor)


def _check_directory(path: str, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        _refuse(path, "is not a directory")
    if not _root_or_ours(found):
        _refuse(path, f"belongs to uid {found.st_uid}", f"chown {os.geteuid()} {_quoted(path)}")
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        _refuse(path, "is a directory that others can write to", f"chmod go-w {_quoted(path)}")


def _check_private(path: str, found: os.stat_result) -> None:
    _check_regular(path, found)
    if found.st_uid != os.geteuid():
        _refuse(
            path,
            f"belongs to uid {found.st_uid}, not to uid {os.geteuid()}, who runs this",
            f"chown {os.geteuid()} {_quoted(path)}",
        )
    if stat.S_IMODE(found.st_mode) & ~0o600:
        _refuse(path, f"has mode {_mode(found)}, it must be 0600", f"chmod 600 {_quoted(path)}")


def _check_trusted(path: str, found: os.stat_result) -> None:
    _check_regular(path, found)
    if not _root_or_ours(found):
        _refuse(path, f"belongs to uid {found.st_uid}", f"chown root {_quoted(path)}")
    if found.st_mode & 0o022:
        _refuse(
            path, f"has mode {_mode(found)}, others can write to it", f"chmod go-w {_quoted(path)}"
        )


def _check_credential(path: str, found: os.stat_result) -> None:
    _check_regular(path, found)
    if not _root_or_ours(found):
        _refuse(path, f"belongs to uid {found.st_uid}, not to root or us")
    if stat.S_IMODE(found.st_mode) not in {0o400, 0o440}:
        _refuse(path, f"has mode {_mode(found)}, a credential has 0400 or 0440")


def _check_regular(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        _refuse(path, "is not a regular file")
    if found.st_nlink != 1:
        _refuse(
            path,
            f"has {found.st_nlink} names (hard links)",
            f"find the others with: find / -xdev -samefile {_quoted(path)}",
        )


def _root_or_ours(found: os.stat_result) -> bool:
    return found.st_uid in {0, os.geteuid()}


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


def _quoted(path: str) -> str:
    return shlex.quote(path)


def _refuse(path: str, fault: str, remedy: str = "") -> NoReturn:
    raise UnsafeFile(f"{path} {fault}" + (f"; run: {remedy}" if remedy else ""))
