"""Rotation in two steps, by scripts of a few lines and a real daemon: the far end comes first."""

from __future__ import annotations

import base64
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.evidence import assert_intact, entries_of
from tests.e2e.tools import needs
from tests.fences import fenced
from tests.hooked_daemon import Watcher, give_hook, set_command, told
from tests.waiting import wait_until

MakeDaemon = Callable[..., DaemonProcess]

NAME, OLD = "db_password", "the old value, which is secret"

NEW_LIVES = """echo '{"live": "new"}'"""
OLD_LIVES = """echo '{"live": "previous"}'"""
CANT_TELL = "exit 75"


@pytest.fixture
def one(make_daemon: MakeDaemon) -> DaemonProcess:
    """A daemon that isn't started yet."""
    return make_daemon()


def started(daemon: DaemonProcess) -> Watcher:
    daemon.start()
    watcher = Watcher(daemon)
    watcher.put(NAME, OLD)
    return watcher


def is_alive(pid: int) -> bool:
    """Whether this process still does anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_in(path: Path) -> int:
    """The pid that a script wrote down."""
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_the_last_confirmed_value_is_given_until_the_hook_is_done(one: DaemonProcess) -> None:
    """`rotate` answers at once with `pending`; the hook is told names, kids and both values."""
    gate, asked = one.directory / "gate", one.directory / "asked"
    give_hook(one, rotate=f'printf %s "$asked" >{asked}; until [ -e {gate} ]; do sleep 0.02; done')
    watcher = started(one)
    assert watcher.ask("rotate", names=[NAME]) == {
        "rotated": [],
        "rotated_count": 0,
        "pending": [NAME],
        "failed": {},
    }
    said, kids = told(asked), watcher.kids(NAME)
    assert watcher.value(NAME) == OLD
    assert watcher.ask("rotate", names=[NAME])["code"] == "conflict"
    gate.touch()
    assert watcher.settled(NAME) == "current"
    assert watcher.value(NAME) == said["value"]
    assert watcher.value(NAME, kid=said["previous_kid"]) == OLD
    assert said == {
        "action": "rotate",
        "name": NAME,
        "kid": kids["pending"],
        "previous_kid": kids["current"],
        "value": watcher.value(NAME),
        "previous_value": OLD,
    }
    (entry,) = entries_of(one, op="settle")
    assert (entry["transport"], entry["note"]) == ("internal", "confirm: hook: exit status 0")
    assert_intact(one)


def test_a_hook_that_changed_nothing_leaves_the_previous_version(one: DaemonProcess) -> None:
    """It says so by its exit status; log and audit say why and which is live, and one can retry."""
    give_hook(one, rotate="""echo '{"reason": "denied"}'; exit 69""", verify=NEW_LIVES)
    watcher = started(one)
    assert watcher.rotate(NAME) == "current"
    assert watcher.value(NAME) == OLD
    assert list(watcher.kids(NAME)) == ["current"]
    assert "not rotated; the previous version is live" in one.stderr
    give_hook(one, rotate="exit 0")
    watcher.rotate(NAME)
    assert watcher.value(NAME) != OLD
    assert [entry["note"] for entry in entries_of(one, op="settle")] == [
        "drop: hook: exit status 69, denied",
        "confirm: hook: exit status 0",
    ]


@pytest.mark.parametrize(
    ("fate", "why"),
    [
        ("exit 1", "exit status 1"),
        ("kill -KILL $$", "signal 9"),
        ("sleep 60", "killed since its time was over"),
        ("while :; do echo 0123456789abcdef; done", "killed since it printed more than 1 MiB"),
    ],
)
@pytest.mark.parametrize(
    ("answer", "outcome", "is_new"),
    [(NEW_LIVES, "confirm", True), (OLD_LIVES, "drop", False)],
    ids=["new", "previous"],
)
def test_a_hook_that_broke_off_is_asked_which_value_is_live(
    one: DaemonProcess, fate: str, why: str, answer: str, outcome: str, is_new: bool
) -> None:
    """Failed by accident, crashed, too slow or too loud: its end says nothing, so its word does."""
    asked = one.directory / "asked"
    give_hook(one, rotate=fate, verify=f'printf %s "$asked" >{asked}; {answer}', timeout_secs=1)
    watcher = started(one)
    assert watcher.rotate(NAME) == "current"
    assert told(asked)["action"] == "verify"
    assert watcher.value(NAME) == (told(asked)["value"] if is_new else OLD)
    (entry,) = entries_of(one, op="settle")
    assert entry["note"] == f"{outcome}: asked the hook ({why}): exit status 0"


def test_what_nobody_can_tell_is_unresolved(one: DaemonProcess) -> None:
    """Both versions are readable by kid, and list, log and metrics say so, also after a restart."""
    give_hook(one, rotate="exit 1", verify=CANT_TELL)
    watcher = started(one)
    assert watcher.rotate(NAME) == "unresolved"
    kids = watcher.kids(NAME)
    assert watcher.value(NAME) == watcher.value(NAME, kid=kids["current"]) == OLD
    assert watcher.value(NAME, kid=kids["unresolved"]) not in (None, OLD)
    assert watcher.ask("put", name=NAME, value="x")["code"] == "conflict"
    remedy = f"jarvis-secrets revoke {NAME} KID, with the kid that the far end refuses"
    for starts in (1, 2):
        assert watcher.metric("unresolved") == 1
        assert one.stderr.count(remedy) == starts
        one.restart()
        assert watcher.state(NAME) == "unresolved"
    give_hook(one, verify=NEW_LIVES)
    one.restart()
    wait_until(lambda: watcher.state(NAME) == "current")
    assert watcher.kids(NAME) == {"current": kids["unresolved"], "grace": kids["current"]}
    assert watcher.metric("unresolved") == 0


def test_a_person_can_end_the_doubt(one: DaemonProcess) -> None:
    """Revoking either version leaves the other, and the hook's later word changes nothing."""
    gate = one.directory / "gate"
    give_hook(one, rotate="exit 1", verify=CANT_TELL)
    watcher = started(one)
    watcher.rotate(NAME)
    give_hook(one, verify=f"until [ -e {gate} ]; do sleep 0.02; done; {OLD_LIVES}")
    one.restart()
    kids = watcher.kids(NAME)
    watcher.ask("revoke", name=NAME, kid=kids["current"])
    gate.touch()
    wait_until(lambda: entries_of(one, op="settle", outcome="failed"))
    assert watcher.kids(NAME) == {"current": kids["unresolved"]}


