"""Units of other programs on the guest, which want something of the daemon."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.systemd.host import ETC_UNITS, POLICY, SOCKET, STATE, Host, clean

CREDENTIALS = "/run/jarvis-credentials/secretsd.sock"
UNITS_PATH = "jarvis-units.path"
RESTARTER = "jarvis-units.service"

NO_CREDENTIAL = 243
"""The exit status of a unit that didn't get one (EXIT_CREDENTIALS, systemd.exec(5))."""

TAKEN = Path("/run/jarvis-test")
"""Where the units of the tests leave what they got."""

ADMIN = 'clients:\n  admin: {users: [root], permissions: [all], allow: ["*"]}\n'


class Consumers:
    """Units that a test writes; they are stopped and removed with it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._names: list[str] = []
        self._seen = 0

    def begin(self) -> None:
        """Two secrets with their usual values, a policy of the admin alone, and a clean slate."""
        TAKEN.mkdir(exist_ok=True)
        TAKEN.chmod(0o1777)
        self.policy()
        self.store("plain", "s3cret")
        self.store("tls/key", "-----KEY-----")
        self.host.since = time.time()
        self._seen = len(self._log())

    def call(self, path: str, **members: object) -> None:
        """The admin asks this over HTTP."""
        self.host.run(
            *("curl", "--silent", "--show-error", "--fail-with-body", "--unix-socket", str(SOCKET)),
            *("--header", "Content-Type: application/json", "--header", "X-Jarvis-Client: admin"),
            *("--data-binary", "@-", f"http://localhost{path}"),
            given=json.dumps(members),
        )

    def store(self, name: str, value: str) -> None:
        """The admin puts it."""
        self.call("/secret", name=name, value=value)

    def write(self, name: str, service: str) -> None:
        """A unit with these lines under [Service]."""
        (ETC_UNITS / name).write_text(f"[Service]\n{service}")
        self._names.append(name)
        self.host.systemctl("daemon-reload")

    def run(self, name: str, service: str, *, ok: bool = True) -> None:
        """Such a unit, started; `ok` is how that must end."""
        self.write(name, service)
        self.host.systemctl("start", name, ok=ok)

    def status_of(self, name: str) -> int:
        """The exit status of its main command."""
        return int(self.host.show("ExecMainStatus", name))

    def policy(self, *lines: str) -> None:
        """Put a policy of the admin and these clients in force."""
        POLICY.write_text(ADMIN + "".join(f"  {line}\n" for line in lines))
        self.call("/reload")

    def entries(self, **wanted: object) -> list[dict[str, Any]]:
        """The audit log's entries of this test that have these members, oldest first."""
        found: list[dict[str, Any]] = [json.loads(line) for line in self._log()[self._seen :]]
        return [each for each in found if wanted.items() <= each.items()]

    def _log(self) -> list[str]:
        lines = (STATE / "audit.jsonl").read_text().splitlines()
        return [line for line in lines if '"sig":' not in line]

    def clear(self) -> None:
        """Stop the units, and remove them and what they left."""
        self.host.systemctl("stop", *self._names, ok=None)
        self.host.systemctl("reset-failed", ok=None)
        for name in self._names:
            (ETC_UNITS / name).unlink(missing_ok=True)
            shutil.rmtree(ETC_UNITS / f"{name}.d", ignore_errors=True)
        self._names.clear()
        self.host.systemctl("daemon-reload")
        shutil.rmtree(TAKEN, ignore_errors=True)


@contextmanager
def consumers(installed: Host) -> Iterator[Consumers]:
    """The daemon serves, LoadCredential= too, and the restarts of units are enabled."""
    with clean(installed) as host:
        host.begin()
        host.systemctl("enable", "--now", UNITS_PATH)
        try:
            yield Consumers(host)
        finally:
            host.systemctl("disable", "--now", UNITS_PATH)
            host.systemctl("stop", RESTARTER)


class UserManager:
    """The systemd of a user of this host, as a login would start it."""

    def __init__(self, host: Host, user: str) -> None:
        self._host = host
        self._user = user
        self.uid = int(host.run("id", "-u", user).stdout)
        self._runtime = Path(f"/run/user/{self.uid}")

    def systemctl(self, *arguments: str, ok: bool | None = True) -> str:
        """What the user's `systemctl --user` prints."""
        environ = {"XDG_RUNTIME_DIR": str(self._runtime)}
        command = ("systemctl", "--user", *arguments)
        return self._host.run(*command, user=self._user, environ=environ, ok=ok).stdout

    def run(self, name: str, service: str, *, ok: bool = True) -> None:
        """A unit of the user's with these lines, started; `ok` is how that must end."""
        place = self._runtime / "systemd" / "user"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"[Service]\n{service}")
        self.systemctl("daemon-reload")
        self.systemctl("start", name, ok=ok)

    def status_of(self, name: str) -> int:
        """The exit status of its main command."""
        return int(self.systemctl("show", "--value", "--property=ExecMainStatus", name))


@contextmanager
def logged_in(host: Host, user: str) -> Iterator[UserManager]:
    """This user's manager runs. The guest has no logind, which would say where its runtime is."""
    manager = UserManager(host, user)
    service = f"user@{manager.uid}.service"
    host.drop_in("[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n", service)
    host.systemctl("start", service)
    try:
        yield manager
    finally:
        host.systemctl("stop", service)


def loads(*credentials: str, at: str = CREDENTIALS) -> str:
    """Lines of a unit that loads these."""
    return "".join(f"LoadCredential={each}:{at}\n" for each in credentials)


def keeps(credential: str, kind: str = "oneshot", user: str = "web") -> str:
    """Lines of a unit that leaves a copy of what it got in TAKEN."""
    copy = f'cat "$CREDENTIALS_DIRECTORY/{credential}" >{TAKEN}/%N.{credential}'
    stay = "; exec sleep infinity" if kind == "exec" else ""
    return f"Type={kind}\nUser={user}\nExecStart=/bin/sh -c '{copy}{stay}'\n"


def taken(unit: str, credential: str) -> bytes:
    """What the unit of this name without suffix got."""
    return (TAKEN / f"{unit}.{credential}").read_bytes()
