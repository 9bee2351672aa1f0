"""Debian's logrotate works on the log while it is written to, configured as it should be and not.

Nothing that was answered is lost, or what is lost is reported; and wherever a rotation was when the
daemon ended, the next one goes on with the same log.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.e2e.evidence import entries_of, verify
from tests.e2e.test_moved_log import INCOMPLETE, INTACT, assert_ours, logged_reads
from tests.e2e.tools import needs

pytestmark = needs("logrotate")

MakeDaemon = Callable[..., DaemonProcess]

OURS = Path(__file__).parents[2] / "examples/logrotate/jarvis-secretsd"
ROTATIONS = 3


class Logrotate:
    """logrotate with its own state, on the log of one daemon; `directives` are of that log."""

    def __init__(self, daemon: DaemonProcess, directives: str = "", text: str = "") -> None:
        self._directory = daemon.directory
        self._config = daemon.directory / "logrotate.conf"
        self._config.write_text(text or f"{daemon.audit_path} {{\n{directives}\n}}\n")
        self._config.chmod(0o644)

    def start(self) -> subprocess.Popen[str]:
        """A rotation that runs."""
        state = str(self._directory / "logrotate.state")
        command = ["logrotate", "-f", "-s", state, str(self._config)]
        path = f"{self._directory}/bin:/usr/sbin:/usr/bin:/bin"
        return subprocess.Popen(
            command, env={"PATH": path}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self) -> None:
        """Rotate once; logrotate has nothing to complain of."""
        with self.start() as rotation:
            output = rotation.communicate(timeout=20)
        assert (rotation.returncode, *output) == (0, "", "")

    def run_under(self, load: Load) -> None:
        """Rotate several times while somebody reads, who is answered afterwards too."""
        with load.running():
            for _ in range(ROTATIONS):
                time.sleep(0.05)
                self.run()
        load.read()


class Load:
    """Someone who reads the secret `a` without a pause."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon
        self.answers = 0
        self._stop = threading.Event()
        with self._caller() as caller:
            assert caller.ask("put", name="a", value="value").outcome == "ok"

    @contextmanager
    def running(self) -> Iterator[None]:
        """It reads meanwhile; afterwards `answers` counts what it got."""
        with self._caller() as caller:
            thread = threading.Thread(target=self._read_on, args=(caller,))
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
                self._stop.clear()

    def read(self, count: int = 3) -> None:
        """It reads so often, and waits for the answers."""
        with self._caller() as caller:
            for _ in range(count):
                self._read(caller)

    def _caller(self) -> Caller:
        return Caller(self._daemon, uid=self._daemon.uid)

    def _read_on(self, caller: Caller) -> None:
        while not self._stop.is_set():
            self._read(caller)

    def _read(self, caller: Caller) -> None:
        assert caller.ask("get", name="a").body["value"] == "value"
        self.answers += 1