def test_nothing_that_a_hook_prints_is_told_to_anybody(one: DaemonProcess) -> None:
    """On either stream, done or failed, asked or not: its output may hold the secret."""
    shout = 'for i in 1 2 3; do echo "$asked"; echo "$asked" >&2; done; '
    give_hook(one, rotate=f"{shout} exit 0", verify=f"{shout} {CANT_TELL}")
    watcher = started(one)
    watcher.rotate(NAME)
    new = watcher.value(NAME)
    give_hook(one, rotate=f"{shout} exit 3", verify=f"{shout} {CANT_TELL}")
    watcher.rotate(NAME)
    unresolved = watcher.value(NAME, kid=watcher.kids(NAME)["unresolved"])
    written = one.stdout + one.stderr + one.audit_path.read_text()
    assert "hook ended" in written
    for secret in (OLD, new, unresolved):
        assert secret
        assert secret not in written


HALF_DONE = """echo $$ >{pid}; sleep 60"""


@pytest.mark.parametrize("end", [DaemonProcess.kill, DaemonProcess.stop], ids=["kill", "stop"])
@pytest.mark.parametrize(
    ("answer", "state", "is_new"),
    [(NEW_LIVES, "current", True), (OLD_LIVES, "current", False), (CANT_TELL, "unresolved", False)],
    ids=["new", "previous", "can't tell"],
)
def test_after_the_daemon_ended_in_between_the_hook_is_asked(
    one: DaemonProcess,
    end: Callable[[DaemonProcess], int],
    answer: str,
    state: str,
    is_new: bool,
) -> None:
    """What still ran of it is ended first: it must not change what it was asked about."""
    pid = one.directory / "pid"
    give_hook(one, rotate=HALF_DONE.format(pid=pid), verify=answer)
    watcher = started(one)
    watcher.ask("rotate", names=[NAME])
    kid, hook = watcher.kids(NAME)["pending"], pid_in(pid)
    end(one)
    assert is_alive(hook) == (end is DaemonProcess.kill)
    one.start()
    assert watcher.settled(NAME) == state
    assert not is_alive(hook)
    assert (watcher.kids(NAME)["current"] == kid) == is_new
    (entry,) = entries_of(one, op="settle")
    assert "the daemon ended while it was at work" in entry["note"]
    assert_intact(one)


def test_a_hook_that_was_taken_out_of_the_configuration_leaves_doubt(one: DaemonProcess) -> None:
    """A version that waits for it is unresolved after the restart, not pending for ever."""
    give_hook(one, rotate="sleep 60")
    watcher = started(one)
    watcher.ask("rotate", names=[NAME])
    one.kill()
    one.configure({})
    one.start()
    assert watcher.settled(NAME) == "unresolved"
    assert "the configuration has no hook for it" in one.stderr


