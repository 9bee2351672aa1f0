"""The Compose files in examples/, run for real: daemon, PostgreSQL, and a backend that rotates."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import ROOT, build
from tests.containers.deployment import free_port
from tests.containers.podman import Done, podman, run
from tests.containers.test_compose_files import EVERY_FILE
from tests.e2e.tools import needs
from tests.waiting import wait_until

pytestmark = [pytest.mark.containers, needs("podman", "buildah", "runc")]

COMPOSE = Path(sys.executable).with_name("podman-compose")

ASK = """\
import json, sys, urllib.request
def ask(path, **more):
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}{path}", **more)
    return json.load(urllib.request.urlopen(request, timeout=10))
token = ask("/login", data=b'{"user": "ada"}')["token"]
print(json.dumps(ask("/whoami", headers={"Authorization": f"Bearer {token}"})))
"""
"""What a user of the backend does, within its container."""


class Project:
    """A Compose file of examples/, with directories and names that are the test's alone."""

    def __init__(self, file: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="jarvis-"))
        self.root.chmod(0o755)
        self.name = self.root.name
        self.port, daemon_port = free_port(), free_port()
        for directory in ("etc", "secrets", "audit"):
            (self.root / directory).mkdir()
        for directory in ("secrets", "audit"):
            os.chown(self.root / directory, 1000, 1000)
        for each in (ROOT / "examples/containers").iterdir():
            text = each.read_text().replace("127.0.0.1:8081", f"127.0.0.1:{daemon_port}")
            (self.root / "etc" / each.name).write_text(text)
        for name in (file, "override.yml"):
            text = (ROOT / "examples" / file).read_text() if name == file else self._override()
            text = text.replace("127.0.0.1:8081", f"127.0.0.1:{daemon_port}")
            (self.root / name).write_text(text.replace("8000", str(self.port)))
        self._files = [f"--file={self.root / name}" for name in (file, "override.yml")]

    def _override(self) -> str:
        """What differs from the example: its places, the name of a container, and an image."""
        daemon = {
            "container_name": f"{self.name}-secretsd",
            "volumes": [
                f"{self.root}/etc:/etc/jarvis-secretsd:ro",
                f"{self.root}/secrets:/opt/jarvis/secrets",
                f"{self.root}/audit:/opt/jarvis/audit",
            ],
        }
        postgres = {"image": "localhost/jarvis-postgres"}
        return json.dumps({"services": {"secretsd": daemon, "postgres": postgres}})

    def compose(self, *arguments: str) -> None:
        """Run podman-compose, which does here what `docker compose` does."""
        run(COMPOSE, f"--project-name={self.name}", *self._files, *arguments)

    def exec(self, service: str, *command: str, check: bool = True) -> Done:
        """Run a command in a service's container."""
        return podman("exec", self.container(service), *command, check=check)

    def admin(self, *command: str) -> Done:
        """What the example's first lines tell its reader to type."""
        return self.exec("secretsd", "jarvis-secrets", "--client", "admin", *command)

    def container(self, service: str) -> str:
        """The container of a service."""
        return self.name + ("-secretsd" if service == "secretsd" else f"_{service}_1")

    def is_healthy(self, service: str) -> bool:
        """What the service's health check says, run now."""
        done = podman("healthcheck", "run", self.container(service), check=False)
        return done.returncode == 0

    def whoami(self) -> Mapping[str, Any] | None:
        """What the backend answers a user who logs in; None where it fails."""
        python = "/opt/backend/bin/python"
        done = self.exec("backend", python, "-c", ASK, str(self.port), check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def kid(self) -> str:
        """The current version of the password."""
        listed = json.loads(self.admin("list", "--json", "postgres_password").stdout)
        return str(listed["secrets"][0]["kid"])

    def remove(self) -> None:
        """Nothing stays of it."""
        self.compose("down", "--volumes", "--timeout=1")
        shutil.rmtree(self.root)


@pytest.fixture(scope="session")
def images(image: str) -> None:
    """The images that the files name."""
    build("examples/backend/Dockerfile", "localhost/jarvis-backend")
    here = ROOT / "tests/containers/postgres"
    build("tests/containers/postgres/Dockerfile", "localhost/jarvis-postgres", context=here)


@pytest.fixture
def project(images: None, file: str) -> Iterator[Project]:
    """One of the files, and nothing of it runs yet."""
    made = Project(file)
    try:
        yield made
    finally:
        made.remove()


@EVERY_FILE
def test_a_backend_outlives_rotations_and_restarts_of_the_daemon(project: Project) -> None:
    """From the first `up` as its lines say, through a rotation by the hook, to a restart."""
    project.compose("up", "--detach", "secretsd")
    wait_until(lambda: project.is_healthy("secretsd"), "the daemon is well")
    project.admin("put", "postgres_password", "--generate=password")
    project.admin("put", "jwt_signing_key", "--generate=jwt_signing_key")
    project.compose("up", "--detach", "postgres-password")
    wait_until(lambda: project.is_healthy("postgres-password"), "PostgreSQL's file is there")
    project.compose("up", "--detach")  # podman before 4.6 doesn't wait for `service_healthy`
    wait_until(project.whoami, "the backend has its database")

    def rotated_from(kid: str) -> bool:
        return project.kid() != kid

    def files_fresh() -> bool:
        file = project.exec("postgres", "cat", "/run/secrets/postgres_password").stdout
        return file == project.admin("get", "postgres_password").stdout

    assert files_fresh()
    before = project.kid()
    project.admin("rotate", "postgres_password")
    wait_until(lambda: rotated_from(before), "the hook has changed the password")
    answer = project.whoami()
    assert answer is not None
    assert (answer["user"], answer["database"][0]) == ("ada", "app")
    wait_until(files_fresh, "the file has the new password")

    podman("restart", project.container("secretsd"))
    wait_until(lambda: project.is_healthy("secretsd"), "the daemon is back")
    assert project.whoami()
    before = project.kid()
    project.admin("rotate", "postgres_password")
    wait_until(lambda: rotated_from(before), "the hook has changed it again")
    assert project.whoami()
    wait_until(files_fresh, "the file is kept fresh by the same container as before")
