"""`docker-jarvis` speaks the protocol of Docker Compose's providers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jarvis_secretsd.cli.composeprovider import run_provider
from jarvis_secretsd.messages import Failure, Get
from jarvis_secretsd.values import SecretValue
from tests.cli.conftest import Outcome
from tests.client.fake_daemon import FakeDaemon

Provider = Callable[..., Outcome]
Options = Mapping[str, str | Sequence[str]]

ROOM = 128 * 1024 - len("DB_A=\0")
"""The longest value of DB_A that Linux takes (execve(2))."""


class ComposeFailed(Exception):
    """`docker compose up` ends with this text."""


class Compose:
    """Compose's side, as its source has it: `pkg/compose/plugins.go`, of 2.36 and of 5.4.

    `options` are those of a service's provider, as the YAML is read: a scalar is its text.
    """

    def __init__(self, provider: Provider, *, is_old: bool = False) -> None:
        self._provider = provider
        self._is_old = is_old
        self.shown: list[str] = []

    def up(self, options: Options, service: str = "db") -> dict[str, str]:
        """The variables that a service gets which depends on this one."""
        plain, raw = self._run("up", options, service)
        return {f"{service.upper()}_{key}": value for key, value in plain.items()} | raw

    def down(self, options: Options, service: str = "db") -> None:
        """Give back what there may be."""
        assert self._run("down", options, service) == ({}, {})

    def _run(
        self, command: str, options: Options, service: str
    ) -> tuple[dict[str, str], dict[str, str]]:
        outcome = self._provider(*self._arguments(command, options, service))
        variables: dict[str, dict[str, str]] = {"setenv": {}, "rawsetenv": {}}
        for message in _decoded(outcome.out.decode()):
            text = message["message"]
            match message["type"]:
                case "error":
                    raise ComposeFailed(text)
                case "info":
                    self.shown.append(text.rstrip("\n").partition("\n")[0])
                case "rawsetenv" if self._is_old:
                    raise ComposeFailed("invalid response from plugin: rawsetenv")
                case "setenv" | "rawsetenv" as kind:
                    key, equals, value = text.partition("=")
                    assert equals
                    variables[kind][key] = value
                case other:
                    raise ComposeFailed(f"invalid response from plugin: {other}")
        if outcome.status:
            raise ComposeFailed(f"failed to {command} service provider: exit {outcome.status}")
        return variables["setenv"], variables["rawsetenv"]

    def _arguments(self, command: str, options: Options, service: str) -> list[str]:
        known = self._parameters(command, options)
        given = [
            f"--{key}={value}"
            for key, values in options.items()
            for value in ([values] if isinstance(values, str) else values)
            if not known or key in known
        ]
        project = ["--project-name", "shop"] if self._is_old else ["--project-name=shop"]
        return ["compose", *project, command, *given, service]

    def _parameters(self, command: str, options: Options) -> set[str]:
        outcome = self._provider("compose", "metadata")
        (metadata,) = _decoded(outcome.out.decode())
        parameters = metadata[command]["parameters"]
        for each in parameters:
            assert {*map(type, (each["name"], each["type"], each["description"]))} == {str}
            assert isinstance(each.get("default", ""), str)
            if each["required"] and each["name"] not in options:
                raise ComposeFailed(f"required parameter {each['name']!r} is missing")
        return {each["name"] for each in parameters}


def _decoded(text: str) -> list[dict[str, Any]]:
    """The JSON values, one after the other, as Go's json.Decoder takes them from a stream."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip(" \t\r\n"):
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


