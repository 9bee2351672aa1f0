"""What watchers cost: thousands that hear nothing, and a thousand that are told at once.

A part of them watches everything, the others a name of their own each, half in frames and half as
server-sent events. A rotation is measured from before its request until its last watcher has read
the message, so with all that this process does to read it.
"""

from __future__ import annotations

import argparse
import os
import resource
import selectors
import shlex
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import describe
from jarvis_secretsd import messages as m
from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.values import ClientId, Kind, SecretName
from jarvis_secretsd.wire.codec import encode_request
from jarvis_secretsd.wire.frames import pack
from tests.daemon_process import DaemonProcess

ADMIN = ClientId("admin")
SPARE_DESCRIPTORS = 100
PATIENCE = 60.0
TOLD_AIM = 1000.0
"""Milliseconds until the last of those who watch everything has heard."""

ROTATED = SecretName("rotated")
HTTP = "GET /watch{query} HTTP/1.1\r\nHost: localhost\r\nX-Jarvis-Client: admin\r\n\r\n"


class Row(NamedTuple):
    """A line of the table; `aim` is what its worst time, in milliseconds, is to stay below."""

    what: str
    measured: str
    worst: float = 0.0
    aim: float | None = None

    @property
    def is_met(self) -> bool:
        """Does it keep its aim, if it has one?"""
        return self.aim is None or self.worst < self.aim


def main() -> int:
    """Measure all, print the table, and give the exit status: 1 where an aim was missed."""
    parser = argparse.ArgumentParser(prog="watchers", description="What watchers cost here.")
    parser.add_argument("--watchers", type=int, default=5000, help="in all")
    parser.add_argument("--told", type=int, default=1000, help="of them, who watch everything")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds to look at them idle")
    parser.add_argument("--rotations", type=int, default=20, help="of each row")
    asked = parser.parse_args()
    if not _make_room(asked.watchers):
        print(f"watchers: raise the hard limit of open files above {asked.watchers}")
        return 2
    print(f"$ {shlex.join(sys.argv)}")
    print(describe(Path(tempfile.gettempdir())), end="\n\n")
    rows = _measure(asked.watchers, asked.told, asked.idle, asked.rotations)
    print(*(_line(row) for row in rows), sep="\n")
    return 0 if all(row.is_met for row in rows) else 1


class Crowd:
    """Every watcher, on one selector."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []

    def join(self, names: Sequence[SecretName]) -> None:
        """One more, who watches these, or everything."""
        joined = socket.socket(socket.AF_UNIX)
        joined.connect(str(self._path))  # waits where the backlog is full
        joined.sendall(_framed(names) if len(self._sockets) % 2 else _http(names))
        self._sockets.append(joined)
        self._selector.register(joined, selectors.EVENT_READ)

    def hear(self, count: int) -> None:
        """Read until so many of them have heard something."""
        heard: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        while len(heard) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"watchers: {len(heard)} of {count} have heard")
            for key, _ in self._selector.select(1.0):
                said = key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket
                if b'"seq"' in said:
                    heard.add(key.fd)

    def leave(self) -> None:
        """All hang up."""
        for each in self._sockets:
            each.close()
        self._selector.close()


def _measure(watchers: int, told: int, idle: float, rotations: int) -> list[Row]:
    with _serving(watchers) as daemon:
        crowd = Crowd(daemon.socket_path)
        with SecretsClient(str(daemon.socket_path), client_id=ADMIN, timeout=PATIENCE) as client:
            for name in (ROTATED, SecretName("n1")):
                client.put(name, kind=Kind.PASSWORD)
            memory = _memory(daemon)
            began = time.perf_counter()
            for number in range(watchers):
                crowd.join([] if number < told else [SecretName(f"n{number}")])
            crowd.hear(watchers)
            begun = time.perf_counter() - began
            each = (_memory(daemon) - memory) / watchers
            busy = _cpu(daemon)
            time.sleep(idle)
            busy = (_cpu(daemon) - busy) / idle
            own = SecretName(f"n{watchers - 1}")
            client.put(own, kind=Kind.PASSWORD)
            crowd.hear(told + (watchers > told))
            all_told = _times(lambda: _rotate(client, ROTATED, crowd, told), rotations)
            crowd.leave()
    return [
        Row(f"{watchers:,} watchers have heard what is", f"{begun:8.2f} s"),
        Row("memory of the daemon for each", f"{each / 1024:8.1f} KiB"),
        Row(f"idle for {idle:g} s, heartbeats included", f"{100 * busy:8.2f} % of a CPU"),
        Row(
            f"rotate, until {told:,} have heard (median, worst)",
            f"{statistics.median(all_told):8.1f} ms {max(all_told):8.1f} ms",
            max(all_told),
            TOLD_AIM,
        ),
    ]


def _rotate(client: SecretsClient, name: SecretName, crowd: Crowd, count: int) -> None:
    client.ask(m.Rotate((name,)), m.Rotated)
    crowd.hear(count)


@contextmanager
def _serving(watchers: int) -> Iterator[DaemonProcess]:
    room = watchers + SPARE_DESCRIPTORS
    limits = {"max_connections_per_uid": room}
    daemon = DaemonProcess(settings={"limits": limits, "server": {"max_connections": room}})
    try:
        daemon.start()
        yield daemon
        daemon.stop()
    finally:
        daemon.dispose()


def _make_room(watchers: int) -> bool:
    """Can both ends hold so many descriptors?"""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard >= watchers + 2 * SPARE_DESCRIPTORS


def _framed(names: Sequence[SecretName]) -> bytes:
    return pack(encode_request(m.Watch(tuple(names)), ADMIN))


def _http(names: Sequence[SecretName]) -> bytes:
    return HTTP.format(query=f"?names={','.join(names)}" if names else "").encode()


def _memory(daemon: DaemonProcess) -> int:
    """Resident bytes."""
    pages = Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def _cpu(daemon: DaemonProcess) -> float:
    """Seconds of CPU so far."""
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _times(act: Callable[[], object], runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - start))
    return times


def _line(row: Row) -> str:
    aim = "" if row.aim is None else f"{row.aim:.0f} ms {'met' if row.is_met else 'MISSED'}"
    return f"{row.what:44} {row.measured:24} {aim}".rstrip()
