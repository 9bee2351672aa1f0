"""The daemon that runs: what the kernel gives it, and what it says of itself."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

from jarvis_secretsd.daemon.app import RESERVED_DESCRIPTORS
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.doctor.processes import Process
from jarvis_secretsd.daemon.doctor.symptoms import Symptoms

PATIENCE = 5.0
"""Seconds for the daemon's answer: one that takes longer keeps its users waiting too."""

STALE_BACKUP_DAYS = 8
"""A weekly backup is never as old, unless it failed."""

_ASK = b"GET %s HTTP/1.0\r\n\r\n"
_MAX_ANSWER = 4 * 1024 * 1024


def examine_limits(config: Config, process: Process, found: Symptoms) -> None:
    """Limits of the process, whether it can leave a core, and whether somebody looks into it."""
    where = f"pid {process.pid}"
    try:
        wanted = config.server.max_connections + RESERVED_DESCRIPTORS
        room = process.limit("Max open files")
        if room is not None and room < wanted:
            found.warn(
                where,
                f"{room:,} open files at most, and {config.server.max_connections:,} connections "
                "are configured",
                f"LimitNOFILE={wanted} in the unit, or server.max_connections = "
                f"{max(1, room - RESERVED_DESCRIPTORS)}",
            )
        else:
            found.ok(where, "as many open files as its connections need")
        if process.limit("Max core file size") != 0:
            found.fault(
                where, "it can leave a core, which holds secrets", "LimitCORE=0 in the unit"
            )
        tracer = process.status("TracerPid")
        if tracer not in ("", "0"):
            found.fault(where, f"process {tracer} looks into its memory", f"see: ps -fp {tracer}")
    except OSError as error:
        found.note(where, f"its limits aren't shown: {error.strerror}", "run it as root")


def is_kept_out_of_swap(process: Process, cgroups: Path = Path("/sys/fs/cgroup")) -> bool:
    """Does its cgroup have no swap (cgroup v2)?"""
    try:
        own = (process.path / "cgroup").read_text().strip().removeprefix("0::/")
        return (cgroups / own / "memory.swap.max").read_text().strip() == "0"
    except OSError:
        return False


def examine_answers(path: Path, found: Symptoms) -> None:
    """Does it answer, is it well, and when was its last backup?"""
    try:
        health = _ask(path, b"/healthz")
        metrics = _ask(path, b"/metrics")
    except PermissionError:
        found.note(str(path), "this user may not connect there", "run it as root")
        return
    except OSError as error:
        found.fault(
            str(path),
            f"the daemon runs and doesn't answer there: {error.strerror or 'in time'}",
            "see its log: journalctl -u jarvis-secretsd",
        )
        return
    status = re.search(r'"status":"(\w+)"', health)
    if status and status[1] == "ok":
        found.ok(str(path), "the daemon answers, and is well")
    else:
        why = status[1] if status else "what answers is no daemon of ours"
        found.fault(str(path), f"the daemon is not well: {why}", "see its log")
    _examine_backup(metrics, found)


def _examine_backup(metrics: str, found: Symptoms) -> None:
    at = re.search(r"^jarvis_secretsd_backup_timestamp_seconds (\S+)", metrics, re.MULTILINE)
    if at is None:
        return
    days = (time.time() - float(at[1])) / 86400
    if float(at[1]) <= 0:
        found.warn("backup", "there never was one", "run: jarvis-secretsd backup FILE")
    elif days > STALE_BACKUP_DAYS:
        found.warn("backup", f"the last is {days:.0f} days old", "run: jarvis-secretsd backup FILE")
    else:
        found.ok("backup", f"the last is {days:.1f} days old")


def _ask(path: Path, target: bytes) -> str:
    """The whole answer. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(_ASK % target)
        parts: list[bytes] = []
        while sum(map(len, parts)) < _MAX_ANSWER and (part := connection.recv(65536)):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")
