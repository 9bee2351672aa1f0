"""`jarvis-hook-postgres` against a real server that logs every statement."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.evidence import entries_of
from tests.e2e.tools import needs
from tests.hooked_daemon import Watcher, give_hook
from tests.postgres_server import Postgres, needs_server, running
from tests.waiting import wait_until

HOOK = (sys.executable, "-c", "from jarvis_secretsd.cli.hooks.postgres import main; main()")
NAME, OLD = "db_password", "the-old-one"

PASSWORDS = (
    "p@ss/w#r?d",
    "a%40b",
    "100%",
    "it's",
    "back\\slash",
    "x y+z",
    "$$",
    "\u00e9\u20ac",
    "A-_9" * 32,
    "\\'; DROP ROLE app; --",
    " \u00a0\ufb01\u00ad\u2168 ",  # SASLprep changes each of these
    "\u0221\x07",  # and refuses these, which are then taken as they are
)

pytestmark = [
    needs("psql"),
    needs_server,
]

MakeDaemon = Callable[..., DaemonProcess]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server with the roles `app`, and `clerk`, who may change nothing."""
    with running() as made:
        made.boss("CREATE ROLE clerk LOGIN")
        made.boss("CREATE ROLE app LOGIN")
        yield made


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """The server, where `app` has the old password."""
    with psycopg.connect(host=str(server.directory), dbname="postgres", user="boss") as boss:
        boss.execute("SET log_statement = none")
        boss.execute(f"ALTER ROLE app PASSWORD '{OLD}'".encode())
    return server


