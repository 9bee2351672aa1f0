"""A daemon that nobody asks anything sleeps, whatever its secrets wait for."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.daemon_process import DaemonProcess
from tests.hooked_daemon import Watcher, give_hook
from tests.waiting import wait_until

QUIET_SECS = 2.0


def waits(pid: int) -> int:
    """How often the process has gone to sleep so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    counts = re.findall(r"^(?:non)?voluntary_ctxt_switches:\t(\d+)$", status, re.MULTILINE)
    return sum(map(int, counts))


def test_nothing_wakes_an_idle_daemon_before_its_next_deadline(daemon: DaemonProcess) -> None:
    """Secrets are due, deferred, pending, unresolved, deleted and in grace, each at this moment."""
    daemon.stop()
    refused = """case $asked in *db_refused*) exit 69;; *) exit 1;; esac"""
    give_hook(daemon, rotate=refused)
    daemon.start()
    watcher = Watcher(daemon)
    for name in ("db_refused", "db_unresolved"):  # the clock rotates them at once
        watcher.ask("put", name=name, value="x", rotation_days=0)
    watcher.ask("put", name="due", value="x", rotation_days=0)
    watcher.ask("put", name="auto", value="x", rotation_days=0, grace_days=0, auto_rotate=True)
    watcher.ask("put", name="jwt_signing_key", kind="jwt_signing_key", rotation_days=0)
    watcher.ask("put", name="gone", value="x")
    watcher.ask("delete", name="gone")
    states = {"db_refused": "current", "db_unresolved": "unresolved", "jwt_signing_key": "pending"}
    wait_until(lambda: all(watcher.state(name) == state for name, state in states.items()))
    wait_until(lambda: watcher.metric("due") >= 1)
    time.sleep(1.5)  # until the heads are written
    before = waits(daemon.pid)
    time.sleep(QUIET_SECS)
    assert waits(daemon.pid) - before <= 1
