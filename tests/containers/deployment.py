"""A daemon in a container: its directories on the host, and those who ask it from others."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.containers.podman import Container, Done, podman
from tests.waiting import wait_until

DAEMON, BACKEND, STRANGER = 1000, 1001, 1009

HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")

CONFIG = """\
[server]
bind_addr = "127.0.0.1:{port}"
socket_mode = "0666"
{server}
[paths]
vault_path = "/opt/jarvis/secrets/vault.json"
master_key_path = "/opt/jarvis/secrets/master.key"
audit_path = "/opt/jarvis/audit/audit.jsonl"
{more}
"""

POLICY = """\
clients:
  admin: {allow: ["*"]}
  backend: {users: [1001], allow: [postgres_password]}
"""


class Deployment:
    """What the host has of a daemon in a container. All of it ends with `remove`."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.root = Path(tempfile.mkdtemp(prefix="jarvis-"))
        self.root.chmod(0o755)
        self.etc, self.sockets = self.root / "etc", self.root / "sockets"
        self.secrets, self.audit = self.root / "secrets", self.root / "audit"
        self.port = free_port()
        self._containers: list[Container] = []
        for directory in (self.etc, self.sockets, self.secrets, self.audit):
            directory.mkdir()
        self.give_to(DAEMON)
        self.configure()
        self.write_policy(POLICY)

    @property
    def socket_path(self) -> Path:
        """The daemon's socket, as the host sees it."""
        return self.sockets / "secretsd.sock"

    @property
    def url(self) -> str:
        """Where it speaks over TCP, in its own network."""
        return f"http://127.0.0.1:{self.port}"

    def configure(self, server: str = "", more: str = "") -> None:
        """Write config.toml anew, with further lines for `[server]` and further sections."""
        text = CONFIG.format(port=self.port, server=server, more=more)
        (self.etc / "config.toml").write_text(text)

    def write_policy(self, text: str) -> None:
        """Write policy.yaml anew."""
        (self.etc / "policy.yaml").write_text(text)

    def give_to(self, uid: int) -> None:
        """State and socket belong to this user from now on."""
        for directory in (self.sockets, self.secrets, self.audit):
            for path in (directory, *directory.rglob("*")):
                os.chown(path, uid, uid, follow_symlinks=False)
        self.secrets.chmod(0o700)
        self.audit.chmod(0o700)

    def mounts(self) -> tuple[str, ...]:
        """The volumes of the daemon."""
        return (
            f"--volume={self.etc}:/etc/jarvis-secretsd:ro",
            f"--volume={self.secrets}:/opt/jarvis/secrets",
            f"--volume={self.audit}:/opt/jarvis/audit",
            f"--volume={self.sockets}:/run/jarvis",
        )

    def background(self, *arguments: str | Path) -> Container:
        """A container of any image that ends with this deployment."""
        container = Container(*arguments)
        self._containers.append(container)
        return container

    def start(self, *options: str) -> Container:
        """A daemon that serves. Without a `--network` it has none."""
        if not any(option.startswith("--network") for option in options):
            options = ("--network=none", *options)
        container = self.background(*HARDENED, *self.mounts(), *options, self.image)
        wait_until(lambda: self.accepts(container), "the daemon serves")
        return container

    def accepts(self, container: Container) -> bool:
        """Whether somebody accepts connections on the socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self.socket_path)) == 0:
                return True
        assert container.inspect("{{.State.Running}}") == "true", container.logs
        return False

    def refused(self, *options: str) -> str:
        """What a daemon says that refuses to start."""
        arguments = ("--rm", *HARDENED, "--network=none", *self.mounts(), *options, self.image)
        done = podman("run", *arguments, check=False)
        assert done.returncode == 78, done.stderr
        return done.stderr.partition("jarvis-secretsd: ")[2]

    def ask(self, *command: str, options: tuple[str, ...] = (), client: str = "backend") -> Done:
        """`jarvis-secrets` in a container of its own, which sees what its options mount."""
        return podman(
            "run",
            "--rm",
            "--entrypoint=jarvis-secrets",
            f"--env=JARVIS_CLIENT_ID={client}",
            *options,
            self.image,
            *command,
            check=False,
        )

    def whoami(self, *options: str, client: str = "backend") -> Mapping[str, Any]:
        """Who the daemon says that somebody in a container with these options is."""
        done = self.ask("whoami", "--json", options=options, client=client)
        assert done.returncode == 0, done.stderr
        found: Mapping[str, Any] = json.loads(done.stdout)
        return found

    def remove(self) -> None:
        """Nothing stays of it."""
        for container in reversed(self._containers):
            container.remove()
        shutil.rmtree(self.root)


def free_port() -> int:
    """A port of this host that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