@pytest.fixture
def provider(
    socket_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Provider:
    """Runs `docker-jarvis`, which finds the fake daemon."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))

    def run(*arguments: str) -> Outcome:
        status = run_provider(arguments)
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Outcome(status, out, err.decode())

    return run


@pytest.fixture(params=[False, True], ids=["compose-5", "compose-2"])
def compose(provider: Provider, request: pytest.FixtureRequest) -> Compose:
    """A Compose of today, and the first one that had providers."""
    return Compose(provider, is_old=request.param)


def test_secrets_are_variables_with_the_name_of_the_service(
    fake: FakeDaemon, compose: Compose
) -> None:
    """By default every Compose takes them: db/main of the service `db` is DB_DB_MAIN."""
    fake.store("db/main", SecretValue(b"one"))
    fake.hold(key="two")
    assert compose.up({"secrets": ["db/main", "key"]}) == {"DB_DB_MAIN": "one", "DB_KEY": "two"}
    assert compose.up({"secrets": ["PASSWORD=db/main"]}) == {"DB_PASSWORD": "one"}
    assert compose.shown == ["2 secrets: DB_DB_MAIN, DB_KEY", "1 secret: DB_PASSWORD"]


def test_without_a_prefix_they_have_their_own_names(fake: FakeDaemon, provider: Provider) -> None:
    """With `prefix: false` by `rawsetenv`, which an older Compose refuses by that word."""
    fake.store("db/main", SecretValue(b"one"))
    options: Options = {"secrets": ["POSTGRES_PASSWORD=db/main"], "prefix": "false"}
    assert Compose(provider).up(options) == {"POSTGRES_PASSWORD": "one"}
    with pytest.raises(ComposeFailed, match="invalid response from plugin: rawsetenv"):
        Compose(provider, is_old=True).up(options)


@pytest.mark.parametrize("text", ["a X=b", "a,X=b", " a,\n  X=b\n"])
def test_a_list_may_be_one_text(fake: FakeDaemon, compose: Compose, text: str) -> None:
    """The first versions of Compose with providers take no other."""
    fake.hold(a="1", b="2")
    assert compose.up({"secrets": text}) == {"DB_A": "1", "DB_X": "2"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_every_text_arrives_as_it_is(fake: FakeDaemon, provider: Provider, value: str) -> None:
    """Line ends, quotes, equals signs, what Compose's files would replace, any script."""
    fake.hold(p=value)
    for prefix in ("true", "false"):
        compose = Compose(provider)
        assert [*compose.up({"secrets": "p", "prefix": prefix}).values()] == [value]
        assert compose.shown == ["1 secret: DB_P" if prefix == "true" else "1 secret: P"]


def test_the_client_and_the_socket_can_be_said(
    fake: FakeDaemon, compose: Compose, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go before the environment; an empty text, as of a variable that isn't set, says none."""
    fake.hold(p="x")
    assert compose.up({"secrets": "p", "client": "", "socket": "", "prefix": ""})
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", "/nowhere")
    monkeypatch.setenv("JARVIS_CLIENT_ID", "nobody")
    assert compose.up({"secrets": "p", "client": "shop", "socket": str(socket_path)})
    assert fake.asked[-1].client == "shop"


def test_what_went_wrong_is_what_compose_shows(fake: FakeDaemon, compose: Compose) -> None:
    """One refusal and nothing of the rest is given, with the name that it is about."""
    fake.hold(a="hush-hush", p="secret")
    fake.unreadable.add("p")
    with pytest.raises(ComposeFailed, match=r"^p: the policy does not allow this; .*whoami"):
        compose.up({"secrets": ["a", "p"]})
    with pytest.raises(ComposeFailed, match=r"^none: no such secret; "):
        compose.up({"secrets": ["a", "none"]})
    fake.answers.append(lambda _request: Failure("unavailable", "the disk is full"))
    with pytest.raises(ComposeFailed, match=r"^a: the disk is full; it resumes by itself"):
        compose.up({"secrets": "a"})


def test_no_daemon_is_said_so(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the path that was tried."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(tmp_path / "nowhere"))
    with pytest.raises(ComposeFailed, match=f"can't reach the daemon at {tmp_path}/nowhere"):
        compose.up({"secrets": "a"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "required parameter 'secrets' is missing"),
        ({"secrets": ""}, "the option `secrets` says nothing"),
        ({"secrets": "A:b"}, "secrets: not a secret's name: .*did you mean 'a_b'"),
        ({"secrets": "1X=a"}, "secrets: '1X=a' is not VARIABLE=NAME"),
        ({"secrets": ["X=a", "X=b"]}, "secrets: X is said to be both a and b"),
        ({"secrets": "a", "prefix": "maybe"}, "'prefix' is true or false, not 'maybe'"),
        ({"secrets": "a", "client": ["x", "y"]}, "'client' is given 2 times"),
        ({"secrets": "PATH=a", "prefix": "no"}, "a: the variable PATH steers programs"),
        ({"secrets": "NODE_OPTIONS=a", "prefix": "0"}, "NODE_OPTIONS steers programs"),
    ],
)
def test_what_cant_be_meant_is_refused(
    fake: FakeDaemon, provider: Provider, options: Options, said: str
) -> None:
    """Before the daemon is asked for anything."""
    fake.hold(a="1", b="2")
    with pytest.raises(ComposeFailed, match=said):
        Compose(provider).up(options)
    assert not fake.operations(Get)


def test_the_name_of_the_service_makes_no_variable_that_steers(
    fake: FakeDaemon, compose: Compose
) -> None:
    """What counts is the variable as the containers have it."""
    fake.hold(a="1")
    assert compose.up({"secrets": "PRELOAD=a"}) == {"DB_PRELOAD": "1"}
    with pytest.raises(ComposeFailed, match="a: the variable LD_PRELOAD steers programs"):
        compose.up({"secrets": "PRELOAD=a"}, service="ld")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"x\0y", "bytes that no variable"),
        (b"\xff", "bytes that"),
        (b"x" * (ROOM + 1), "too large"),
    ],
)
def test_what_no_variable_can_hold_is_refused(
    fake: FakeDaemon, compose: Compose, value: bytes, why: str
) -> None:
    """It names the secret and shows nothing of the value."""
    fake.store("a", SecretValue(value, is_text=False))
    with pytest.raises(ComposeFailed, match=f"^a (holds|is) {why}.*; hand it over as a file$"):
        compose.up({"secrets": "a"})
    fake.store("a", SecretValue(b"x" * ROOM, is_text=False))
    assert len(compose.up({"secrets": "a"})["DB_A"]) == ROOM