def report(daemon: DaemonProcess, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status of `audit verify`, and its report."""
    verdict = verify(daemon, "--json", *options)
    found: dict[str, Any] = json.loads(verdict.text)
    return verdict.status, found


def rotate_under_load(daemon: DaemonProcess, logrotate: Logrotate) -> Load:
    """Rotate several times while somebody reads, and once more after the daemon was killed."""
    load = Load(daemon)
    logrotate.run_under(load)
    daemon.kill()
    logrotate.run()
    daemon.start()
    load.read()
    return load


KEEPING = {
    "neither signal nor file": "nocreate",
    "a file that everybody may write to": "create 0666",
    "a file that nobody may read": "create 0000",
    "a copy that is moved away": "renamecopy",
    "a copy beside the log": "copy",
    "compressed late": "compress\ndelaycompress",
}


@pytest.mark.parametrize("directives", KEEPING.values(), ids=KEEPING)
def test_a_configuration_that_throws_nothing_away_loses_nothing(
    daemon: DaemonProcess, directives: str
) -> None:
    """Under load, without a signal; the log verifies from its first entry on, after a crash too."""
    logrotate = Logrotate(daemon, f"rotate 99\nmissingok\n{directives}")
    load = rotate_under_load(daemon, logrotate)
    assert_ours(daemon.audit_path)
    assert logged_reads(daemon) == load.answers
    status, found = report(daemon, "--from", "1")
    assert (status, found["findings"]) == (INTACT, [])


def test_what_is_compressed_at_once_is_all_there(daemon: DaemonProcess) -> None:
    """What is written while it is packed is written again in the new segment, and verify knows."""
    load = rotate_under_load(daemon, Logrotate(daemon, "rotate 99\nmissingok\ncompress"))
    assert logged_reads(daemon) == load.answers
    status, found = report(daemon, "--from", "1")
    assert status in (INTACT, INCOMPLETE)
    faults = [fault["fault"] for fault in found["findings"]]
    assert all("aren't signed" in fault or "torn" in fault for fault in faults)


def test_copytruncate_loses_nothing_that_is_not_reported(daemon: DaemonProcess) -> None:
    """What was written between the copy and the cut is missing, and that is what verify says."""
    load = rotate_under_load(daemon, Logrotate(daemon, "rotate 99\nmissingok\ncopytruncate"))
    lost = load.answers - logged_reads(daemon)
    status, _ = report(daemon, "--from", "1")
    assert lost >= 0
    assert status == INCOMPLETE or not lost


AGED = "lastaction\n touch -d '3 days ago' {log}.[0-9]*\nendscript"
THROWING_AWAY = {
    "at once": "rotate 0",
    "all but one": "rotate 1",
    "what is old": f"rotate 99\nmaxage 1\n{AGED}",
    "into a place where nobody looks": "rotate 99\nolddir {elsewhere}",
}


@pytest.mark.parametrize("directives", THROWING_AWAY.values(), ids=THROWING_AWAY)
def test_what_was_thrown_away_is_reported(daemon: DaemonProcess, directives: str) -> None:
    """What is left verifies, and says which entry it begins with; of the whole log a part misses.

    The daemon, which knows an end that is gone too, starts nevertheless.
    """
    elsewhere = daemon.directory / "elsewhere"
    elsewhere.mkdir()
    text = directives.format(log=daemon.audit_path, elsewhere=elsewhere)
    load = Load(daemon)
    logrotate = Logrotate(daemon, f"missingok\nnocreate\n{text}")
    logrotate.run_under(load)
    daemon.kill()
    daemon.start()
    load.read()
    status, left = report(daemon)
    assert (status, left["findings"]) == (INTACT, [])
    lost = load.answers - logged_reads(daemon)
    assert 0 < lost < left["first"]
    status, whole = report(daemon, "--from", "1")
    assert status == INCOMPLETE
    missing = f"follows entries 1 to {left['first'] - 1}, which are missing"
    assert [fault["fault"] for fault in whole["findings"]] == [missing]


def test_a_log_that_was_deleted_while_nothing_ran_is_not_begun_anew(daemon: DaemonProcess) -> None:
    """Without its end nobody can tell what it held: the start is refused, and makes no file."""
    load = Load(daemon)
    load.read()
    daemon.stop()
    Logrotate(daemon, "rotate 0\nnocreate").run()
    assert daemon.run_to_end() == 79
    assert f"the audit log {daemon.audit_path}, up to entry" in daemon.stderr
    assert not daemon.audit_path.exists()


STEPS = ("firstaction", "prerotate", "postrotate", "compressing", "lastaction", "preremove")

PAUSE = """\
#!/bin/sh
touch "{directory}/paused.$1"
while [ -e "{directory}/paused.$1" ]; do sleep 0.01; done
"""

PAUSING_GZIP = """\
#!/bin/sh
{directory}/bin/pause compressing </dev/null >/dev/null
exec gzip "$@"
"""


@pytest.fixture
def pausing(daemon: DaemonProcess) -> str:
    """Directives that stop a rotation at each of its steps until it may go on."""
    programs = daemon.directory / "bin"
    programs.mkdir()
    for name, text in (("pause", PAUSE), ("pausing-gzip", PAUSING_GZIP)):
        (programs / name).write_text(text.format(directory=daemon.directory))
        (programs / name).chmod(0o755)
    scripts = [f"{step}\n{programs}/pause {step}\nendscript" for step in STEPS if "ing" not in step]
    return "\n".join(scripts) + f"\ncompresscmd {programs}/pausing-gzip\n"


@pytest.mark.parametrize(
    ("directives", "end"),
    [
        ("nocreate\ncompress", DaemonProcess.kill),
        ("create 0644\ncompress\ndelaycompress", DaemonProcess.stop),
    ],
)
def test_a_restart_at_any_step_of_a_rotation_goes_on_with_the_log(
    daemon: DaemonProcess, pausing: str, directives: str, end: Callable[[DaemonProcess], int]
) -> None:
    """Killed or stopped, before logrotate moves the file, after that, while it packs, and so on.

    The daemon reads on in the same chain, and only the oldest part is gone, as configured.
    """
    directives = f"rotate 1\nmissingok\n{directives}\n"
    load = Load(daemon)
    load.read()
    Logrotate(daemon, directives).run()
    load.read()
    steps = set()
    with Logrotate(daemon, directives + pausing).start() as rotation:
        while rotation.poll() is None:
            for paused in daemon.directory.glob("paused.*"):
                end(daemon)
                daemon.start()
                load.read()
                steps.add(paused.suffix[1:])
                paused.unlink()
            time.sleep(0.005)
        assert rotation.communicate() == ("", "")
    load.read()
    assert steps == set(STEPS)
    assert_ours(daemon.audit_path)
    assert not entries_of(daemon, op="log_created")
    status, left = report(daemon)
    assert (status, left["findings"]) == (INTACT, [])
    assert 0 < load.answers - logged_reads(daemon) < left["first"]
    assert report(daemon, "--from", "1")[0] == INCOMPLETE


FAKE_SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> {directory}/systemctl.log
exec kill -HUP {pid}
"""


@pytest.mark.root("logrotate runs as root, and the daemon as a user of its own")
def test_our_configuration_works_as_it_stands(make_daemon: MakeDaemon) -> None:
    """Run by root on the directory of another user: all verifies, and each file is that user's.

    The daemon makes the new file at the signal, before anybody asks.
    """
    daemon = make_daemon(uid=1000)
    daemon.start()
    (daemon.directory / "bin").mkdir()
    systemctl = daemon.directory / "bin/systemctl"
    systemctl.write_text(FAKE_SYSTEMCTL.format(directory=daemon.directory, pid=daemon.pid))
    systemctl.chmod(0o755)
    user = pwd.getpwuid(1000).pw_name
    group = grp.getgrgid(1000).gr_name
    text = OURS.read_text().replace("/var/lib/jarvis-secretsd/audit.jsonl", str(daemon.audit_path))
    logrotate = Logrotate(daemon, text=text.replace("su jarvis jarvis", f"su {user} {group}"))
    load = Load(daemon)
    with load.running():
        for _ in range(2):
            logrotate.run()
            time.sleep(1.05)  # the names are dated by the second
    logrotate.run()
    deadline = time.monotonic() + 10
    while not (daemon.audit_path.exists() and daemon.audit_path.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert_ours(daemon.audit_path)
    load.read()
    files = sorted(daemon.state.glob("audit.jsonl*"))
    assert [path.suffix for path in files].count(".gz") == 2
    assert {(path.stat().st_uid, path.stat().st_mode & 0o077) for path in files} == {(1000, 0)}
    calls = (daemon.directory / "systemctl.log").read_text().splitlines()
    assert calls == ["kill --signal=HUP --kill-whom=main jarvis-secretsd.service"] * len(files[1:])
    assert logged_reads(daemon) == load.answers
    status, found = report(daemon, "--from", "1")
    assert (status, found["findings"]) == (INTACT, [])
    daemon.restart()
    assert report(daemon, "--from", "1")[0] == INTACT


@pytest.mark.root("logrotate runs as root, and the daemon as a user of its own")
@pytest.mark.parametrize("owner", ["create 0640 root root", "compress"])
def test_root_may_rotate_without_becoming_the_daemons_user(
    make_daemon: MakeDaemon, owner: str
) -> None:
    """Files of root's in the log's place, and packed ones of root's, are no obstacle."""
    daemon = make_daemon(uid=1000)
    daemon.start()
    load = rotate_under_load(daemon, Logrotate(daemon, f"rotate 99\nmissingok\n{owner}"))
    assert logged_reads(daemon) == load.answers
    assert os.stat(daemon.audit_path).st_uid == 1000
    if owner != "compress":
        assert report(daemon, "--from", "1")[0] == INTACT


@pytest.mark.root("logrotate runs as root, and the daemon as a user of its own")
def test_a_directory_that_others_may_write_to_is_neither_rotated_nor_served(
    make_daemon: MakeDaemon,
) -> None:
    """logrotate leaves it alone and says why; the running daemon's log is still whole."""
    daemon = make_daemon(uid=1000)
    daemon.start()
    load = Load(daemon)
    daemon.state.chmod(0o770)
    with Logrotate(daemon, "rotate 99\nmissingok").start() as rotation:
        _, complaint = rotation.communicate(timeout=20)
    assert "insecure permissions" in complaint
    load.read()
    assert [path.name for path in daemon.state.glob("audit.jsonl*")] == ["audit.jsonl"]
    daemon.state.chmod(0o700)
    assert report(daemon, "--from", "1")[0] == INTACT
