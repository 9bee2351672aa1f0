"""What the machine around the daemon is like: its clock, its swap, its disks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jarvis_secretsd.daemon import segments
from jarvis_secretsd.daemon.clock import STEP
from jarvis_secretsd.daemon.clocksync import is_synchronised
from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.doctor.symptoms import Symptoms
from jarvis_secretsd.daemon.heads import claimed_time
from jarvis_secretsd.domain.auditreading import Broken, read_entry, read_opening
from jarvis_secretsd.errors import StorageFailed, UnsafeFile

MEBIBYTE = 1024 * 1024

LOW_BYTES, FULL_BYTES = 512 * MEBIBYTE, 32 * MEBIBYTE
"""Free space below which a person should look soon, and at once."""

LEAST_DAYS = 14
"""Days until the log fills its disk below which a person should look."""

LEAST_INODES = 1000

DAY = timedelta(days=1)


def examine_clock(paths: PathsConfig, found: Symptoms) -> None:
    """Is the time what it was, and does anything keep it right?"""
    now = datetime.now(UTC)
    highest = claimed_time(paths.heads_path)
    if highest is not None and highest - now > STEP:
        found.fault(
            "clock",
            f"it is {now:%Y-%m-%d %H:%M} UTC, and the daemon has seen {highest:%Y-%m-%d %H:%M}: it "
            "was set back, and nothing ends or falls due until it is past that again",
            "set it: timedatectl set-ntp true",
        )
    elif is_synchronised() is False:
        found.warn(
            "clock",
            "nothing keeps it right: graces end and tokens fall due by it",
            "run: timedatectl set-ntp true, or install chrony",
        )
    else:
        found.ok("clock", f"{now:%Y-%m-%d %H:%M} UTC, and kept right")


def examine_swap(found: Symptoms, *, is_kept_out: bool, proc: Path = Path("/proc")) -> None:
    """Could memory be written to a disk? `is_kept_out`: the daemon's cgroup has no swap."""
    try:
        lines = (proc / "swaps").read_text().splitlines()[1:]
    except OSError:
        return
    open_ones = [line.split()[0] for line in lines if line and not _is_sealed(line.split()[0])]
    if not lines:
        found.ok("swap", "there is none")
    elif is_kept_out or not open_ones:
        found.ok("swap", "what the daemon has in memory isn't written there in the clear")
    else:
        found.warn(
            f"swap ({', '.join(open_ones)})",
            "values in memory can be written to a disk in the clear",
            "encrypt it, or keep the daemon out: MemorySwapMax=0 in the unit",
        )


def _is_sealed(device: str) -> bool:
    """Swap in memory (zram), or on an encrypted device (dm-crypt)."""
    name = os.path.basename(os.path.realpath(device))
    try:
        kind = Path(f"/sys/class/block/{name}/dm/uuid").read_text()
    except OSError:
        kind = ""
    return name.startswith("zram") or kind.startswith("CRYPT-")


def examine_disks(paths: PathsConfig, found: Symptoms) -> None:
    """Is there room for the vault and the log, and for how long?"""
    growth = growth_per_day(paths.audit_path)
    by_device: dict[int, Path] = {}
    for path in (paths.vault_path, paths.audit_path):
        try:
            by_device.setdefault(os.stat(path.parent).st_dev, path.parent)
        except OSError:
            continue  # whoever looks at the state says so
    for device, directory in by_device.items():
        holds_log = device == os.stat(paths.audit_path.parent).st_dev
        _examine_disk(directory, growth if holds_log else 0, found)


def _examine_disk(directory: Path, growth: float, found: Symptoms) -> None:
    there = os.statvfs(directory)
    free = there.f_bavail * there.f_frsize
    days = free / growth if growth > 0 else None
    room = f"{_size(free)} free" + (f", the log grows {_size(growth)} a day" if growth else "")
    remedy = "make room, or have logrotate keep fewer old logs"
    if free < FULL_BYTES:
        found.fault(str(directory), f"{room}: when it is full, nothing is given out", remedy)
    elif free < LOW_BYTES or (days is not None and days < LEAST_DAYS):
        left = f", which lasts {days:.0f} days" if days is not None else ""
        found.warn(str(directory), f"{room}{left}", remedy)
    else:
        found.ok(str(directory), room)
    if there.f_files and there.f_favail < LEAST_INODES:
        found.warn(str(directory), f"room for {there.f_favail} more files only", remedy)


def growth_per_day(log: Path) -> float:
    """Bytes that the log grew a day, by its newest segment that holds an hour at least."""
    best = 0.0
    for begun, ended, size in _spans(log):
        if ended - begun >= DAY / 24:
            best = size / ((ended - begun) / DAY)
    return best


def _spans(log: Path) -> Iterator[tuple[datetime, datetime, int]]:
    """When each segment that isn't compressed began and ended, and its size, the oldest first."""
    try:
        found, _ = segments.survey(str(log))
    except (FileNotFoundError, StorageFailed, UnsafeFile):
        return  # whoever looks at the state says so
    for segment in found:
        if segment.opening is None or segment.path.endswith(".gz"):
            continue
        try:
            size = os.stat(segment.path).st_size
            ended = _last_time(segment.path, size)
        except (OSError, StorageFailed):
            continue
        if ended is not None:
            yield datetime.fromisoformat(segment.opening.time), ended, size


def _last_time(path: str, size: int) -> datetime | None:
    """When the last entry near the end of this segment was written."""
    with segments.opened_raw(path) as file:
        file.seek(max(0, size - 65536))
        lines = file.read().split(b"\n")[1:]
    for line in reversed(lines):
        for read in (read_entry, read_opening):
            try:
                return datetime.fromisoformat(read(line).time)
            except Broken:
                continue
    return None


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
