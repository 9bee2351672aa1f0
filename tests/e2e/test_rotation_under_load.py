"""A real backend under load, while its password and its signing key rotate: nobody notices."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.messages import Rotate, Rotated
from jarvis_secretsd.values import Kind, SecretName
from tests.daemon_process import DaemonProcess
from tests.docs.clients_page import environment
from tests.e2e.test_postgres_hook import HOOK
from tests.postgres_server import Postgres, needs_server, running
from tests.waiting import wait_until

BACKEND = Path(__file__).parents[2] / "examples/backend/backend.py"
USERS, ROUNDS = 4, 3
PASSWORD, KEY = "postgres_password", "jwt_signing_key"

pytestmark = needs_server


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A server with the role `app`."""
    with running() as made:
        made.boss("CREATE ROLE app LOGIN PASSWORD 'the-first'")
        yield made


@pytest.fixture
def served(daemon: DaemonProcess, postgres: Postgres) -> Iterator[str]:
    """The URL of a backend that knows no password of its own."""
    conninfo = f"host={postgres.directory} dbname=postgres"
    command = [*HOOK, "--role", "app", "--conninfo", conninfo]
    daemon.configure({"[hooks]": {"pattern": PASSWORD, "command": command, "timeout_secs": 30}})
    daemon.restart()
    with SecretsClient(str(daemon.socket_path), client_id="admin") as admin:
        admin.put(PASSWORD, "the-first")
        admin.put(KEY, kind=Kind.JWT_SIGNING_KEY)
    backend = subprocess.Popen(
        [
            sys.executable,
            str(BACKEND),
            "--port",
            "0",
            "--database",
            f"{conninfo} user=app",
        ],
        env=environment(daemon, "admin") | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert backend.stdout is not None
        found = re.search(r"\d+$", backend.stdout.readline().strip())
        assert found is not None
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        backend.terminate()
        backend.communicate()


class Load:
    """Users who log in and use their tokens, old and new, one request after the other."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = 0
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._users = [threading.Thread(target=self._use, args=(f"u{n}",)) for n in range(USERS)]

    def __enter__(self) -> Load:
        for user in self._users:
            user.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for user in self._users:
            user.join()

    def go_on(self) -> None:
        """Wait for fifty requests more, or for one that fails."""
        enough = self.requests + 50
        wait_until(lambda: self.requests > enough or self.failures)

    def _use(self, name: str) -> None:
        first = self._ask("/login", body={"user": name})["token"]
        while not self._is_over.is_set():
            new = self._ask("/login", body={"user": name})["token"]
            for token in (first, new):
                if self._ask("/whoami", token=token).get("user") != name:
                    self.failures.append(f"{name} isn't known any more")
            time.sleep(0.01)

    def _ask(self, path: str, *, token: str = "", body: object = None) -> dict[str, Any]:
        self.requests += 1
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer
        except urllib.error.HTTPError as error:
            self.failures.append(f"{path}: {error.code} {error.read().decode()}")
        except OSError as error:
            self.failures.append(f"{path}: {error}")
        return {"token": ""}


def rotate_both(admin: SecretsClient) -> None:
    """Return when both new versions are current."""
    kids = {name: admin.fetch(name).kid for name in (PASSWORD, KEY)}
    done = admin.ask(Rotate((SecretName(PASSWORD), SecretName(KEY))), Rotated)
    assert (done.rotated, done.pending) == ((KEY,), (PASSWORD,))
    wait_until(lambda: all(admin.fetch(name).kid != kid for name, kid in kids.items()))


def test_both_rotate_under_load_and_no_request_fails(
    daemon: DaemonProcess, served: str, postgres: Postgres
) -> None:
    """Tokens signed before a rotation verify after it, and every login to the database works."""
    with SecretsClient(str(daemon.socket_path), client_id="admin", cache_ttl=0) as admin:
        first = admin.get(PASSWORD)
        with Load(served) as load:
            for _ in range(ROUNDS):
                load.go_on()
                rotate_both(admin)
            load.go_on()
        assert load.failures == []
        assert not postgres.takes(first)
        assert postgres.takes(admin.get(PASSWORD))
