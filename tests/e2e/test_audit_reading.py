"""The audit log and the latest refusals, read from a real daemon by those who may."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.e2e.evidence import assert_intact, entries
from tests.e2e.tools import needs
from tests.waiting import wait_until

PROGRAM = (sys.executable, "-c", "from jarvis_secretsd.cli.user import main; main()")


def environment(daemon: DaemonProcess, client: str = "admin") -> dict[str, str]:
    """What a client of this daemon has in its environment."""
    return {
        "PATH": os.environ["PATH"],
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": client,
        "TZ": "UTC",
    }


def tool(daemon: DaemonProcess, *arguments: str) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(daemon),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def following(daemon: DaemonProcess, *options: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """`audit log --follow --json` with these options; gives a function for the next entry."""
    process = subprocess.Popen(
        [*PROGRAM, "audit", "log", "--follow", "--json", *options],
        env=environment(daemon),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    stdout = process.stdout
    try:
        yield lambda: json.loads(stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130, process.stderr.read()
        process.stdout.close()
        process.stderr.close()


def test_what_happens_is_followed(daemon: DaemonProcess) -> None:
    """An entry is shown soon after it was made; what the filters leave out isn't."""
    with Caller(daemon) as admin, following(daemon, "--name", "db/*") as next_entry:
        for name in ("db/a", "other", "db/b"):
            admin.ask("put", name=name, value="x")
        shown = [next_entry() for _ in range(2)]
    assert [(entry["op"], entry["name"]) for entry in shown] == [("put", "db/a"), ("put", "db/b")]


def test_following_does_not_feed_itself(daemon: DaemonProcess) -> None:
    """Two who follow an idle log leave a few entries, and then none, however often they ask."""
    with following(daemon) as first, following(daemon) as second:
        first(), second()
        time.sleep(2.5)
        before = len(entries(daemon.audit_path))
        time.sleep(3)
        assert len(entries(daemon.audit_path)) == before
        with Caller(daemon) as admin:
            admin.ask("put", name="news", value="x")
        while first().get("name") != "news":
            pass
        while second().get("name") != "news":
            pass
        time.sleep(2.5)
        after = len(entries(daemon.audit_path))
    assert after - before <= 5, "the news, and what it takes to tell it"
    assert_intact(daemon)


def test_who_reads_the_log_is_in_it(daemon: DaemonProcess) -> None:
    """Each page with entries has its own, by whom and under which rule."""
    tool(daemon, "audit", "log")
    (read,) = [entry for entry in entries(daemon.audit_path) if entry["op"] == "audit_log"]
    assert (read["client"], read["uid"], read["outcome"]) == ("admin", daemon.uid, "allowed")


def test_a_denial_is_shown_soon(daemon: DaemonProcess) -> None:
    """Its entry waits for no sync, and yet isn't kept back until somebody is allowed something."""
    with Caller(daemon, client="nobody") as stranger:
        assert stranger.ask("get", name="db/main").outcome == "denied"
    with Caller(daemon) as admin:

        def seen() -> bool:
            page = admin.ask("audit_log", after=2)
            return any(entry["outcome"] == "denied" for entry in page.body["entries"])

        wait_until(seen)


@needs("strace")
@pytest.mark.root("only root can trace a process that isn't dumpable")
def test_heads_know_no_more_than_the_disk(
    make_daemon: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """After a denial, whose reply waits for no sync, the log is synced before the heads are kept.

    Or a power cut in between would look like a log that somebody cut.
    """
    trace = tmp_path / "trace"
    calls = "trace=fdatasync,rename,renameat,renameat2"
    daemon = make_daemon(prefix=("strace", "-D", "-f", "-y", "-e", calls, "-o", str(trace)))
    daemon.start()
    time.sleep(1.5)  # until what the start wrote is in the heads
    before = len(trace.read_text())
    with Caller(daemon, client="nobody") as stranger:
        assert stranger.ask("get", name="db/main").outcome == "denied"
    wait_until(lambda: "vault.heads" in trace.read_text()[before:])
    synced, _, _ = trace.read_text()[before:].partition("vault.heads")
    assert "audit.jsonl>" in synced


def test_a_long_log_is_read_page_by_page_while_others_are_served(daemon: DaemonProcess) -> None:
    """Thousands of entries over rotated files come whole and in order."""
    with Caller(daemon) as admin:
        admin.ask("put", name="x", value="v")
        for number in range(3):
            for _ in range(800):
                admin.send("get", name="x")
            for _ in range(800):
                admin.receive()
            daemon.audit_path.rename(f"{daemon.audit_path}.{3 - number}")
            daemon.reload()
            wait_until(daemon.audit_path.exists)
    shown = [
        json.loads(line)
        for line in tool(daemon, "audit", "log", "--json", "--limit", "100000").splitlines()
    ]
    numbers = [entry["seq"] for entry in shown]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum(entry["op"] == "get" for entry in shown) == 2400
    old = tool(daemon, "audit", "log", "--json", "--file", f"{daemon.audit_path}.3")
    assert [json.loads(line) for line in old.splitlines()][-1]["seq"] in numbers


@pytest.mark.root("asks as another user")
def test_only_who_may_audit_reads_the_log_or_the_refusals(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    """Another user with other rights is denied both, and so is root without a line for it."""
    policy = (
        "clients:\n"
        "  auditor: {users: ['1500'], permissions: [audit]}\n"
        "  reader: {users: ['1501'], permissions: [read, write, rotate, delete], allow: ['*']}\n"
    )
    daemon = make_daemon(uid=1400, policy=policy)
    daemon.start()
    for op in ("audit_log", "denials"):
        for uid, client in ((1501, "reader"), (1501, "auditor"), (0, "auditor"), (1502, "auditor")):
            with Caller(daemon, client=client, uid=uid) as caller:
                assert caller.ask(op).outcome == "denied"
        with Caller(daemon, client="auditor", uid=1500) as auditor:
            assert auditor.ask(op).outcome == "ok"
    with Caller(daemon, client="auditor", uid=1500) as auditor:
        told = auditor.ask("denials").body["denials"]
    assert {(one["uid"], one["op"]) for one in told} >= {(1501, "denials"), (1502, "audit_log")}
    remedies = {one["uid"]: one["remedy"] for one in told if one["client"] == "auditor"}
    assert remedies[1502] == "under clients.auditor add 1502 to `users`"


def test_a_head_that_is_kept_finds_a_cut_by_who_has_every_key(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """Vault, log and heads put back together agree; only what was kept elsewhere doesn't."""
    daemon.stop()
    earlier = {path: path.read_bytes() for path in (daemon.directory / "state").iterdir()}
    daemon.start()
    for name in ("one", "two"):
        tool(daemon, "put", name, "--generate", "password")
    kept = tmp_path / "head.json"
    kept.write_text(tool(daemon, "audit", "head"))
    assert verified(daemon, kept) == 0
    daemon.stop()
    for path, data in earlier.items():
        path.write_bytes(data)
    daemon.start()
    assert verified(daemon) == 0
    assert verified(daemon, kept) == 3


def verified(daemon: DaemonProcess, *heads: Path) -> int:
    """The exit status of `audit verify` with these heads that were kept."""
    options = [option for head in heads for option in ("--head", str(head))]
    command = "from jarvis_secretsd.cli.daemon import main; main()"
    return subprocess.run(
        [
            sys.executable,
            "-c",
            command,
            "--config",
            daemon.config_path,
            "audit",
            "verify",
            *options,
        ],
        check=False,
        capture_output=True,
        timeout=60,
    ).returncode
