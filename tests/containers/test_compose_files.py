"""The Compose files in examples/ are what Compose takes, and keep the rules that they teach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from jarvis_secretsd.daemon.policyfile import load_policy

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = ("docker-compose.yml", "docker-compose.prod.yml")
EVERY_FILE = pytest.mark.parametrize("file", FILES)

DAEMON = 1000


def services(file: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / file).read_text())["services"]
    return found


@EVERY_FILE
def test_it_is_valid(file: str) -> None:
    """The Compose specification has every key and value of it, and the volumes are all declared."""
    text = json.dumps(yaml.safe_load((EXAMPLES / file).read_text()))
    parsed = PyCompose.from_json(text)
    parsed.validate()
    assert set(parsed.service_names()) == set(services(file))


def test_an_invalid_one_is_found() -> None:
    """The specification refuses what isn't in it."""
    with pytest.raises(ValueError, match="healthchek"):
        PyCompose.from_json('{"services": {"a": {"image": "x", "healthchek": {}}}}')


@EVERY_FILE
def test_each_service_that_asks_is_a_user_whom_the_policy_knows(file: str) -> None:
    """Its `user:` is bound to the client that it says it is, and to no other."""
    policy = load_policy(
        (EXAMPLES / "containers/policy.yaml").read_bytes(), source="policy.yaml", own_uid=DAEMON
    )
    asking = 0
    for service in services(file).values():
        for line in service.get("environment", ()):
            if line.startswith("JARVIS_CLIENT_ID="):
                uid = int(service["user"].partition(":")[0])
                bound = [name for name, client in policy.clients.items() if uid in client.uids]
                assert [line.partition("=")[2]] == bound
                asking += 1
    assert asking == 2


@EVERY_FILE
def test_the_socket_is_mounted_by_its_directory_and_read_only(file: str) -> None:
    """But by the daemon, which makes it."""
    for name, service in services(file).items():
        mounts = [each for each in service["volumes"] if "/run/jarvis" in each]
        wanted = "secretsd-socket:/run/jarvis" + ("" if name == "secretsd" else ":ro")
        assert mounts in ([], [wanted])


@EVERY_FILE
def test_no_secret_is_in_it(file: str) -> None:
    """What looks like a password is the name of a file or of a service."""
    for service in services(file).values():
        for line in service.get("environment", ()):
            variable, _, value = line.partition("=")
            assert "PASSWORD" not in variable or value.startswith("/run/secrets/")


def test_in_production_the_daemon_has_no_network_and_nobody_a_capability() -> None:
    """Every service is without capabilities, new privileges and a writable root."""
    found = services("docker-compose.prod.yml")
    assert found["secretsd"]["network_mode"] == "none"
    for service in found.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_plans_lines_about_the_daemon_are_in_the_development_file() -> None:
    """Host network, its three directories, its command, and curl as the health check."""
    daemon = services("docker-compose.yml")["secretsd"]
    assert daemon["network_mode"] == "host"
    assert daemon["command"] == ["--config", "/etc/jarvis-secretsd/config.toml"]
    assert daemon["healthcheck"]["test"] == [
        "CMD",
        "curl",
        "-f",
        "http://127.0.0.1:8081/healthz",
    ]
    assert daemon["volumes"][:3] == [
        "/etc/jarvis-secretsd:/etc/jarvis-secretsd:ro",
        "/opt/jarvis/secrets:/opt/jarvis/secrets",
        "/opt/jarvis/audit:/opt/jarvis/audit",
    ]
