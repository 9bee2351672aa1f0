"""A disk that takes no more: nothing is served without its entry, and service resumes by itself."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import LISTENERS, Caller, Reply, ordinary_uid
from tests.e2e.evidence import assert_intact, contents, entries_of

SECRET = "the value that must not leave"
RESUME_LIMIT = 10.0
"""Seconds until it must serve again. It looks once a second."""

MakeDaemon = Callable[..., DaemonProcess]


@contextmanager
def file_limit(daemon: DaemonProcess, size: int) -> Iterator[None]:
    """Meanwhile no file of the daemon's may grow past this size, as on a full disk (EFBIG)."""
    pid = daemon.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have been stopped
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def assert_unavailable(reply: Reply, reason: str) -> None:
    """Refused with the reason, and nothing else is told."""
    assert (reply.outcome, reply.body.get("reason")) == ("unavailable", reason)
    assert SECRET not in str(reply.body)


def wait_until_well(caller: Caller) -> None:
    """Nobody asks for anything but its health until it serves again."""
    deadline = time.monotonic() + RESUME_LIMIT
    while caller.ask("health").body["status"] != "ok":
        assert time.monotonic() < deadline, "it doesn't resume by itself"
        time.sleep(0.05)


@pytest.mark.parametrize("way", LISTENERS)
def test_a_full_disk_refuses_with_its_reason(daemon: DaemonProcess, way: str) -> None:
    """Reads and writes are 503 `storage_full`, health says so, and then all is as it was."""
    with Caller(daemon, way) as caller:
        caller.ask("put", name="a", value=SECRET)
        before = contents(daemon.state)
        with file_limit(daemon, daemon.audit_path.stat().st_size):
            for op, fields in (
                ("get", {"name": "a"}),
                ("put", {"name": "a", "value": "new"}),
                ("put", {"name": "b", "value": "new"}),
                ("rotate", {"names": ["a"]}),
                ("delete", {"name": "a"}),
                ("list", {}),
                ("token_create", {"client": "admin"}),
            ):
                assert_unavailable(caller.ask(op, **fields), "storage_full")
            assert caller.ask("health").body["status"] == "storage_full"
            after = contents(daemon.state)
            assert (after["vault.json"], after["audit.jsonl"]) == (
                before["vault.json"],
                before["audit.jsonl"],
            )
        wait_until_well(caller)
        assert caller.ask("get", name="a").body["value"] == SECRET
        assert caller.ask("get", name="b").outcome == "not_found"
    assert "nothing is served until the disk takes entries" in daemon.stderr
    (resumed,) = entries_of(daemon, op="resumed")
    assert resumed["count"] >= 7
    assert_intact(daemon)


def test_health_over_http_is_an_error_meanwhile(daemon: DaemonProcess) -> None:
    """`curl -f` of a container's health check fails, and the body has the reason."""
    request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\n\r\n".encode()
    with Caller(daemon, "http over tcp") as caller:
        with file_limit(daemon, daemon.audit_path.stat().st_size):
            assert_unavailable(caller.ask("list"), "storage_full")
            caller.wire.send(request)
            response = caller.wire.response()
            assert (response.status, response.json["status"]) == (503, "storage_full")
            caller.wire.send(request.replace(b"healthz", b"metrics"))
            assert caller.wire.response().status == 200
        wait_until_well(caller)


@pytest.mark.parametrize("room", [1, 300, 700])
def test_a_turn_that_fits_by_half_leaves_no_half_line(daemon: DaemonProcess, room: int) -> None:
    """Whatever was written of it is taken back, in the log and in the vault before it."""
    with Caller(daemon) as caller:
        caller.ask("put", name="a", value="old")
        before = contents(daemon.state)
        with file_limit(daemon, daemon.audit_path.stat().st_size + room):
            questions = [("put", {"name": "a", "value": "new"}), ("get", {"name": "a"})] * 4
            caller.wire.send(b"".join(caller.request(op, **fields) for op, fields in questions))
            for _ in questions:
                assert_unavailable(caller.receive(), "storage_full")
            after = contents(daemon.state)
            assert after["vault.json"] == before["vault.json"]
            assert after["audit.jsonl"] == before["audit.jsonl"]
        wait_until_well(caller)
        assert caller.ask("get", name="a").body["value"] == "old"
    daemon.restart()
    assert_intact(daemon)