def test_fifty_rotations_run_a_few_hooks_at_a_time(one: DaemonProcess) -> None:
    """The others wait, all are settled, and meanwhile everybody else is answered."""
    names, steps = [f"db_{number}" for number in range(50)], one.directory / "steps"
    give_hook(one, rotate=f"echo + >>{steps}; sleep 0.1; echo - >>{steps}")
    watcher = started(one)
    for name in names:
        watcher.put(name, OLD)
    assert watcher.ask("rotate", names=names)["pending"] == names
    slowest = 0.0
    while any(each["state"] == "pending" for each in watcher.ask("list")["secrets"]):
        before = time.monotonic()
        assert watcher.value(NAME) == OLD
        slowest = max(slowest, time.monotonic() - before)
    running, most = 0, 0
    for step in steps.read_text().split():
        running += 1 if step == "+" else -1
        most = max(most, running)
    assert most == 8
    assert slowest < 1
    assert all(watcher.value(name) not in (OLD, None) for name in names)


LOOK = """\
#!{python} -IS
import json, os, sys
held = {{}}
for number in os.listdir("/proc/self/fd"):
    try:
        held[number] = os.readlink("/proc/self/fd/" + number)
    except FileNotFoundError:
        pass  # the one that lists them
found = {{
    "held": held,
    "environ": dict(os.environ),
    "argv": sys.argv,
    "cwd": os.getcwd(),
    "session": os.getsid(0) == os.getpid(),
    "umask": os.umask(0),
}}
with open({found!r}, "w") as file:
    file.write(json.dumps(found))
"""


def test_a_hook_inherits_nothing(make_daemon: MakeDaemon) -> None:
    """No lock, socket, log or vault, and none of the daemon's variables; no value in argv."""
    one = make_daemon(
        environment={
            "LISTEN_FDNAMES": "api",
            "NOTIFY_SOCKET": "/nowhere",
            "CREDENTIALS_DIRECTORY": "/nowhere",
            "LD_LIBRARY_PATH": "/nowhere",
        }
    )
    program, found = one.directory / "look", one.directory / "found"
    program.write_text(LOOK.format(python=sys.executable, found=str(found)))
    program.chmod(0o755)
    set_command(one, [str(program), "--option"])
    watcher = started(one)
    watcher.rotate(NAME)
    saw = told(found)
    held = saw["held"]
    assert sorted(held) == ["0", "1", "2"]
    assert held["0"].startswith("/memfd:hook")
    assert held["1"].startswith("pipe:")
    assert held["2"] == "/dev/null"
    assert saw["environ"] == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/",
        "JARVIS_HOOK": str(one.vault_path),
    }
    assert saw["argv"] == [str(program), "--option"]
    assert (saw["cwd"], saw["session"], saw["umask"]) == ("/", True, 0o077)


class FarEnd(BaseHTTPRequestHandler):
    """A program with an API that has its password set, and then may fall silent."""

    password = OLD
    answers = True

    def do_GET(self) -> None:
        """Log in."""
        self._answer(is_in=self._is_in())

    def do_POST(self) -> None:
        """Set the password, if the login is right."""
        new = self.rfile.read(int(self.headers["Content-Length"])).decode()
        is_in = self._is_in()
        if is_in:
            FarEnd.password = new
        if self.answers:
            self._answer(is_in=is_in)

    def log_message(self, *_: object) -> None:
        """Tell nobody."""

    def _is_in(self) -> bool:
        wanted = base64.b64encode(f"app:{self.password}".encode()).decode()
        return bool(self.headers["Authorization"] == f"Basic {wanted}")

    def _answer(self, *, is_in: bool) -> None:
        self.send_response(200 if is_in else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def address() -> Iterator[str]:
    """Where that program listens."""
    FarEnd.password, FarEnd.answers = OLD, True
    with ThreadingHTTPServer(("127.0.0.1", 0), FarEnd) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@needs("jq", "curl")
def test_the_hook_of_the_page_works(one: DaemonProcess, address: str) -> None:
    """It rotates, changes nothing where the far end has another password, and can be asked."""
    page = (Path(__file__).parents[2] / "docs/rotation.md").read_text()
    (text,) = (block for block in fenced(page, "sh") if block.startswith("#!"))
    program = one.directory / "hook"
    program.write_text(text.replace("127.0.0.1:9000", address))
    program.chmod(0o755)
    set_command(one, [str(program)])
    watcher = started(one)
    watcher.rotate(NAME)
    assert watcher.value(NAME) == FarEnd.password != OLD
    FarEnd.answers = False
    watcher.rotate(NAME)
    assert watcher.value(NAME) == FarEnd.password
    FarEnd.password = "set by somebody else"
    watcher.rotate(NAME)
    assert [entry["note"] for entry in entries_of(one, op="settle")] == [
        "confirm: hook: exit status 0",
        "confirm: asked the hook (exit status 75): exit status 0",
        "drop: hook: exit status 69",
    ]
