"""docs/credential-helpers.md: its names, records, policy and commands, as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jarvis_secretsd.cli.credentials import dockerhelper, githelper
from tests.daemon_process import DaemonProcess
from tests.docs.clients_page import environment, put
from tests.e2e.tools import needs
from tests.fences import fenced

PAGE = (Path(__file__).parents[2] / "docs" / "credential-helpers.md").read_text()
STORED = dict(re.findall(r"^\| (.*?) \| `((?:docker|git)/.*?)` \|$", PAGE, re.M))
"""The secret of each login in the table."""

HUB = "https://index.docker.io/v1/"
"""Docker Hub, as docker writes it."""


def blocks(language: str) -> list[str]:
    """What stands in this language, in order."""
    return fenced(PAGE, language)


@pytest.fixture
def daemon_of_the_page(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """A daemon with the policy of the page, in which we are everybody, and its two records."""
    (policy,) = blocks("yaml")
    mine = re.sub(r"users: \[\w+\]", f'users: ["{os.geteuid()}"]', policy)
    admin = f'  admin: {{users: ["{os.geteuid()}"], permissions: [all], allow: ["*"]}}\n'
    daemon = make_daemon(policy=mine + admin)
    daemon.start()
    docker, git = blocks("json")[-1].splitlines()
    put(daemon, "docker/ghcr.io", docker)
    put(daemon, "git/https/github.com", git)
    return daemon


def ask(
    daemon: DaemonProcess, client: str, *command: str, said: str
) -> subprocess.CompletedProcess[str]:
    """Run a program as the user of this client would."""
    return subprocess.run(
        command,
        env=environment(daemon, client) | {"GIT_TERMINAL_PROMPT": "0"},
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_names_are_those_of_the_helpers() -> None:
    """So that a line of policy can be copied."""
    for login, name in STORED.items():
        urls = re.findall(r"`https://([^/]+)/(.*?)`", login)
        if urls:
            ((host, path),) = urls
            remote = githelper.Remote("https", host, path.replace("...", ""))
            assert remote.name == name
        else:
            (server,) = re.findall(r"`docker login (.*?)`", login) or [HUB]
            assert dockerhelper._name(server) == name
    assert len(STORED) == PAGE.count("\n| ") - 1


def test_who_only_uses_logins_gets_them(daemon_of_the_page: DaemonProcess) -> None:
    """The records of the page, written by hand, under its policy for `deploy`."""
    got = ask(daemon_of_the_page, "deploy", "docker-credential-jarvis", "get", said="ghcr.io\n")
    assert json.loads(got.stdout) == json.loads(blocks("json")[-1].splitlines()[0])
    site = "protocol=https\nhost=github.com\n"
    got = ask(daemon_of_the_page, "deploy", "git-credential-jarvis", "get", said=site)
    assert got.stdout == "username=anna\npassword=ghp_...\n"
    denied = ask(daemon_of_the_page, "deploy", "git-credential-jarvis", "erase", said=site)
    assert denied.returncode == 1
    assert "git/https/github.com: the policy does not allow this" in denied.stderr


def test_who_keeps_logins_may_delete_them(daemon_of_the_page: DaemonProcess) -> None:
    """Under the policy of the page for `anna`."""
    for program, said in (
        ("docker-credential-jarvis", "ghcr.io\n"),
        ("git-credential-jarvis", "protocol=https\nhost=github.com\n"),
    ):
        assert ask(daemon_of_the_page, "anna", program, "erase", said=said).stderr == ""
        assert "ghp_" not in ask(daemon_of_the_page, "anna", program, "get", said=said).stdout


@needs("git")
def test_git_takes_the_lines_of_the_page(daemon_of_the_page: DaemonProcess) -> None:
    """The helper for all sites is anna's; the one for one site is another client's."""
    put(
        daemon_of_the_page,
        "git/https/git.example.org",
        blocks("json")[-1].splitlines()[1].replace("github.com", "git.example.org"),
    )
    everywhere, one_site = blocks("sh")
    fill = "protocol=https\nhost={}\n\n".format
    assert ask(daemon_of_the_page, "anna", "sh", "-euc", everywhere, said="").stderr == ""
    filled = ask(daemon_of_the_page, "anna", "git", "credential", "fill", said=fill("github.com"))
    assert filled.stdout.endswith("username=anna\npassword=ghp_...\n")
    ask(
        daemon_of_the_page,
        "anna",
        "git",
        "config",
        "--global",
        "--unset",
        "credential.helper",
        said="",
    )
    ask(daemon_of_the_page, "anna", "sh", "-euc", one_site, said="")
    filled = ask(
        daemon_of_the_page, "anna", "git", "credential", "fill", said=fill("git.example.org")
    )
    assert filled.returncode != 0
    assert "git/https/git.example.org: the policy does not allow this" in filled.stderr


def test_docker_takes_the_lines_of_the_page() -> None:
    """They name the program that there is."""
    every, some = map(json.loads, blocks("json")[:2])
    assert every == {"credsStore": dockerhelper.PROGRAM.removeprefix("docker-credential-")}
    assert set(some["credHelpers"].values()) == {every["credsStore"]}
    for server in some["credHelpers"]:
        assert f"`docker login {server}`" in STORED
