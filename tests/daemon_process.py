"""The real daemon as a process of its own, in a directory of its own, as any uid.

The directory lies under the system's temporary directory with a short name, because a Unix socket's
path has at most 107 bytes and every parent must be one that the daemon trusts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.users import as_user

Settings = Mapping[str, Mapping[str, str | int | bool | list[str]]]
"""Sections of config.toml, each with its keys."""

Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""

START_LIMIT = 20.0
"""Seconds until a start counts as hung. A busy machine of two cores has taken 4."""

STOP_LIMIT = 20.0
"""Seconds that a SIGTERM may take, with everything in flight finished."""


class DaemonDidNotStart(Exception):
    """The daemon ended, or didn't answer in time; says its exit status and what it printed."""


class DaemonProcess:
    """One daemon with its files. It can be stopped, killed and started again on the same state.

    `policy` is the text of policy.yaml; by default `admin` is bound to `uid` with all rights.
    `settings` are laid over the default configuration, section by section. `uid` (and a gid of the
    same number) runs it as another user, which needs root. `environment` is added to an otherwise
    bare one. `prefix` is put before the command (`("strace", "-f")`).
    """

    def __init__(
        self,
        *,
        policy: str | None = None,
        settings: Settings | None = None,
        uid: int | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.uid = os.geteuid() if uid is None else uid
        self.directory = Path(tempfile.mkdtemp(prefix="jarvis-"))
        self.directory.chmod(0o755)
        self.socket_path = self.directory / "secretsd.sock"
        self.config_path = self.directory / "config.toml"
        self.policy_path = self.directory / "policy.yaml"
        self.state = self.directory / "state"
        self.vault_path = self.state / "vault.json"
        self.key_path = self.state / "master.key"
        self.audit_path = self.state / "audit.jsonl"
        self.port = _free_port()
        self._environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.directory)}
        self._environment |= environment or {}
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self.state.mkdir(mode=0o700)
        self.configure(settings or {})
        self.write_policy(policy or _admin_only(self.uid))
        for path in (self.directory, self.state):
            self._give_away(path)

    @property
    def url(self) -> str:
        """Where it speaks HTTP over loopback TCP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process."""
        return self._running().pid

    @property
    def stdout(self) -> str:
        """All that every run so far has printed to standard output."""
        return _read(self.directory / "stdout")

    @property
    def stderr(self) -> str:
        """All that every run so far has printed to standard error."""
        return _read(self.directory / "stderr")

    @property
    def crashed(self) -> bool:
        """Whether any run so far told of a failure that nothing caught."""
        return "Traceback" in self.stderr or " fault=" in self.stderr or '"fault":' in self.stderr

    def configure(self, settings: Settings) -> None:
        """Write config.toml anew: the defaults of this helper, overlaid by `settings`."""
        self._sections = {name: dict(keys) for name, keys in self._defaults().items()}
        for name, keys in settings.items():
            self._sections.setdefault(name, {}).update(keys)
        self._write(self.config_path, _toml(self._sections))

    def write_policy(self, text: str) -> None:
        """Write policy.yaml anew; `reload()` makes a running daemon read it."""
        self._write(self.policy_path, text)

    def start(self) -> None:
        """Start it and return when it answers requests. Raises DaemonDidNotStart."""
        assert self._process is None, "it already runs"
        self._process = self._spawn(*self.command())
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                status = self.kill()
                raise DaemonDidNotStart(f"exit status {status}\n{self.stderr}")
            time.sleep(0.01)

    def run_to_end(self, *arguments: str) -> int:
        """Run it with these further arguments until it ends by itself; the exit status."""
        process = self._spawn(*self.command(*arguments))
        try:
            return process.wait(START_LIMIT)
        finally:
            process.kill()
            process.wait()

    def command(self, *arguments: str) -> tuple[str, ...]:
        """The command line of this daemon, with its configuration."""
        program = (sys.executable, "-m", "jarvis_secretsd.cli.daemon")
        return (*self._prefix, *program, "--config", str(self.config_path), *arguments)

    def stop(self) -> int:
        """End it with SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it with SIGKILL, as a crash would; the exit status."""
        return self._end(signal.SIGKILL)

    def stop_if_running(self) -> None:
        """End it with SIGTERM unless it has ended already."""
        if self._process is not None:
            self.stop()

    def restart(self) -> None:
        """Stop it and start it on the same state."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Send SIGHUP: the policy is read anew and the audit log reopened."""
        os.kill(self.pid, signal.SIGHUP)

    def wait(self) -> int:
        """Wait until it ends by itself; the exit status. Raises subprocess.TimeoutExpired."""
        status = self._running().wait(STOP_LIMIT)
        self._process = None
        return status

    def connect(self) -> socket.socket:
        """A new connection to its Unix socket, or to its TCP port where it has none."""
        return _connect(self._addresses()[0])

    def dispose(self) -> None:
        """End it if it runs, and remove its directory."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _defaults(self) -> Settings:
        return {
            "server": {
                "bind_addr": f"127.0.0.1:{self.port}",
                "allow_unix_socket": True,
                "socket_path": str(self.socket_path),
                "socket_mode": "0666",
            },
            "paths": {
                "vault_path": str(self.vault_path),
                "master_key_path": str(self.key_path),
                "audit_path": str(self.audit_path),
            },
            "security": {"rbac_policy_path": str(self.policy_path)},
        }

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (
            (self.directory / "stdout").open("ab") as stdout,
            (self.directory / "stderr").open("ab") as stderr,
        ):
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                **as_user(self.uid),
            )

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it doesn't run"
        return self._process

    def _end(self, number: signal.Signals) -> int:
        self._running().send_signal(number)
        return self.wait()

    def _answers(self) -> bool:
        """Whether every listener that the configuration asks for answers a request."""
        try:
            return all(_health(address) for address in self._addresses())
        except OSError:
            return False

    def _addresses(self) -> list[Address]:
        server = self._sections["server"]
        addresses: list[Address] = []
        if server["allow_unix_socket"]:
            addresses.append(str(self.socket_path))
        if server["bind_addr"]:
            addresses.append(("127.0.0.1", self.port))
        return addresses

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o640)
        self._give_away(path)

    def _give_away(self, path: Path) -> None:
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.uid)


def _health(address: Address) -> bytes:
    """The beginning of an answer to a frame that asks for the daemon's health."""
    with _connect(address) as connection:
        body = b'{"op":"health"}'
        connection.sendall(len(body).to_bytes(4, "big") + body)
        return connection.recv(4)


def _connect(address: Address) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(START_LIMIT)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _admin_only(uid: int) -> str:
    return f'clients:\n  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}\n'


def _toml(sections: Settings) -> str:
    """TOML as JSON writes it: text, numbers, booleans and lists of text look the same in both."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for name, keys in sections.items()
    )


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
