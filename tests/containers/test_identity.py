"""Who the daemon takes a container for, in each way to reach it, and what that gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests import users
from tests.cli.terminal import PROGRAM
from tests.containers.deployment import BACKEND, POLICY, STRANGER, Deployment
from tests.containers.podman import Container, environment, podman
from tests.daemon_process import DaemonProcess
from tests.e2e.evidence import entries
from tests.e2e.tools import needs
from tests.waiting import wait_until

pytestmark = [pytest.mark.containers, needs("podman", "buildah", "runc")]

FIRST = 100_000
MAPPED = f"--uidmap=0:{FIRST}:65536"
"""A user namespace: the container's uid 1001 is the host's 101001."""

ROOTS = POLICY + '  roots: {users: [root], permissions: [read], allow: ["*"]}\n'

HOLD = """
import sys
from jarvis_secretsd.client import SecretsClient, SecretsClientError
with SecretsClient(sys.argv[1], client_id="backend", wait=5, cache_ttl=0) as client:
    for line in sys.stdin:
        try:
            print(len(client.get("postgres_password")), flush=True)
        except SecretsClientError as error:
            print(error.code, flush=True)
"""
"""A program that holds one client, and asks again for each line that it is given."""


def directory(deployment: Deployment, mode: str = "ro") -> str:
    """The better way: the socket's directory is mounted."""
    return f"--volume={deployment.sockets}:/run/jarvis:{mode}"


def as_user(uid: int) -> str:
    return f"--user={uid}:{uid}"


def over_tcp(deployment: Deployment) -> tuple[str, ...]:
    return ("--network=host", f"--env=JARVIS_SECRETS_URL={deployment.url}")


def stocked(deployment: Deployment, *options: str) -> Container:
    """A daemon that has the backend's password."""
    daemon = deployment.start(*options)
    put = ("jarvis-secrets", "put", "--generate=password", "postgres_password")
    daemon.exec(*put, client="admin")
    return daemon


def test_on_the_hosts_network_a_container_is_its_uid(deployment: Deployment) -> None:
    """Over TCP the kernel names the container's user, a mapped one as the host knows it."""
    stocked(deployment, "--network=host")
    tcp = over_tcp(deployment)
    backend = deployment.whoami(*tcp, as_user(BACKEND))
    assert (backend["uid"], backend["transport"], backend["client"]) == (BACKEND, "tcp", "backend")
    assert deployment.whoami(*tcp, as_user(STRANGER))["clients"] == []
    assert deployment.whoami(*tcp, as_user(0), MAPPED)["uid"] == FIRST
    got = deployment.ask("get", "postgres_password", options=(*tcp, as_user(BACKEND)))
    assert len(got.stdout) > 20


def test_root_in_a_container_is_root_and_has_nothing_unless_the_policy_says_so(
    deployment: Deployment,
) -> None:
    """On the host's network; and then every such container has it."""
    daemon = stocked(deployment, "--network=host")
    root = (*over_tcp(deployment), as_user(0))
    assert deployment.whoami(*root)["uid"] == 0
    for client in ("admin", "backend", "roots"):
        got = deployment.ask("get", "postgres_password", options=root, client=client)
        assert (got.returncode, got.stdout) == (4, "")
    deployment.write_policy(ROOTS)
    daemon.kill("HUP")
    wait_until(lambda: deployment.whoami(*root)["clients"] == ["roots"], "the policy is read anew")
    got = deployment.ask("get", "postgres_password", options=root, client="roots")
    assert got.returncode == 0