def ask(
    postgres: Postgres, *options: str, action: str = "rotate", new: str = "new", old: str = OLD
) -> tuple[int, dict[str, str]]:
    """Run the hook by itself: its exit status, and what it answered."""
    asked = {
        "action": action,
        "name": "db/app_password",
        "kid": "0" * 16,
        "previous_kid": "1" * 16,
        "value": new,
        "previous_value": old,
    }
    done = subprocess.run(
        [*HOOK, f"--conninfo=host={postgres.directory}", *options],
        env={"PATH": "/usr/bin:/bin", "HOME": "/"},
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def hooked(daemon: DaemonProcess, postgres: Postgres, *, rotate: str = "HOOK", **more: int) -> None:
    """Let the hook of this daemon be ours; `HOOK` in the commands of `rotate` stands for it."""
    options = f"--role app --conninfo host={postgres.directory}"
    run = f"printf %s \"$asked\" | {sys.executable} -c '{HOOK[2]}' {options}"
    give_hook(daemon, rotate=rotate.replace("HOOK", run), verify=run, **more)


def started(daemon: DaemonProcess) -> Watcher:
    daemon.start()
    watcher = Watcher(daemon)
    watcher.put(NAME, OLD)
    return watcher


def test_every_password_arrives_and_none_is_in_the_servers_log(postgres: Postgres) -> None:
    """Each replaces the one before it, as psql finds by its URL; only verifiers were sent."""
    before = OLD
    for password in PASSWORDS:
        assert ask(postgres, new=password, old=before) == (0, {})
        assert postgres.takes(password), password
        assert not postgres.takes(before), password
        before = password
    new, old = PASSWORDS[-1], PASSWORDS[-2]
    assert ask(postgres, action="verify", new=new, old=old) == (0, {"live": "new"})
    assert ask(postgres, action="verify", new=old, old=new) == (0, {"live": "previous"})
    logged = postgres.log.read_text()
    assert logged.count('ALTER ROLE "app" PASSWORD \'SCRAM-SHA-256$4096:') == len(PASSWORDS)
    for password in PASSWORDS:
        assert f"'{password}'" not in logged
        assert len(password) < 5 or password not in logged


def test_an_admin_without_a_password_may_do_it(postgres: Postgres) -> None:
    """By peer over the Unix socket, so that the previous password needn't be right."""
    assert ask(postgres, "--admin", "boss", old="forgotten") == (0, {})
    assert postgres.takes("new")
    assert not postgres.takes(OLD)


@pytest.mark.parametrize(
    ("options", "values", "reason"),
    [
        (["--admin", "clerk"], {}, "denied"),
        ([], {"old": "wrong"}, "denied"),
        (["--admin", "boss", "--role", "nobody-of-this-name"], {}, "misconfigured"),
        (["--conninfo", "host=/nowhere"], {}, "unreachable"),
        (["--conninfo", "host=/x password=hunter2"], {}, "misconfigured"),
        (["--conninfo", "host"], {}, "misconfigured"),
        (["--no-such-option"], {}, "misconfigured"),
        ([], {"new": ""}, "rejected"),
        ([], {"new": "a\0b"}, "rejected"),
    ],
)
def test_what_was_refused_has_changed_nothing(
    postgres: Postgres, options: list[str], values: dict[str, str], reason: str
) -> None:
    """The hook says so, and why."""
    assert ask(postgres, *options, **values) == (69, {"reason": reason})
    assert postgres.takes(OLD)


def test_a_server_that_asks_no_password_can_not_tell_which_is_live(postgres: Postgres) -> None:
    """A login that would succeed with anything says nothing; neither does one that never does."""
    options = ("--role", "boss")
    assert ask(postgres, *options, action="verify") == (75, {"reason": "misconfigured"})
    assert ask(postgres, action="verify", old="wrong") == (75, {"reason": "denied"})


def test_what_is_no_question_of_the_daemon_is_answered_with_a_hint() -> None:
    """A person who tries the program is told what it is."""
    done = subprocess.run(HOOK, input="", capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "this is a hook" in done.stderr


def test_without_its_driver_it_changes_nothing() -> None:
    """It says which extra brings it."""
    asked = dict.fromkeys(("name", "kid", "previous_kid", "value", "previous_value"), "x")
    python, option, text = HOOK
    done = subprocess.run(
        [python, option, f"import sys; sys.modules['psycopg'] = None; {text}"],
        input=json.dumps(asked | {"action": "rotate"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (69, '{"reason":"misconfigured"}\n')
    assert "pip install 'jarvis-secretsd[postgres]'" in done.stderr


def test_a_rotated_password_is_the_databases(make_daemon: MakeDaemon, postgres: Postgres) -> None:
    """Twice: the new one logs in, the old one doesn't, and none was ever in the server's log."""
    daemon = make_daemon()
    hooked(daemon, postgres)
    watcher = started(daemon)
    values = [OLD]
    for _ in range(2):
        assert watcher.rotate(NAME) == "current"
        values.append(str(watcher.value(NAME)))
        assert [postgres.takes(value) for value in values[-2:]] == [False, True]
    assert len(set(values)) == 3
    told = postgres.log.read_text() + daemon.stderr + daemon.audit_path.read_text()
    assert not any(value in told for value in values)


def test_while_the_server_is_down_the_old_password_stays(
    make_daemon: MakeDaemon, postgres: Postgres
) -> None:
    """The log says that it is live, and why; when the server is back, rotation works."""
    daemon = make_daemon()
    hooked(daemon, postgres)
    watcher = started(daemon)
    postgres.stop()
    try:
        assert watcher.rotate(NAME) == "current"
    finally:
        postgres.start()
    assert watcher.value(NAME) == OLD
    assert postgres.takes(OLD)
    assert "the previous version is live" in daemon.stderr
    assert "exit status 69, unreachable" in daemon.stderr
    watcher.rotate(NAME)
    assert postgres.takes(watcher.value(NAME))


@pytest.mark.parametrize(
    ("steps", "is_new"),
    [("touch {flag}; sleep 60; HOOK", False), ("HOOK; touch {flag}; sleep 60", True)],
    ids=["before", "after"],
)
def test_killed_between_the_steps_the_database_says_which_is_live(
    make_daemon: MakeDaemon, postgres: Postgres, steps: str, is_new: bool
) -> None:
    """The daemon was killed before or after ALTER ROLE: what it serves then is what logs in."""
    daemon = make_daemon()
    flag = daemon.directory / "flag"
    hooked(daemon, postgres, rotate=steps.format(flag=flag))
    watcher = started(daemon)
    watcher.ask("rotate", names=[NAME])
    kid = watcher.kids(NAME)["pending"]
    wait_until(flag.exists)
    daemon.kill()
    daemon.start()
    assert watcher.settled(NAME) == "current"
    assert (watcher.kids(NAME)["current"] == kid) == is_new
    assert postgres.takes(watcher.value(NAME))
    assert postgres.takes(OLD) != is_new


def test_a_hook_that_hangs_in_the_server_is_not_asked_too_early(
    make_daemon: MakeDaemon, postgres: Postgres
) -> None:
    """Its session may still do something, so nobody says which is live until it is over."""
    daemon = make_daemon()
    hooked(daemon, postgres, timeout_secs=2)
    watcher = started(daemon)
    with psycopg.connect(host=str(postgres.directory), dbname="postgres", user="boss") as boss:
        boss.execute("ALTER ROLE app CONNECTION LIMIT 50")  # and nobody else may alter it now
        assert watcher.rotate(NAME) == "unresolved"
        (entry,) = entries_of(daemon, op="settle")
        assert entry["note"].count("killed since its time was over") == 2
        boss.rollback()
    daemon.restart()
    wait_until(lambda: watcher.state(NAME) == "current")
    assert watcher.value(NAME) == OLD
    assert postgres.takes(OLD)