def test_a_vault_that_can_not_grow_keeps_what_it_has(daemon: DaemonProcess) -> None:
    """A record that the disk takes only by half isn't there afterwards; the next one is."""
    with Caller(daemon) as caller:
        caller.ask("put", name="large", value="x" * 100_000)
        size = daemon.vault_path.stat().st_size
        with file_limit(daemon, size + 100):
            assert_unavailable(caller.ask("put", name="b", value="new"), "storage_full")
            assert daemon.vault_path.stat().st_size == size
        wait_until_well(caller)
        assert caller.ask("put", name="b", value="newer").outcome == "ok"
    daemon.restart()
    with Caller(daemon) as caller:
        assert caller.ask("get", name="b").body["value"] == "newer"
        assert caller.ask("get", name="large").body["value"] == "x" * 100_000
    assert_intact(daemon)


@pytest.fixture
def small_disk(make_daemon: MakeDaemon) -> Iterator[DaemonProcess]:
    """A daemon whose state lies on a disk of its own, of 128 KiB."""
    daemon = make_daemon()
    options = "size=128k,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", daemon.state], check=True)
    try:
        daemon.start()
        yield daemon
        daemon.stop_if_running()
    finally:
        subprocess.run(["umount", "--lazy", daemon.state], check=True)


@pytest.mark.root("mounts a small disk")
def test_no_secret_leaves_a_full_disk_without_its_entry(small_disk: DaemonProcess) -> None:
    """The disk fills up and is cleared, again and again: an entry an answer, no half line."""
    filler, given, refused = small_disk.state / "filler", 0, 0
    with Caller(small_disk) as caller:
        caller.ask("put", name="a", value=SECRET)
        for _ in range(3):
            fill(filler)
            while (reply := caller.ask("get", name="a")).outcome == "ok":
                given += 1
            assert_unavailable(reply, "storage_full")
            assert_unavailable(caller.ask("put", name="a", value="other"), "storage_full")
            refused += 1
            filler.unlink()
            wait_until_well(caller)
            assert caller.ask("get", name="a").body["value"] == SECRET
            given += 1
        assert len(entries_of(small_disk, op="get", outcome="allowed")) == given
        assert len(entries_of(small_disk, op="resumed")) == refused
        assert_intact(small_disk)
        fill(filler)
        while caller.ask("get", name="a").outcome == "ok":
            pass
    assert small_disk.stop() == 0, "a full disk doesn't keep it from stopping"
    filler.unlink()
    small_disk.start()
    assert_intact(small_disk)


def fill(path: Path) -> None:
    """Write to a file until the disk takes no more."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture
def apart(make_daemon: MakeDaemon) -> DaemonProcess:
    """A daemon of an ordinary user's, whose log lies in a directory of its own."""
    daemon = make_daemon(uid=ordinary_uid())
    daemon.audit_path = daemon.directory / "audit" / "audit.jsonl"
    daemon.audit_path.parent.mkdir(mode=0o700)
    os.chown(daemon.audit_path.parent, daemon.uid, -1)
    daemon.configure({"paths": {"audit_path": str(daemon.audit_path)}})
    daemon.start()
    return daemon


@pytest.mark.parametrize("way", ["frames over unix", "http over tcp"])
def test_a_log_that_can_not_be_reached_refuses_with_its_reason(
    apart: DaemonProcess, way: str
) -> None:
    """503 `audit_unwritable` while the directory is closed to us, and then all is as it was."""
    with Caller(apart, way, uid=apart.uid) as caller:
        caller.ask("put", name="a", value=SECRET)
        vault = apart.vault_path.read_bytes()
        apart.audit_path.parent.chmod(0)
        assert_unavailable(caller.ask("get", name="a"), "audit_unwritable")
        assert_unavailable(caller.ask("put", name="a", value="new"), "audit_unwritable")
        assert caller.ask("health").body["status"] == "audit_unwritable"
        assert apart.vault_path.read_bytes() == vault
        apart.audit_path.parent.chmod(0o700)
        wait_until_well(caller)
        assert caller.ask("get", name="a").body["value"] == SECRET
    assert_intact(apart)


def test_a_daemon_without_room_can_still_be_stopped(daemon: DaemonProcess) -> None:
    """The entry `stop` can't be written; the exit status is 0, and the next start is clean."""
    with Caller(daemon) as caller, file_limit(daemon, daemon.audit_path.stat().st_size):
        assert_unavailable(caller.ask("list"), "storage_full")
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.wait() == 0
    daemon.start()
    assert_intact(daemon)