def test_a_bridged_container_reaches_the_socket_and_not_the_port(deployment: Deployment) -> None:
    """Neither its own loopback nor the bridge's address leads to the host's 127.0.0.1."""
    stocked(deployment, "--network=host")
    bridge, uid = "--network=bridge", as_user(BACKEND)
    gateway = podman(
        "run", "--rm", "--entrypoint=sh", bridge, deployment.image, "-c", "cat /proc/net/route"
    ).stdout
    found = re.search(r"^\S+\s+00000000\s+(\w{8})", gateway, re.M)
    assert found is not None
    for host in ("127.0.0.1", ".".join(str(each) for each in bytes.fromhex(found[1])[::-1])):
        url = f"--env=JARVIS_SECRETS_URL=http://{host}:{deployment.port}"
        asked = deployment.ask("health", "--allow-remote", options=(bridge, url, uid))
        assert asked.returncode == 5
    assert deployment.whoami(bridge, uid, directory(deployment))["client"] == "backend"


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_with_the_sockets_directory_a_container_is_its_uid(
    deployment: Deployment, mode: str
) -> None:
    """Whatever its network, mounted read-only or not; without a pid, in the log too."""
    stocked(deployment)
    mounted = directory(deployment, mode)
    for network in ("none", "bridge", "host"):
        backend = deployment.whoami(f"--network={network}", mounted, as_user(BACKEND))
        assert (backend["uid"], backend["transport"]) == (BACKEND, "unix")
        assert backend["client"] == "backend"
    assert deployment.whoami(mounted, as_user(STRANGER))["clients"] == []
    options = ("--network=none", mounted, as_user(BACKEND))
    assert deployment.ask("get", "postgres_password", options=options).returncode == 0
    last = entries(deployment.audit / "audit.jsonl")[-1]
    assert (last["op"], last["uid"], last.get("pid")) == ("get", BACKEND, None)


def test_a_user_of_the_host_with_that_uid_is_the_same(deployment: Deployment) -> None:
    """A daemon in a container can't tell the two apart, nor can anybody else."""
    stocked(deployment)
    asked = subprocess.run(
        [*PROGRAM, "whoami", "--json"],
        cwd="/",
        env={"JARVIS_SECRETS_SOCKET": str(deployment.socket_path), "JARVIS_CLIENT_ID": "backend"},
        capture_output=True,
        check=True,
        **users.as_user(BACKEND),
    )
    assert json.loads(asked.stdout) == deployment.whoami(directory(deployment), as_user(BACKEND))


def test_a_daemon_on_the_host_sees_containers_with_their_pids(
    make_daemon: Callable[..., DaemonProcess], deployment: Deployment
) -> None:
    """With its socket's directory each is its uid; root has nothing without a line for it."""
    daemon = make_daemon(uid=1000, policy=POLICY)
    daemon.start()
    mounted = f"--volume={daemon.directory}:/run/jarvis:ro"
    assert deployment.whoami(mounted, as_user(BACKEND))["client"] == "backend"
    assert deployment.whoami(mounted, as_user(0))["clients"] == []
    daemon.write_policy(ROOTS)
    daemon.reload()

    def finds_nothing() -> bool:
        ask = ("get", "postgres_password")
        done = deployment.ask(*ask, options=(mounted, as_user(0)), client="roots")
        return done.returncode == 3

    wait_until(finds_nothing, "root may read, what isn't there")
    last = entries(daemon.audit_path)[-1]
    assert (last["uid"], last["client"], last["pid"] > 1) == (0, "roots", True)


def test_a_read_only_mount_keeps_a_container_from_taking_the_sockets_place(
    deployment: Deployment,
) -> None:
    """Even its owner's uid can't remove the socket there, as it could through a writable mount."""
    stocked(deployment)
    command = ("--entrypoint=rm", as_user(1000), deployment.image, "/run/jarvis/secretsd.sock")
    removed = podman("run", "--rm", directory(deployment), *command, check=False)
    assert removed.returncode == 1
    assert "Read-only file system" in removed.stderr


def test_a_mapped_container_is_the_user_that_the_host_knows(deployment: Deployment) -> None:
    """Its uid 1001 is the host's 101001, and its root is no root."""
    deployment.write_policy(POLICY.replace("[1001]", "[1001, 101001]"))
    stocked(deployment)
    mounted = directory(deployment)
    mapped = deployment.whoami(mounted, as_user(BACKEND), MAPPED)
    assert (mapped["uid"], mapped["client"]) == (FIRST + BACKEND, "backend")
    root = deployment.whoami(mounted, as_user(0), MAPPED)
    assert (root["uid"], root["clients"]) == (FIRST, [])


def test_root_of_another_pid_namespace_is_turned_away_at_the_socket(
    deployment: Deployment,
) -> None:
    """Even if the policy names root: uid 0 without a pid is nobody. Inside, it has a pid."""
    deployment.write_policy(ROOTS)
    daemon = stocked(deployment)
    options = (directory(deployment), as_user(0))
    asked = deployment.ask("get", "postgres_password", options=options, client="roots")
    assert (asked.returncode, asked.stdout) == (5, "")
    inside = daemon.exec("jarvis-secrets", "whoami", user="0", client="roots")
    assert "client: roots" in inside.stdout


