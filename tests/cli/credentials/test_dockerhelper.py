"""`docker-credential-jarvis` speaks docker's protocol."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.cli.credentials.dockerhelper import PREFIX, run_helper
from jarvis_secretsd.cli.credentials.store import name_for
from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.messages import Failure, Put
from jarvis_secretsd.values import Kind
from tests.cli.conftest import Outcome
from tests.cli.credentials.conftest import Helper
from tests.client.fake_daemon import FakeDaemon

HUB = "https://index.docker.io/v1/"
NOT_FOUND = b"credentials not found in native keychain\n"

Docker = Callable[..., Outcome]


@pytest.fixture
def docker(ask: Helper) -> Docker:
    """Runs one action with what docker would say."""

    def act(action: str, said: bytes | str = "") -> Outcome:
        return ask(run_helper, action, said)

    return act


def login(server: str, username: str = "ann", secret: str = "s3cret") -> str:
    """A login as docker writes it."""
    return json.dumps({"ServerURL": server, "Username": username, "Secret": secret}) + "\n"


def test_what_was_stored_is_got(fake: FakeDaemon, docker: Docker) -> None:
    """A login comes back whole, and lies in a secret named for its registry, issued elsewhere."""
    assert docker("store", login(HUB, secret='p"\\ü€')) == (0, b"", "")
    got = docker("get", f"{HUB}\n")
    assert json.loads(got.out) == {"ServerURL": HUB, "Username": "ann", "Secret": 'p"\\ü€'}
    assert [*fake.secrets] == ["docker/https/index.docker.io/v1"]
    (put,) = fake.operations(Put)
    assert isinstance(put, Put)
    assert put.kind is Kind.EXTERNAL


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("ghcr.io", "docker/ghcr.io"),
        ("https://ghcr.io", "docker/https/ghcr.io"),
        ("localhost:5000", "docker/localhost_5000"),
        ("[::1]:5000", "docker/_1_5000"),
        ("http://Registry.Example/Team A/", "docker/http/registry.example/team_a"),
        ("registry.example/ns/image", "docker/registry.example/ns/image"),
    ],
)
def test_a_registry_names_its_secret(
    fake: FakeDaemon, docker: Docker, server: str, name: str
) -> None:
    """The name follows from the address, so that a line of policy can be written before a login."""
    docker("store", login(server))
    assert [*fake.secrets] == [name]
    assert json.loads(docker("get", server).out)["Username"] == "ann"


@given(address=st.text(min_size=1, max_size=400))
def test_any_address_has_a_name_or_is_refused(address: str) -> None:
    """Whatever is asked for, the name stays below the prefix."""
    try:
        name = name_for(PREFIX, address)
    except Refused:
        return
    assert name.startswith("docker/")


def test_two_addresses_with_one_name_dont_mix(fake: FakeDaemon, docker: Docker) -> None:
    """The second is neither given the first one's login, nor overwrites or erases it."""
    docker("store", login("host:80"))
    before = dict(fake.secrets)
    assert docker("get", "host_80") == (1, NOT_FOUND, "")
    assert docker("erase", "host_80") == (1, NOT_FOUND, "")
    refused = docker("store", login("host_80"))
    assert refused.status == 1
    assert b"docker/host_80 already holds the login to host:80" in refused.out
    assert fake.secrets == before


def test_a_new_login_replaces_the_old(fake: FakeDaemon, docker: Docker) -> None:
    """A registry has one login, the last; the same one again makes no new version."""
    docker("store", login("ghcr.io"))
    docker("store", login("ghcr.io"))
    assert fake.versions["docker/ghcr.io"] == 1
    docker("store", login("ghcr.io", "ben", "other"))
    assert json.loads(docker("get", "ghcr.io").out)["Secret"] == "other"


def test_what_was_erased_is_gone(docker: Docker, fake: FakeDaemon) -> None:
    """After a logout there is nothing, which programs know by its exact text."""
    docker("store", login("ghcr.io"))
    assert docker("erase", "ghcr.io\n") == (0, b"", "")
    assert docker("get", "ghcr.io") == (1, NOT_FOUND, "")
    assert docker("erase", "ghcr.io") == (1, NOT_FOUND, "")
    assert fake.secrets == {}


def test_the_list_has_servers_and_users(docker: Docker, fake: FakeDaemon) -> None:
    """Every login that may be read, without its secret; others' secrets are left out."""
    docker("store", login(HUB))
    docker("store", login("ghcr.io", "ben"))
    fake.hold(other="x")
    fake.hold(**{"docker/odd": "hunter2"})
    listed = docker("list")
    assert json.loads(listed.out) == {HUB: "ann", "ghcr.io": "ben"}
    assert "docker/odd holds something else" in listed.err
    assert "hunter2" not in listed.err


@pytest.mark.parametrize(
    ("action", "said", "told"),
    [
        ("get", "", "no credentials server URL"),
        ("get", " \n", "no credentials server URL"),
        ("erase", "\n", "no credentials server URL"),
        ("store", '{"Username":"u","Secret":"x"}', "no credentials server URL"),
        ("store", '{"ServerURL":"ghcr.io","Secret":"x"}', "no credentials username"),
        ("store", '{"ServerURL":["hunter2"]}', "the input is not JSON with"),
        ("store", "hunter2", "the input is not JSON with"),
        ("get", b"\xff", "the server's URL is not UTF-8"),
        ("get", "///", "no name can be made for the address"),
        ("dance", "", "Usage: docker-credential-jarvis <store|get|erase|list|version>"),
        ("", "", "Usage: "),
        ("get ghcr.io", "", "Usage: "),
    ],
)
def test_what_is_wrong_is_told_on_stdout(
    docker: Docker, fake: FakeDaemon, action: str, said: bytes | str, told: str
) -> None:
    """As docker reads it: one line on stdout, status 1, and never a piece of a secret."""
    outcome = docker(action, said)
    assert outcome.status == 1
    assert outcome.out.decode().startswith(told)
    assert outcome.out.count(b"\n") == 1
    assert b"hunter2" not in outcome.out + outcome.err.encode()
    assert not fake.operations(Put)


def test_the_version_is_told_without_a_daemon(docker: Docker) -> None:
    """Like other helpers: program, package, version."""
    outcome = docker("version")
    assert outcome.status == 0
    assert outcome.out.startswith(b"docker-credential-jarvis (jarvis-secretsd) ")


def test_a_denied_login_is_none(docker: Docker, fake: FakeDaemon) -> None:
    """A registry that needs no login works for who may not read one; stderr says why."""
    docker("store", login("ghcr.io"))
    fake.unreadable.add("docker/ghcr.io")
    outcome = docker("get", "ghcr.io")
    assert (outcome.status, outcome.out) == (1, NOT_FOUND)
    assert "docker/ghcr.io: the policy does not allow this" in outcome.err


def test_a_missing_client_is_not_a_missing_login(docker: Docker, fake: FakeDaemon) -> None:
    """A helper that isn't set up says so, rather than that there is no login."""
    fake.answers.append(lambda _: Failure("client_required", "say which client you are"))
    outcome = docker("get", "ghcr.io")
    assert outcome.status == 1
    assert b"JARVIS_CLIENT_ID" in outcome.out


def test_a_daemon_that_is_away_is_told(docker: Docker) -> None:
    """Without a daemon nothing looks like an anonymous pull."""
    outcome = docker("get", "ghcr.io")
    assert outcome.status == 1
    assert outcome.out != NOT_FOUND
    assert outcome.out.startswith(b"docker/ghcr.io: ")
    assert outcome.err == ""