def test_an_unknown_option_is_refused_where_it_arrives(
    fake: FakeDaemon, provider: Provider
) -> None:
    """Compose itself drops what `metadata` doesn't list; whoever passes it on is told."""
    fake.hold(a="1")
    outcome = provider("compose", "--project-name=x", "up", "--secrets=a", "--clients=b", "db")
    assert outcome.status == 2
    (message,) = _decoded(outcome.out.decode())
    assert message["type"] == "error"
    assert "there is no option 'clients'" in message["message"]


def test_there_is_nothing_to_give_back(fake: FakeDaemon, compose: Compose) -> None:
    """`down` succeeds with the options of `up`, and without a daemon; so does `stop`."""
    compose.down({"secrets": "a", "client": "b", "whatever": "c"})
    assert not fake.asked


def test_what_isnt_asked_by_compose_gets_no_secret(fake: FakeDaemon, provider: Provider) -> None:
    """Another command of a provider is an error message, the same call with too few words too."""
    fake.hold(a="1")
    assert provider("compose", "--project-name", "x", "stop", "db") == (0, b"", "")
    for words in (("start", "--secrets=a", "db"), ("up", "--secrets=a"), ("up", "--secrets")):
        outcome = provider("compose", "--project-name=x", *words)
        assert outcome.status == 2
        assert [message["type"] for message in _decoded(outcome.out.decode())] == ["error"]
    assert not fake.asked


def test_it_is_a_plugin_of_docker_that_does_nothing_else(provider: Provider) -> None:
    """Docker takes it for one (docker/cli, cli-plugins); `docker jarvis` says whom it is for."""
    outcome = provider("docker-cli-plugin-metadata")
    described = json.loads(outcome.out)
    assert (outcome.status, described["SchemaVersion"]) == (0, "0.1.0")
    assert described["Vendor"]
    for words in ((), ("jarvis",), ("jarvis", "compose", "up"), ("--help",)):
        refused = provider(*words)
        assert (refused.status, refused.out) == (2, b"")
        assert "this is for Docker Compose" in refused.err