def test_a_daemon_in_a_user_namespace_knows_only_its_own_users(deployment: Deployment) -> None:
    """Whoever it has no number for is 65534 to it, root too, and no client."""
    deployment.give_to(FIRST + 1000)
    assert "belongs to uid 65534" in deployment.refused(MAPPED), (
        "the configuration isn't its root's"
    )
    for path in (deployment.etc, *deployment.etc.iterdir()):
        os.chown(path, FIRST, FIRST)
    daemon = deployment.start(MAPPED)
    mounted = directory(deployment)
    for uid in (BACKEND, 0):
        outside = deployment.whoami(mounted, as_user(uid))
        assert (outside["uid"], outside["clients"]) == (65534, [])
    within = deployment.whoami(mounted, as_user(BACKEND), f"--userns=container:{daemon.id}")
    assert (within["uid"], within["client"]) == (BACKEND, "backend")


@contextmanager
def holding(deployment: Deployment, socket: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a container that goes on holding its client."""
    command = ("podman", "run", "--rm", "--interactive", as_user(BACKEND), *options)
    python = ("--entrypoint=/opt/jarvis-secretsd/bin/python", deployment.image, "-c", HOLD, socket)
    with subprocess.Popen(
        [*command, *python],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        yield program
        assert program.stdin is not None
        program.stdin.close()


def ask_again(program: subprocess.Popen[str]) -> str:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("again\n")
    program.stdin.flush()
    return program.stdout.readline().strip()


def test_a_container_with_the_directory_survives_a_restart_and_one_with_the_file_doesnt(
    deployment: Deployment,
) -> None:
    """The client comes back by its path; a mounted file stays the old socket, where nobody is."""
    daemon = stocked(deployment)
    by_file = f"--volume={deployment.socket_path}:/sockets/old.sock"
    with (
        holding(deployment, "/run/jarvis/secretsd.sock", directory(deployment)) as good,
        holding(deployment, "/sockets/old.sock", by_file) as bad,
    ):
        assert ask_again(good).isdecimal()
        assert ask_again(bad).isdecimal()
        daemon.restart()
        assert ask_again(good).isdecimal()
        assert ask_again(bad) == "unreachable"


def test_a_bridged_container_with_a_token_is_its_client(deployment: Deployment) -> None:
    """Over an address that the configuration lists; without token or listed host it is nobody."""
    deployment.configure(
        f'allowed_hosts = ["secretsd:{deployment.port}"]',
        "[security]\ndeny_network_remote = false\n",
    )
    config = deployment.etc / "config.toml"
    config.write_text(config.read_text().replace("127.0.0.1:", "0.0.0.0:"))
    deployment.write_policy(POLICY.replace("users: [1001],", "token: accepted,"))
    daemon = stocked(deployment, "--network=bridge")
    created = daemon.exec("jarvis-secrets", "token", "create", "backend", client="admin").stdout
    address = daemon.inspect("{{.NetworkSettings.IPAddress}}")
    (deployment.etc / "token").write_text(created)
    options = (
        "--network=bridge",
        f"--add-host=secretsd:{address}",
        f"--volume={deployment.etc}/token:/run/secrets/token:ro",
        as_user(STRANGER),
    )
    url = f"http://secretsd:{deployment.port}"
    by_token = (
        f"--env=JARVIS_SECRETS_URL={url}",
        "--env=JARVIS_SECRETS_TOKEN_FILE=/run/secrets/token",
    )
    ask = ("get", "postgres_password", "--allow-remote")
    assert deployment.ask(*ask, options=(*options, *by_token)).returncode == 0
    assert deployment.ask(*ask, options=(*options, by_token[0])).returncode == 4

    def status(host: str) -> str:
        said = '-H "X-Jarvis-Client: backend" -H "Authorization: Bearer $(cat /run/secrets/token)"'
        asked = f"http://{host}:{deployment.port}/secret/postgres_password"
        script = f"curl -s -o /dev/null -w '%{{http_code}}' {said} {asked}"
        command = ("--entrypoint=sh", deployment.image, "-c", script)
        return podman("run", "--rm", *options, *command).stdout

    assert (status("secretsd"), status(address)) == ("200", "403")
