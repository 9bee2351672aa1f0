"""The guest as a host on which the daemon is installed: what an administrator types, and sees."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TREE = Path(__file__).parents[2]
CONFIG = Path("/etc/jarvis-secretsd/config.toml")
POLICY = Path("/etc/jarvis-secretsd/policy.yaml")
STATE = Path("/var/lib/jarvis-secretsd")
SOCKET = Path("/run/jarvis/secretsd.sock")
ETC_UNITS = Path("/etc/systemd/system")
SERVICE = "jarvis-secretsd.service"
UNIX_SOCKET = "jarvis-secretsd.socket"
TCP_SOCKET = "jarvis-secretsd-tcp.socket"
REFUSED = "jarvis-secretsd-refused.target"
UNITS = tuple(sorted(path.name for path in (TREE / "systemd").iterdir() if path.is_file()))
PORT = 8081

LIMIT = 30.0
"""Seconds until something counts as not happening."""

POLICY_TEXT = """\
clients:
  admin: {users: [root], permissions: [all], allow: ["*"]}
  web: {users: [web], allow: [web_password]}
"""

ASK = {"JARVIS_SECRETS_SOCKET": str(SOCKET), "JARVIS_SECRETS_URL": ""}
ASK_TCP = {
    "JARVIS_SECRETS_SOCKET": "",
    "JARVIS_SECRETS_URL": f"http://127.0.0.1:{PORT}",
    "JARVIS_SECRETS_UID": "jarvis",
}


class Host:
    """Commands on this machine. All raise AssertionError, with what was printed, where one fails
    that isn't expected to.
    """

    def run(
        self,
        *command: str,
        user: str = "root",
        ok: bool | None = True,
        given: str = "",
        environ: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, as this user. `ok` is how it must end; None: either way."""
        as_whom = {} if user == "root" else {"user": user, "group": user, "extra_groups": []}
        ended: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            check=False,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            cwd="/",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **(environ or {})},
            **as_whom,  # type: ignore[call-overload]
        )
        said = f"{command}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert ok is None or ok == (ended.returncode == 0), said
        return ended

    def systemctl(self, *arguments: str, ok: bool | None = True) -> str:
        """What `systemctl` prints; where it fails unexpectedly, the service's journal says why."""
        ended = self.run("systemctl", *arguments, ok=None)
        assert ok is None or ok == (ended.returncode == 0), ended.stderr + self.journal()
        return ended.stdout

    def secrets(
        self,
        *arguments: str,
        client: str = "admin",
        user: str = "root",
        given: str = "",
        ok: bool | None = True,
        over: dict[str, str] = ASK,
    ) -> str:
        """What `jarvis-secrets` prints for this user, who asks as this client."""
        environ = {"JARVIS_CLIENT_ID": client, "HOME": "/", **over}
        ended = self.run(
            "jarvis-secrets", *arguments, user=user, given=given, environ=environ, ok=ok
        )
        return ended.stdout if ended.returncode == 0 else ended.stderr

    def put(self, name: str, value: str) -> None:
        """The admin stores it."""
        self.secrets("put", name, given=value)

    def show(self, name: str, unit: str = SERVICE) -> str:
        """A property of a unit (systemctl(1))."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    @property
    def pid(self) -> int:
        """The daemon; 0 where it doesn't run."""
        return int(self.show("MainPID"))

    @property
    def status(self) -> str:
        """The line about itself that the daemon gave the manager last."""
        return self.show("StatusText")

    def journal(self, unit: str = SERVICE) -> str:
        """All that this unit has said since the host was reset, and the manager about it."""
        since = f"@{self.since:.6f}"
        return self.run("journalctl", "--no-pager", f"--since={since}", f"--unit={unit}").stdout

    def until(self, what: Callable[[], bool]) -> None:
        """Wait until it is so."""
        deadline = time.monotonic() + LIMIT
        while not what():
            assert time.monotonic() < deadline, f"{self.status!r}\n{self.journal()}"
            time.sleep(0.05)

    def drop_in(self, text: str, unit: str = SERVICE, name: str = "test.conf") -> None:
        """Lay it over a unit's settings, until the host is reset."""
        place = ETC_UNITS / f"{unit}.d" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
        self.systemctl("daemon-reload")

    def configure(self, *lines: tuple[str, str]) -> None:
        """Replace texts of config.toml, each of which must be there; they are read at a start."""
        text = CONFIG.read_text()
        for old, new in lines:
            assert old in text, text
            text = text.replace(old, new)
        CONFIG.write_text(text)

    since = 0.0

    def reset(self) -> None:
        """As right after `make install`: nothing runs, no state, no configuration, no drop-in."""
        self.systemctl("stop", *UNITS, ok=None)
        self.systemctl("disable", SERVICE, TCP_SOCKET)
        for place in (CONFIG.parent, STATE, *ETC_UNITS.glob("jarvis-secretsd*.d")):
            shutil.rmtree(place, ignore_errors=True)
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        self.since = time.time()

    def begin(self) -> None:
        """What a person does once after `make install`, with a policy of ours."""
        self.run("jarvis-secretsd", "init", "--user", "jarvis")
        POLICY.write_text(POLICY_TEXT)
        self.systemctl("enable", "--now", SERVICE)


def add_user(name: str) -> None:
    """A user of a service, if there is none yet."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--system", "--user-group", name], check=True)


def is_installed() -> bool:
    """The commands are there."""
    return Path("/usr/local/bin/jarvis-secretsd").exists()


def install() -> None:
    """`make install`, as it stands in the documents; the pip in it needs no network here.

    With the umask that a careful root has.
    """
    ended = subprocess.run(
        ["make", "install"],
        check=False,
        cwd=TREE,
        capture_output=True,
        text=True,
        umask=0o077,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@contextmanager
def clean(host: Host) -> Iterator[Host]:
    """The host, reset before and after."""
    host.reset()
    try:
        yield host
    finally:
        host.reset()
