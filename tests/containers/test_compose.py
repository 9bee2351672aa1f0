"""Docker Compose itself with our provider and our files; its engine is podman, by Docker's API."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from jarvis_secretsd.client import SecretsClient
from tests.cli.terminal import PROGRAM
from tests.containers.podman import environment, run
from tests.daemon_process import DaemonProcess
from tests.e2e.tools import needs
from tests.waiting import wait_until

pytestmark = [pytest.mark.containers, needs("podman", "runc", "docker-compose")]

ROOT = Path(__file__).parents[2]
LIMIT = 120.0
OWNER = 64001

APP = """
services:
  app:
    image: {image}
    network_mode: none
    user: "{owner}"
    entrypoint: [sh, -c, {script}]
    ulimits: {{nofile: {{soft: 1024, hard: 4096}}, nproc: {{soft: 1024, hard: 4096}}}}
"""
"""The limits as in containers.conf, of which the engine's API takes no notice."""

PROVIDER = """
    depends_on: [db]
  db:
    provider:
      type: docker-jarvis
      options:
        client: admin
        secrets:
          - PASSWORD=db/main
          - api_key
"""

FILES = """
    secrets: [password]
    volumes: ["{path}:/mounted:ro"]
secrets:
  password:
    file: {path}/password
"""


class Project:
    """A directory with a compose.yaml, and an engine for it."""

    def __init__(self, directory: Path, daemon: DaemonProcess) -> None:
        self.directory = directory
        self._image = run(ROOT / "tests/machine/image").stdout.strip()
        self._socket = directory / "podman.sock"
        self.environ = environment() | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(directory),
            "DOCKER_CONFIG": str(directory),
            "DOCKER_HOST": f"unix://{self._socket}",
            "COMPOSE_PROJECT_NAME": f"jarvis{token_hex(8)}",
            "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        }
        command = ["podman", "system", "service", "--time=0", f"unix://{self._socket}"]
        self._engine = subprocess.Popen(command, env=self.environ)
        wait_until(self._socket.exists, "the engine listens")

    def write(self, script: str, more: str) -> None:
        """Have a service `app` that runs this script, and this besides."""
        text = APP.format(image=self._image, owner=OWNER, script=repr(script))
        (self.directory / "compose.yaml").write_text(text + more)

    def compose(self, *arguments: str) -> str:
        """All that Compose prints."""
        done = subprocess.run(
            ["docker-compose", "--ansi=never", *arguments],
            cwd=self.directory, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False, timeout=LIMIT,
        )  # fmt: skip
        return done.stdout

    def read(self, path: str) -> str:
        """What is in a file in the running container."""
        return self.compose("exec", "-T", "app", "cat", path)

    def close(self) -> None:
        """Nothing stays of it."""
        self.compose("down", "--timeout=0")
        self._engine.terminate()
        self._engine.wait(LIMIT)
        shutil.rmtree(self.directory)


@pytest.fixture
def project(daemon: DaemonProcess) -> Iterator[Project]:
    """A project, in memory, whose daemon has two secrets."""
    directory = Path(tempfile.mkdtemp(prefix="jarvis-compose-", dir="/dev/shm"))
    directory.chmod(0o755)
    made = Project(directory, daemon)
    try:
        with client(daemon) as admin:
            admin.put("db/main", 'p@$$ ${HOME}\n"x"=é')
            admin.put("api_key", "k")
        yield made
    finally:
        made.close()


def client(daemon: DaemonProcess) -> SecretsClient:
    """Who stores."""
    return SecretsClient(str(daemon.socket_path), client_id="admin", cache_ttl=0)


def test_a_service_has_the_secrets_of_its_provider(project: Project) -> None:
    """As variables with the provider's name, byte for byte; no value is among what Compose says."""
    project.write('printf %s "$$DB_PASSWORD$$DB_API_KEY" | od -An -v -tx1 -w99', PROVIDER)
    shown = project.compose("up", "--abort-on-container-exit")
    assert 'p@$$ ${HOME}\n"x"=ék'.encode().hex(" ") in shown
    assert "p@$$" not in shown
    assert "2 secrets: DB_PASSWORD, DB_API_KEY" in shown


def test_a_refusal_stops_it_with_what_was_wrong(project: Project) -> None:
    """No container is made without its secrets; `down` needs none."""
    project.write("echo started", PROVIDER.replace("api_key", "api_kee"))
    shown = project.compose("up", "--abort-on-container-exit")
    assert "api_kee: no secret is named api_kee; `jarvis-secrets list`" in shown
    assert "started" not in shown
    project.write("echo started", PROVIDER.replace("secrets:", "nothing:"))
    assert 'required parameter "secrets" is missing' in project.compose("up")
    assert "provider" not in project.compose("down")


@pytest.fixture
def keeper(project: Project) -> Iterator[Callable[[], None]]:
    """Keeps the directory `of` filled for the user of `app`; wait for its next remark with it."""
    with subprocess.Popen(
        [*PROGRAM, "files", "--dir", "of", "--owner", str(OWNER), "password=db/main"],
        cwd=project.directory,
        env=project.environ | {"JARVIS_CLIENT_ID": "admin"},
        stderr=subprocess.PIPE,
    ) as process:

        def told() -> None:
            assert process.stderr
            assert process.stderr.readline()

        told()
        yield told
        process.terminate()


def test_a_secret_of_compose_is_a_file_that_is_kept(
    project: Project, daemon: DaemonProcess, keeper: Callable[[], None]
) -> None:
    """The user of the image reads it. After a rotation the directory has the new value at once, and
    the file that was mounted alone after `docker compose restart`.
    """
    project.write("exec sleep 300", FILES.format(path=project.directory / "of"))
    project.compose("up", "--detach")
    old = 'p@$$ ${HOME}\n"x"=é'
    assert [project.read(path) for path in ("/run/secrets/password", "/mounted/password")] == [
        old
    ] * 2
    with client(daemon) as admin:
        admin.put("db/main", "new")
    keeper()
    assert project.read("/mounted/password") == "new"
    assert project.read("/run/secrets/password") == old
    project.compose("restart", "--timeout=0")
    assert project.read("/run/secrets/password") == "new"
