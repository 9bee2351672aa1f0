"""The log's file is moved, cut, deleted or exchanged while the daemon writes to it.

Nothing that was answered goes unlogged. What rotation does is no loss; what is lost, `audit verify`
reports.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.e2e.evidence import Entry, assert_intact, entries, entries_of, verify
from tests.e2e.tools import needs
from tests.waiting import wait_until

INTACT, TAMPERED, INCOMPLETE = 0, 1, 3

MakeDaemon = Callable[..., DaemonProcess]
Disturbance = Callable[[Path], object]
"""Does something to the log at this path. None of them is asked for by the daemon."""


def move(log: Path) -> None:
    log.rename(f"{log}.1")


def move_by_date(log: Path) -> None:
    log.rename(f"{log}-20261125")


def move_and_create(log: Path) -> None:
    """logrotate's `create 0640`: a file that isn't ours to write to."""
    move(log)
    log.touch()
    log.chmod(0o640)


def move_and_compress(log: Path) -> None:
    with gzip.open(f"{log}.1.gz", "wb") as packed:
        packed.write(log.read_bytes())
    log.unlink()


def copy_and_truncate(log: Path) -> None:
    shutil.copy2(log, f"{log}.1")
    os.truncate(log, 0)


ROTATIONS = (move, move_by_date, move_and_create, move_and_compress, copy_and_truncate)


def delete(log: Path) -> None:
    log.unlink()


def truncate(log: Path) -> None:
    os.truncate(log, 0)


def cut(log: Path) -> None:
    os.truncate(log, log.stat().st_size - 5)


LOSSES = (delete, truncate, cut)


def put_a_link(log: Path) -> None:
    """To a file that others would have us write to."""
    move(log)
    log.with_name("elsewhere").write_text("theirs\n")
    log.symlink_to("elsewhere")


def put_a_directory(log: Path) -> None:
    move(log)
    log.mkdir()


def put_a_file(log: Path) -> None:
    move(log)
    log.write_text('{"seq":1,"time":"theirs"}\n')


def put_a_fifo(log: Path) -> None:
    move(log)
    os.mkfifo(log)


def give_a_second_name(log: Path) -> None:
    os.link(log, log.with_name("second"))


def append(log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"what others wrote\n")


INTRUSIONS = (put_a_link, put_a_directory, put_a_file, put_a_fifo, give_a_second_name, append)


class Reader:
    """Reads the secret `a`, and counts the answers."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon
        self.answers = 0
        with Caller(daemon) as caller:
            assert caller.ask("put", name="a", value="value").outcome == "ok"

    def read(self, count: int = 3) -> None:
        with Caller(self._daemon) as caller:
            for _ in range(count):
                assert caller.ask("get", name="a").body["value"] == "value"
                self.answers += 1


OPENINGS = ("log_created", "segment_opened")


