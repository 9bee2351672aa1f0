"""docs/secret-files.md and its examples: the command and the Compose files, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from jarvis_secretsd.cli.composeprovider import PROGRAM
from tests.cli.conftest import Outcome
from tests.cli.test_compose_provider import Compose
from tests.daemon_process import DaemonProcess
from tests.docs.clients_page import environment, put
from tests.e2e.tools import needs
from tests.fences import fenced

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/secret-files.md").read_text()
UNIT = ROOT / "examples/secret-files/jarvis-files-postgres.service"
EXAMPLE = (ROOT / "examples/secret-files/compose.yaml").read_text()
(COMMAND,) = map(str.rstrip, fenced(PAGE, "sh"))
VOLUME, PROVIDER = fenced(PAGE, "yaml")


def option(name: str, command: str) -> str:
    """What a command line says with an option."""
    words = shlex.split(command)
    return words[words.index(name) + 1]


def test_the_command_of_the_page_fills_the_directory(daemon: DaemonProcess) -> None:
    """Run as it stands there, but for the directory, the owner, and that it ends."""
    put(daemon, "postgres_password", "p")
    memory = Path(tempfile.mkdtemp(prefix="jarvis-", dir="/dev/shm"))
    try:
        mine = COMMAND.replace(option("--dir", COMMAND), f"{memory}/of")
        mine = mine.replace("--owner 999", f"--owner {os.geteuid()}")
        done = subprocess.run(
            ["sh", "-euc", f"{mine} --once"],
            env=environment(daemon, "admin"),
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        assert (memory / "of/postgres_password").read_text() == "p"
    finally:
        shutil.rmtree(memory)


@pytest.mark.parametrize("text", [PROVIDER, EXAMPLE], ids=["page", "example"])
def test_the_provider_gives_the_variables_that_are_told(daemon: DaemonProcess, text: str) -> None:
    """Compose finds the program by its type, and `backend` gets DB_PASSWORD and DB_API_KEY."""
    for name in ("postgres_password", "api_key"):
        put(daemon, name, name)

    def provider(*arguments: str) -> Outcome:
        program = Path(sys.executable).with_name(said["type"])
        done = subprocess.run(
            [program, *arguments],
            env=environment(daemon, "admin"),
            capture_output=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr.decode())

    services = yaml.safe_load(text)["services"]
    said: Mapping[str, Any] = services["db"]["provider"]
    assert said["type"] == PROGRAM
    assert "db" in services["backend"]["depends_on"]
    mine = {**said["options"], "client": "admin"}
    assert Compose(provider).up(mine) == {
        "DB_PASSWORD": "postgres_password",
        "DB_API_KEY": "api_key",
    }
    assert "DB_PASSWORD" in EXAMPLE and "DB_PASSWORD and DB_API_KEY" in PROVIDER


def test_the_pages_and_the_examples_mean_the_same_files() -> None:
    """The directory of the command, of the unit, of the volume and of Compose's secret is one."""
    (start,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.M)
    path = option("--dir", COMMAND)
    assert option("--dir", start).replace("%t", "/run") == path
    (made,) = re.findall(r"^RuntimeDirectory=(.*)$", UNIT.read_text(), re.M)
    assert f"/run/{made}" == path
    assert yaml.safe_load(VOLUME)["services"]["postgres"]["volumes"][0]["source"] == path
    example = yaml.safe_load(EXAMPLE)
    assert example["secrets"]["postgres_password"]["file"] == f"{path}/postgres_password"
    variable = example["services"]["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"]
    assert variable == "/run/secrets/postgres_password"


@needs("systemd-analyze")
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """Without a word of doubt, and hardened."""
    mine = tmp_path / UNIT.name
    mine.write_text(UNIT.read_text().replace("/usr/local/bin/jarvis-secrets", "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", mine], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=22", mine],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout
