"""One run: every measurement on this machine, one after the other, and the table of them all."""

from __future__ import annotations

import argparse
import json
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.load import Load, Measured
from benchmarks.machine import describe
from tests.daemon_process import START_LIMIT, DaemonDidNotStart, DaemonProcess

HERE = Path(__file__).parent
NAME, VALUE = "postgres_password", "a password of forty-eight characters, as they go"
COUNTED = "################"
"""The load generator puts a number here, so that no put finds its value current already."""

MANY, WRITERS = 64, 16

HTTP_GET = (
    f"GET /secret/{NAME} HTTP/1.1\r\nHost: localhost\r\nX-Jarvis-Client: admin\r\n\r\n".encode()
)


class Row(NamedTuple):
    """A line of the table: `server` answered `what`, asked over so many connections at once."""

    server: str
    what: str
    connections: int
    measured: Measured


class UnauditedDaemon(DaemonProcess):
    """The daemon with a null journal in place of its audit log."""

    def command(self, *arguments: str) -> tuple[str, ...]:
        """The command line of this daemon, with its configuration."""
        return (sys.executable, str(HERE / "unaudited.py"), str(self.config_path), *arguments)


def main() -> int:
    """Measure all, print the table, and give the exit status."""
    parser = argparse.ArgumentParser(prog="throughput", description="What the daemon does here.")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    secs: float = parser.parse_args().seconds
    print(f"$ {shlex.join(sys.argv)}")
    with tempfile.TemporaryDirectory(prefix="jarvis-bench-") as scratch:
        print(describe(Path(scratch)), end="\n\n")
        try:
            rows = _measure_all(Path(scratch), secs)
        except (OSError, subprocess.SubprocessError, DaemonDidNotStart) as error:
            print(f"throughput: nothing measured: {error}", file=sys.stderr)
            return 1
    print(*_table(rows), sep="\n")
    unsound = [row for row in rows if not row.measured.is_sound]
    for row in unsound:
        print(f"throughput: not every request was answered with success: {row}", file=sys.stderr)
    return 1 if unsound else 0


def _measure_all(scratch: Path, secs: float) -> list[Row]:
    load, rows = Load(scratch), []

    def reads(server: str, path: Path) -> None:
        for connections in (MANY, 1):
            frames = load.measure(path, _get(), connections=connections, secs=secs)
            rows.append(Row(server, "read, frames", connections, frames))
            http = load.measure(path, HTTP_GET, dialect="http", connections=connections, secs=secs)
            rows.append(Row(server, "read, HTTP", connections, http))

    with _running(DaemonProcess()) as path:
        reply = _ask(path, _get())
        reads("synced", path)
        writes = load.measure(path, _put(COUNTED), connections=WRITERS, secs=secs)
        rows.append(Row("synced", "write, frames", WRITERS, writes))
    with _running(UnauditedDaemon()) as path:
        reads("no audit", path)
    with _echo(scratch / "echo.sock") as path:
        for connections in (MANY, WRITERS, 1):
            echoed = load.measure(path, reply, connections=connections, secs=secs)
            rows.append(Row("echo", "a reply's frame", connections, echoed))
    return rows


@contextmanager
def _running(daemon: DaemonProcess) -> Iterator[Path]:
    """A daemon that has one secret; the path of its socket."""
    try:
        daemon.start()
        _ask(daemon.socket_path, _put(VALUE))
        yield daemon.socket_path
        if status := daemon.stop():
            raise OSError(f"the daemon ended with status {status}: {daemon.stderr}")
    finally:
        daemon.dispose()


@contextmanager
def _echo(path: Path) -> Iterator[Path]:
    process = subprocess.Popen((sys.executable, HERE / "echo.py", path))
    try:
        deadline = time.monotonic() + START_LIMIT
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError("the echo server did not start")
            time.sleep(0.01)
        yield path
    finally:
        process.kill()
        process.wait()


def _get() -> bytes:
    return _frame(op="get", name=NAME, client="admin")


def _put(value: str) -> bytes:
    return _frame(op="put", name=NAME, value=value, client="admin")


def _frame(**message: str) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    return len(body).to_bytes(4, "big") + body


def _ask(path: Path, frame: bytes) -> bytes:
    """The frame that answers. Raises OSError unless it tells of success."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer, peer.makefile("rb") as stream:
        peer.settimeout(START_LIMIT)
        peer.connect(str(path))
        peer.sendall(frame)
        length = stream.read(4)
        body = stream.read(int.from_bytes(length, "big"))
    if b'"ok":true' not in body:
        raise OSError(f"the daemon refused the benchmark's own request: {body.decode()}")
    return length + body


HEADER = (
    f"{'server':9} {'request':16} {'conns':>5} {'per second':>10} {'p50 us':>8} {'p99 us':>8}"
    f" {'/ echo':>7} {'/ no audit':>10} {'load CPU':>8}"
)


def _table(rows: list[Row]) -> Iterator[str]:
    """Each rate also as a part of the echo's, and of the unaudited daemon's, at as many conns."""
    rates = {(row.server, row.what, row.connections): row.measured.rate for row in rows}
    echoes = {row.connections: row.measured.rate for row in rows if row.server == "echo"}
    yield HEADER
    for server, what, connections, measured in rows:
        unaudited = rates.get(("no audit", what, connections))
        yield (
            f"{server:9} {what:16} {connections:>5} {measured.rate:>10,.0f}"
            f" {measured.p50:>8,.0f} {measured.p99:>8,.0f}"
            f" {_ratio(measured.rate, echoes[connections]):>7}"
            f" {_ratio(measured.rate, unaudited):>10}"
            f" {measured.generator_secs / measured.secs:>8.0%}"
        )


def _ratio(rate: float, other: float | None) -> str:
    return f"{rate / other:.2f}" if other else "-"