def segment(path: Path) -> list[Entry]:
    """The entries of a segment, compressed or not; none for a file that doesn't open as one."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [json.loads(line) for line in data.split(b"\n") if line.endswith(b"}")]
    found = [line for line in lines if "sig" not in line]
    return found if found and found[0].get("op") in OPENINGS else []


def logged_reads(daemon: DaemonProcess) -> int:
    """Reads in the log. Lines that were written again in a following segment count there.

    Of copies of one segment the longest counts.
    """
    paths = [
        path
        for path in daemon.state.glob("audit.jsonl*")
        if path.is_file() and not path.is_symlink()
    ]
    parts = sorted(filter(None, map(segment, paths)), key=lambda one: (one[0]["seq"], len(one)))
    chain: list[Entry] = []
    for part in parts:
        chain = [entry for entry in chain if entry["seq"] < part[0]["seq"]] + part
    return sum(entry["op"] == "get" for entry in chain)


def assert_ours(log: Path) -> None:
    """A file of our own lies at the path, and opens as a segment."""
    assert (log.lstat().st_mode, log.stat().st_nlink) == (0o100600, 1)
    assert entries(log)[0]["op"] in OPENINGS


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_a_rotated_log_goes_on_in_a_new_segment(daemon: DaemonProcess, rotate: Disturbance) -> None:
    """With no signal sent, the next entry is at the path, and the chain goes on over the seam."""
    reader = Reader(daemon)
    reader.read()
    end = entries(daemon.audit_path)[-1]["seq"]
    rotate(daemon.audit_path)
    reader.read()
    assert_ours(daemon.audit_path)
    opening = entries(daemon.audit_path)[0]
    assert (opening["op"], opening["seq"]) == ("segment_opened", end + 1)
    assert opening["previous"]["seq"] == end
    assert logged_reads(daemon) == reader.answers
    assert_intact(daemon)
    daemon.restart()
    reader.read()
    assert logged_reads(daemon) == reader.answers
    assert_intact(daemon)


@pytest.mark.parametrize("rotate", ROTATIONS)
def test_a_log_that_was_rotated_before_a_crash_goes_on_at_the_next_start(
    daemon: DaemonProcess, rotate: Disturbance
) -> None:
    """The daemon that rotated it away never wrote again; the next one finds where it ended."""
    reader = Reader(daemon)
    reader.read()
    daemon.kill()
    rotate(daemon.audit_path)
    daemon.start()
    reader.read()
    assert_ours(daemon.audit_path)
    assert logged_reads(daemon) == reader.answers
    assert_intact(daemon)


@pytest.mark.parametrize("lose", LOSSES)
def test_a_loss_is_on_record_and_reported(daemon: DaemonProcess, lose: Disturbance) -> None:
    """The service goes on, the new segment says what it found, and the whole log doesn't verify."""
    reader = Reader(daemon)
    reader.read()
    lose(daemon.audit_path)
    reader.read()
    assert_ours(daemon.audit_path)
    opening = entries(daemon.audit_path)[0]
    assert opening["found"] in ("deleted", "truncated")
    assert logged_reads(daemon) >= 3
    assert verify(daemon, "--from", "1").status == INCOMPLETE
    daemon.restart()
    reader.read()
    assert verify(daemon, "--from", "1").status == INCOMPLETE


@pytest.mark.parametrize("intrude", INTRUSIONS)
def test_what_lies_in_the_logs_place_is_set_aside(
    daemon: DaemonProcess, intrude: Disturbance
) -> None:
    """It is neither written to nor lost, an entry says where it is, and no later start minds it."""
    reader = Reader(daemon)
    reader.read()
    intrude(daemon.audit_path)
    reader.read()
    assert_ours(daemon.audit_path)
    noted = entries_of(daemon, op="file_set_aside") + entries_of(daemon, op="tail_set_aside")
    (aside,) = re.findall(r"audit\.jsonl\.(?:aside|torn)-[0-9a-f]{16}", noted[0]["note"])
    assert os.path.lexists(daemon.state / aside)
    if intrude is put_a_link:
        assert (daemon.state / "elsewhere").read_text() == "theirs\n"
    assert logged_reads(daemon) == reader.answers
    daemon.kill()
    daemon.start()
    assert_intact(daemon)


@pytest.mark.parametrize("rotate", [move, move_and_create])
def test_sighup_opens_a_new_segment_before_anybody_asks(
    daemon: DaemonProcess, rotate: Disturbance
) -> None:
    """logrotate's `postrotate`: the file is there, 0600 and ours, when the signal was heeded."""
    reader = Reader(daemon)
    reader.read()
    rotate(daemon.audit_path)
    daemon.reload()
    wait_until(lambda: daemon.audit_path.exists() and daemon.audit_path.stat().st_size > 0)
    assert_ours(daemon.audit_path)
    reader.read()
    assert logged_reads(daemon) == reader.answers
    assert_intact(daemon)


def test_sighup_alone_changes_nothing(daemon: DaemonProcess) -> None:
    """Where nothing was moved, no segment is begun."""
    reader = Reader(daemon)
    before = daemon.audit_path.stat().st_ino
    for _ in range(3):
        daemon.reload()
        reader.read()
    assert daemon.audit_path.stat().st_ino == before
    assert not entries_of(daemon, op="segment_opened")
    assert_intact(daemon)


