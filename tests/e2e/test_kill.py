"""Killed at any moment: what was acknowledged is there, and the audit log is whole and says so."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import LISTENERS, Caller
from tests.e2e.evidence import assert_intact, entries_of, verify
from tests.e2e.tools import needs

KILLS = 20
NAMES = 5
"""Names of each writer, over and over, so that most writes replace something."""

MakeDaemon = Callable[..., DaemonProcess]


class Writer(threading.Thread):
    """Puts one value after another over a connection of its own, until the daemon dies."""

    def __init__(self, daemon: DaemonProcess, way: str, kept: dict[str, str]) -> None:
        super().__init__()
        self._caller = Caller(daemon, way)
        self._prefix = way.replace(" ", "-")
        self._kept = kept
        self.acknowledged = 0
        self.pending: tuple[str, str] | None = None
        """What was asked and not acknowledged: it may be there or not."""

    def run(self) -> None:
        with self._caller as caller:
            try:
                for number in range(1_000_000):
                    name = f"{self._prefix}/{number % NAMES}"
                    self.pending = name, f"{name} {random.random()}"
                    reply = caller.ask("put", name=name, value=self.pending[1])
                    assert reply.outcome == "ok", reply
                    self._kept[name] = self.pending[1]
                    self.acknowledged += 1
            except OSError:
                return


def test_twenty_kills_during_writes_lose_no_acknowledged_write(make_daemon: MakeDaemon) -> None:
    """Four writers, in both dialects over both transports; after each kill everything is there."""
    daemon = make_daemon()
    kept: dict[str, str] = {}
    pending: dict[str, str] = {}
    acknowledged = 0
    daemon.start()
    for _ in range(KILLS):
        writers = [Writer(daemon, way, kept) for way in LISTENERS]
        for writer in writers:
            writer.start()
        time.sleep(random.uniform(0.01, 0.15))
        assert daemon.kill() == -signal.SIGKILL
        for writer in writers:
            writer.join()
        acknowledged += sum(writer.acknowledged for writer in writers)
        pending = dict(writer.pending for writer in writers if writer.pending)
        daemon.start()
        for name, value in all_values(daemon, {*kept, *pending}).items():
            assert value in (kept.get(name), pending.get(name)), name
            if value is not None:
                kept[name] = value
        assert_intact(daemon)
    assert acknowledged > 10 * KILLS


def all_values(daemon: DaemonProcess, names: set[str]) -> dict[str, str | None]:
    """What is stored under these names; None: nothing."""
    with Caller(daemon) as caller:
        return {name: caller.ask("get", name=name).body.get("value") for name in sorted(names)}


def test_a_kill_between_vault_and_log_is_mended_by_the_next_start(daemon: DaemonProcess) -> None:
    """The records bring the entries that the log lacks, in their order, marked as recovered."""
    names = ["one", "three", "two"]
    heads = daemon.vault_path.with_suffix(".heads")
    with Caller(daemon) as caller:
        for name in names:
            caller.ask("put", name=name, value="old")
    daemon.restart()
    older, size = heads.read_bytes(), daemon.audit_path.stat().st_size
    with Caller(daemon) as caller:
        assert caller.ask("rotate", names=names).body["rotated"] == names
        kids = [(name, caller.ask("get", name=name).body["kid"]) for name in names]
    daemon.kill()
    os.truncate(daemon.audit_path, size)
    heads.write_bytes(older)
    daemon.start()
    recovered = entries_of(daemon, op="rotate")
    assert [(entry["name"], entry["kid"]) for entry in recovered] == kids
    assert all(entry["recovered"] and entry["outcome"] == "allowed" for entry in recovered)
    assert [entry["vault_seq"] for entry in recovered] == [4, 5, 6]
    with Caller(daemon) as caller:
        assert [(name, caller.ask("get", name=name).body["kid"]) for name in names] == kids
    assert_intact(daemon)
    daemon.restart()
    assert len(entries_of(daemon, op="rotate")) == len(names), "recovered once, not at each start"


TRAP = """
if [ -e kill-at ]; then
  set -- strace -D -f -qq -o /dev/null -P state/vault.json -P state/audit.jsonl \\
    -e "inject=$(cat kill-at)" "$@"
  rm kill-at
fi
exec "$@"
"""
"""Starts a daemon under strace once there is a file that says at which system call it is to die."""

KILL_POINTS = [
    ("write", 2, 0, False),  # of the vault's record: nothing has happened
    ("fdatasync", 2, 3, True),  # of the vault: the record is there, its entry isn't
    ("write", 3, 3, True),  # of the log's turn
    ("fdatasync", 3, 0, True),  # of the log: only the reply is missing
]
"""A system call, which one since the start (the first writes the entry `start`), what `audit
verify` exits with before the next start, and whether the change is there."""


@needs("strace")
@pytest.mark.root("only root can trace a process that isn't dumpable")
@pytest.mark.parametrize(("call", "number", "verdict", "is_there"), KILL_POINTS)
def test_a_kill_at_each_step_of_a_write_leaves_all_of_it_or_nothing(
    make_daemon: MakeDaemon, call: str, number: int, verdict: int, is_there: bool
) -> None:
    """Before each write and sync of vault and log: afterwards both know the change, or neither."""
    daemon = make_daemon(prefix=("sh", "-c", TRAP, "trap"))
    daemon.start()
    daemon.stop()
    (daemon.directory / "kill-at").write_text(f"{call}:signal=KILL:when={number}")
    daemon.start()
    with Caller(daemon) as caller, pytest.raises(OSError, match=r"hung up|reset"):
        caller.ask("put", name="a", value="b")
    assert daemon.wait() == -signal.SIGKILL
    assert verify(daemon).status == verdict
    daemon.start()
    with Caller(daemon) as caller:
        assert caller.ask("get", name="a").body.get("value") == ("b" if is_there else None)
    assert len(entries_of(daemon, op="put")) == is_there
    assert_intact(daemon)
