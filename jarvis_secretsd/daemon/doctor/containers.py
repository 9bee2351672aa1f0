"""Which containers have the daemon's socket, and as whom they run.

Root in a container without a user namespace is root of the host to the kernel, and so to the
policy: all such containers are one. Where it may write to the socket's directory, it can put a
socket of its own in the place of ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from jarvis_secretsd.daemon.doctor.processes import PROC, Process, processes
from jarvis_secretsd.daemon.doctor.symptoms import Symptoms
from jarvis_secretsd.daemon.mounts import Mount
from jarvis_secretsd.domain.policy import ROOT

_ADVICE = "give it a user of its own (`user:` in compose), and mount the directory read-only"
_DELETED = "//deleted"


class Container(Struct, frozen=True):
    """Processes that have a root file system of their own, and what of ours is mounted there."""

    first: Process
    mount: Mount
    uids: frozenset[int]

    def __str__(self) -> str:
        return f"pid {self.first.pid} ({self.first.name}), {self.mount.point}"


def examine_containers(
    socket: Path, found: Symptoms, *, binds_root: bool, proc: Path = PROC
) -> None:
    """Every container that has the socket, or its directory, mounted."""
    try:
        containers = tuple(containers_with(socket, proc))
    except PermissionError:
        found.note(str(socket), "containers that mount it are seen by root only", "run it as root")
        return
    for one in containers:
        _examine(one, found, binds_root=binds_root)
    if not containers:
        found.ok(str(socket), "no container has it mounted")


def _examine(one: Container, found: Symptoms, *, binds_root: bool) -> None:
    where = f"container of {one}"
    if one.mount.root.endswith(_DELETED):
        found.fault(
            where,
            "it has the socket of an earlier daemon, where nobody answers",
            "mount the socket's directory rather than the socket, and start the container anew",
        )
    elif one.mount.root.endswith(".sock"):
        found.warn(
            where,
            "the socket itself is mounted, and is gone there when the daemon starts anew",
            "mount its directory",
        )
    if ROOT in one.uids:
        both = ", and the policy lets root in: all root containers are that client"
        writes = "" if one.mount.is_read_only else ", and can put another socket in its place"
        found.warn(where, f"runs as the host's root{writes}{both if binds_root else ''}", _ADVICE)
    else:
        found.ok(where, f"runs as {', '.join(f'uid {uid}' for uid in sorted(one.uids))}")


def containers_with(socket: Path, proc: Path = PROC) -> Iterator[Container]:
    """The containers that have the socket, or its directory. Raises PermissionError, once for all.

    A service with a private view of our own file system is none: its root is ours.
    """
    own = Process(proc / "self").mounts
    places = _places_of(socket, own)
    root = _at(own, "/")
    seen: dict[str, list[Process]] = {}
    refused = False
    for process in processes(proc):
        try:
            seen.setdefault(process.mount_namespace, []).append(process)
        except PermissionError:
            refused = True
        except OSError:
            continue  # it has ended
    for members in seen.values():
        container = _container(members, places, root)
        if container is not None:
            yield container
    if refused and os.geteuid() != ROOT:
        raise PermissionError


def _container(
    members: Sequence[Process], places: frozenset[tuple[str, str]], root: Mount | None
) -> Container | None:
    for process in members:
        try:
            mounts = process.mounts
        except OSError:
            continue
        here = _at(mounts, "/")
        if here is None or root is None or (here.device, here.root) == (root.device, root.root):
            return None
        held = next((one for one in mounts if _is_ours(one, places)), None)
        return None if held is None else Container(process, held, frozenset(_uids(members)))
    return None


def _is_ours(mount: Mount, places: frozenset[tuple[str, str]]) -> bool:
    return (mount.device, mount.root.removesuffix(_DELETED)) in places


def _uids(members: Iterable[Process]) -> Iterator[int]:
    for process in members:
        try:
            yield from process.uids
        except OSError:
            continue


def _places_of(socket: Path, mounts: Sequence[Mount]) -> frozenset[tuple[str, str]]:
    """The socket and the directories above it, as (device, path in its file system)."""
    real = os.path.realpath(socket)
    above = [real, *map(str, Path(real).parents)]
    over = [one for one in mounts if one.point in above]
    if not over:
        return frozenset()
    last = max(over, key=lambda one: len(one.point))
    inside = [path for path in above if path == last.point or path.startswith(_slashed(last.point))]
    return frozenset(
        (last.device, os.path.normpath(os.path.join(last.root, os.path.relpath(path, last.point))))
        for path in inside
    )


def _slashed(path: str) -> str:
    return path if path.endswith("/") else f"{path}/"


def _at(mounts: Sequence[Mount], point: str) -> Mount | None:
    """What is seen at this place: of several mounts the last."""
    return next((one for one in reversed(mounts) if one.point == point), None)