def test_a_log_that_is_rotated_under_load_loses_nothing(daemon: DaemonProcess) -> None:
    """Moves fall between the write, its sync and the look after it; every answer has its entry."""
    readers = [Reader(daemon) for _ in range(3)]
    stop = threading.Event()

    def read(reader: Reader) -> None:
        while not stop.is_set():
            reader.read(20)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for number in range(60):
        time.sleep(0.01)
        try:
            daemon.audit_path.rename(f"{daemon.audit_path}.{number + 1}")
            if number % 2:
                daemon.audit_path.touch()
        except FileNotFoundError:
            pass  # nobody has asked since the last one
    stop.set()
    for thread in threads:
        thread.join()
    assert logged_reads(daemon) == sum(reader.answers for reader in readers)
    assert_intact(daemon)


def test_copytruncate_under_load_loses_nothing_unnoticed(daemon: DaemonProcess) -> None:
    """What is written between the copy and the cut is lost, which is why it is no way to rotate."""
    reader = Reader(daemon)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            reader.read(20)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(20):
        time.sleep(0.01)
        shutil.copy2(daemon.audit_path, f"{daemon.audit_path}.{number + 1}")
        os.truncate(daemon.audit_path, 0)
    stop.set()
    thread.join()
    lost = reader.answers - logged_reads(daemon)
    verdict = verify(daemon, "--from", "1")
    assert lost >= 0
    # a copy that caught half a turn is a finding too, also where nothing was lost
    assert verdict.status in ({INCOMPLETE} if lost else {INTACT, INCOMPLETE}), (lost, verdict)


PLANS_LOGROTATE = """\
{path} {{
    daily
    missingok
    rotate 365
    compress
    notifempty
    create 0640
    sharedscripts
    postrotate
        # Signal daemon to reopen log file (if needed)
    endscript
}}
"""
"""As the plan has it in 8.3, but for the owner's name."""


@needs("logrotate")
def test_logrotate_as_the_plan_configures_it_loses_nothing(daemon: DaemonProcess) -> None:
    """Without a signal and with `compress`: rotated three times, all of it verifies."""
    config = daemon.directory / "logrotate.conf"
    config.write_text(PLANS_LOGROTATE.format(path=daemon.audit_path))
    config.chmod(0o644)
    command = ["logrotate", "-f", "-s", str(daemon.directory / "logrotate.state"), str(config)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/bin"}
    reader = Reader(daemon)
    for _ in range(3):
        reader.read()
        subprocess.run(command, check=True, env=environment)
    reader.read()
    assert len(list(daemon.state.glob("audit.jsonl.*.gz"))) == 3
    assert_ours(daemon.audit_path)
    assert logged_reads(daemon) == reader.answers
    assert_intact(daemon)
    daemon.restart()
    assert_intact(daemon)


def test_a_rotated_part_that_was_thrown_away_is_reported(daemon: DaemonProcess) -> None:
    """A hole between two segments, and a missing beginning where all is demanded."""
    reader = Reader(daemon)
    for number in range(3):
        reader.read()
        daemon.audit_path.rename(f"{daemon.audit_path}.{3 - number}")
    reader.read()
    first, middle = (daemon.state / f"audit.jsonl.{number}" for number in (3, 2))
    kept = middle.read_bytes()
    middle.unlink()
    assert verify(daemon).status == INCOMPLETE
    middle.write_bytes(kept)
    assert_intact(daemon)
    first.unlink()
    assert verify(daemon, "--from", "1").status == INCOMPLETE
    assert verify(daemon).status == INTACT


def test_a_rotated_part_that_was_altered_is_told_from_one_that_is_missing(
    daemon: DaemonProcess,
) -> None:
    """Exit status 1, with the file and the line."""
    reader = Reader(daemon)
    reader.read()
    daemon.audit_path.rename(f"{daemon.audit_path}.1")
    reader.read()
    rotated = daemon.state / "audit.jsonl.1"
    rotated.write_bytes(
        rotated.read_bytes().replace(b'"outcome":"allowed"', b'"outcome":"denied"', 1)
    )
    verdict = verify(daemon)
    assert verdict.status == TAMPERED
    assert re.search(r"audit\.jsonl\.1, line \d+", verdict.text)
