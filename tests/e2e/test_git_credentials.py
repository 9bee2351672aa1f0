"""git itself keeps its logins with a real daemon, for repositories over HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from jarvis_secretsd.client import SecretNotFound, SecretsClient
from tests.daemon_process import DaemonProcess
from tests.e2e.logins import ANN, asks_for_a_login, served, with_helper
from tests.e2e.tools import needs

pytestmark = needs("git")

SITE = "protocol=https\nhost=git.example\n"

Git = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def git(daemon: DaemonProcess, tmp_path: Path) -> Git:
    """Runs git with an empty home, nobody to ask, and the helper for `credential.helper`."""
    environ = with_helper("git-credential-jarvis", daemon, tmp_path)
    environ |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    environ |= {"GIT_TERMINAL_PROMPT": "0", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x"}
    environ |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@x"}

    def run(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            cwd=tmp_path,
            env=environ,
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    run("config", "--global", "credential.helper", "jarvis --client admin")
    return run


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[SecretsClient]:
    """Looks at what is stored."""
    with SecretsClient(str(daemon.socket_path), client_id="admin", cache_ttl=0) as asking:
        yield asking


@pytest.fixture
def site(git: Git, tmp_path: Path) -> Iterator[str]:
    """The URL of a site with the repository `team/project.git`, for ann alone."""
    root = tmp_path / "site"
    for command in (
        ("init", "-q", "work"),
        ("-C", "work", "commit", "-q", "--allow-empty", "-m", "first"),
        ("clone", "-q", "--bare", "work", str(root / "team" / "project.git")),
        ("-C", str(root / "team" / "project.git"), "update-server-info"),
    ):
        assert git(*command).returncode == 0
    handler = type("Site", (SimpleHTTPRequestHandler,), {"do_GET": asks_for_a_login(_serve)})
    with served(partial(handler, directory=str(root))) as address:
        yield f"http://{address}"


def _serve(handler: SimpleHTTPRequestHandler) -> None:
    SimpleHTTPRequestHandler.do_GET(handler)


def login_to(url: str, user: str, password: str) -> str:
    """What is told to `git credential` about a URL."""
    return f"url={url}\nusername={user}\npassword={password}\n\n"


def test_git_finds_what_it_approved(git: Git) -> None:
    """approve stores, fill gives, reject erases, as git itself speaks to a helper."""
    assert git("credential", "approve", said=f"{SITE}username=ann\npassword=p w=1\n\n").stderr == ""
    filled = git("credential", "fill", said=f"{SITE}\n")
    assert filled.stdout == f"{SITE}username=ann\npassword=p w=1\n"
    assert git("credential", "reject", said=filled.stdout + "\n").stderr == ""
    empty = git("credential", "fill", said=f"{SITE}\n")
    assert empty.returncode != 0
    assert "git-credential-jarvis" not in empty.stderr


def test_a_repository_is_cloned_with_a_stored_login(
    git: Git, site: str, client: SecretsClient
) -> None:
    """git asks the daemon, the site takes the login, and what works is not stored again."""
    assert git("ls-remote", f"{site}/team/project.git").returncode != 0
    git("credential", "approve", said=login_to(site, *ANN))
    name = f"git/http/{site.removeprefix('http://').replace(':', '_')}"
    assert git("clone", "-q", f"{site}/team/project.git", "clone").stderr == ""
    assert "first" in git("-C", "clone", "log").stdout
    assert "refs/heads" in git("ls-remote", f"{site}/team/project.git").stdout
    assert client.fetch(name).version == 1


def test_a_login_that_fails_is_forgotten(git: Git, site: str, client: SecretsClient) -> None:
    """git rejects what the site refused, and the daemon has it no more."""
    git("credential", "approve", said=login_to(site, ANN[0], "wrong"))
    name = f"git/http/{site.removeprefix('http://').replace(':', '_')}"
    assert "wrong" in client.get(name)
    refused = git("ls-remote", f"{site}/team/project.git")
    assert refused.returncode != 0
    assert "wrong" not in refused.stderr
    with pytest.raises(SecretNotFound):
        client.get(name)
    git("credential", "approve", said=login_to(site, *ANN))
    assert git("ls-remote", f"{site}/team/project.git").returncode == 0


def test_a_repository_may_have_its_own_login(git: Git, site: str, client: SecretsClient) -> None:
    """With credential.useHttpPath the login is for that path and for no other."""
    git("config", "--global", "credential.useHttpPath", "true")
    git("credential", "approve", said=login_to(f"{site}/team/project.git", *ANN))
    host = site.removeprefix("http://").replace(":", "_")
    assert [entry.name for entry in client.list()] == [f"git/http/{host}/team/project.git"]
    assert git("ls-remote", f"{site}/team/project.git").returncode == 0
    assert git("ls-remote", f"{site}/team/other.git").returncode != 0


def test_git_asks_the_next_helper_when_the_daemon_is_away(git: Git, daemon: DaemonProcess) -> None:
    """An outage is one line on stderr, and no reason to stop."""
    daemon.stop()
    git("config", "--global", "--add", "credential.helper", "!echo username=b; echo password=2 #")
    filled = git("credential", "fill", said=f"{SITE}\n")
    assert filled.stdout == f"{SITE}username=b\npassword=2\n"
    assert filled.stderr.count("\n") == 1
    assert filled.stderr.startswith("git-credential-jarvis: git/https/git.example: ")
    daemon.start()
