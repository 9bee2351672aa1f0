"""docs/clients.md: its commands, its configuration and its Python, run as they stand there."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import SettingsError

from jarvis_secretsd import client
from jarvis_secretsd import messages as m
from jarvis_secretsd.client import SecretsClient, access, address, keyringbackend
from tests.daemon_process import DaemonProcess
from tests.docs.clients_page import (
    BLOCKS,
    HEADINGS,
    PAGE,
    block,
    blocks,
    environment,
    policy,
    put,
)
from tests.e2e.tools import needs
from tests.postgres_server import needs_server, running

NAME = "postgres_password"
INTRODUCTION = "Where people already are"
MakeDaemon = Callable[..., DaemonProcess]


def start(make_daemon: MakeDaemon, policy_text: str, **secrets: str) -> DaemonProcess:
    daemon = make_daemon(policy=policy_text)
    daemon.start()
    for name, value in secrets.items():
        put(daemon, name.replace("__", "/"), value)
    return daemon


@pytest.fixture
def backend(make_daemon: MakeDaemon) -> DaemonProcess:
    """A daemon with the page's first policy and secret."""
    allowed = policy(block(INTRODUCTION, "yaml"), "jarvis-backend")
    return start(make_daemon, allowed, postgres_password="p@ss w/#r'\"d%\u00e9", other="x")


def shell(
    command: str, variables: Mapping[str, str], where: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", command],
        env=variables,
        cwd=where,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_every_block_is_run() -> None:
    """A paste that no test knows would rot."""
    assert sorted((heading, language) for heading, language, _ in BLOCKS) == sorted(
        [
            (INTRODUCTION, "yaml"),
            *3 * [("Without changing the program", "sh")],
            ("psql", "sh"),
            ("Home Assistant", "yaml"),
            ("Home Assistant", "sh"),
            ("curl", "sh"),
            *5 * [("Python", "python")],
            ("pydantic-settings", "python"),
            ("keyring", "yaml"),
            ("keyring", "sh"),
            ("Node", "js"),
            ("Go", "go"),
            ("Rust", "rust"),
        ]
    )
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_the_table_leads_to_the_sections() -> None:
    """Each heading is in the table, and nothing else."""
    anchors = {heading.lower().replace(" ", "-") for heading in HEADINGS}
    linked = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert linked == anchors


def test_a_program_starts_with_its_secrets(backend: DaemonProcess, tmp_path: Path) -> None:
    """In its environment, or in files, and no others."""
    variable = '#!/bin/sh\nprintf %s "$POSTGRES_PASSWORD${OTHER-}"\n'
    path = '#!/bin/sh\ncat "$POSTGRES_PASSWORD_FILE"; printf %s "${POSTGRES_PASSWORD-}"\n'
    become, watch, files = blocks("Without changing the program", "sh")
    for command, program in ((become, variable), (watch, variable), (files, path)):
        script(tmp_path / "backend", program)
        done = shell(command, environment(backend, "backend"), tmp_path)
        assert (done.stdout, done.stderr) == ("p@ss w/#r'\"d%\u00e9", "")


@pytest.fixture
def postgres() -> Iterator[Path]:
    """A PostgreSQL that asks `app` for that password, on a socket in this directory."""
    with running() as server:
        server.boss("CREATE ROLE app LOGIN PASSWORD 'p@ss w/#r''\"d%\u00e9'")
        yield server.directory


@needs("psql")
@needs_server
def test_psql_is_let_in(backend: DaemonProcess, postgres: Path, tmp_path: Path) -> None:
    """By a real server that wants the password; without the secret it isn't."""
    command = block("psql", "sh").replace("/run/postgresql", str(postgres)).strip()
    command = command.removesuffix(" app") + " postgres -wXAtc 'select current_user'"
    variables = environment(backend, "backend")
    done = shell(command, variables, tmp_path)
    assert (done.stdout, done.stderr) == ("app\n", "")
    done = shell(command.partition(" -- ")[2], variables, tmp_path)
    assert "no password supplied" in done.stderr
    assert done.returncode != 0


LOADER = """#!{python}
# Home Assistant as far as it reads its configuration, by the library that it reads it with
import json, logging, sys
sys.path.insert(0, {library!r})
from annotatedyaml import loader
logging.disable()
assert sys.argv[1] == "--config"
json.dump(loader.load_yaml(sys.argv[2] + "/configuration.yaml"), sys.stdout)
"""


@pytest.fixture
def hass(tmp_path: Path) -> Path:
    """A directory with a command `hass`, and the configuration of the page in `etc`."""
    found = importlib.util.find_spec("annotatedyaml")
    assert found is not None
    assert found.origin is not None
    shutil.copytree(Path(found.origin).parent, tmp_path / "library" / "annotatedyaml")
    source = tmp_path / "library" / "annotatedyaml" / "loader.py"
    # 0.1.0 says that Python 3.11 will do, and has types in two places that only 3.12 can read
    text = re.sub(r"^type (\w+ =)|^(def \w+)\[.*\]", r"\1\2", source.read_text(), flags=re.M)
    source.write_text(text)
    library = str(tmp_path / "library")
    script(tmp_path / "bin" / "hass", LOADER.format(python=sys.executable, library=library))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "configuration.yaml").write_text(block("Home Assistant", "yaml"))
    return tmp_path


def test_home_assistant_reads_its_secrets(make_daemon: MakeDaemon, hass: Path) -> None:
    """With its own loader, each as it is; without one of them it doesn't start."""
    allowed = policy(block(INTRODUCTION, "yaml"), "jarvis-backend")
    allowed = allowed.replace("[postgres_password]", '["hass/*"]')
    url, token = "postgresql://h:p%23@/hass?host=/run", " {{ a: 'b' }}  # \u00e9\n"
    daemon = start(make_daemon, allowed, hass__recorder_url=url, hass__influxdb_token=token)
    variables = environment(daemon, "backend", hass / "bin")
    command = block("Home Assistant", "sh").replace("/etc/hass", str(hass / "etc"))
    done = shell(command, variables, hass)
    assert done.stderr == ""
    read = json.loads(done.stdout)
    assert (read["recorder"]["db_url"], read["influxdb"]["token"]) == (url, token)
    assert read["influxdb"]["api_version"] == 2
    done = shell(command.replace("hass/*", "hass/i*"), variables, hass)
    assert "HASS_RECORDER_URL" in done.stderr
    assert done.returncode != 0


def test_a_python_program_asks(backend: DaemonProcess, tmp_path: Path) -> None:
    """With our client; and it ends with the reason where it gets nothing."""
    paste = blocks("Python", "python")[0]
    (tmp_path / "program.py").write_text(f"{paste}\nprint(password)\n")
    (tmp_path / "denied.py").write_text(paste.replace('get_secret("postgres_', 'get_secret("x_'))
    variables = environment(backend, "backend")
    done = shell("python program.py", variables, tmp_path)
    assert (done.stdout, done.stderr) == ("p@ss w/#r'\"d%\u00e9\n", "")
    done = shell("python denied.py", variables, tmp_path)
    assert done.stderr == "no postgres_password: the policy does not allow this\n"
    assert done.returncode == 1


def test_who_is_refused_with_an_old_value_asks_once_more(
    backend: DaemonProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation is no failure; what the new value doesn't mend is one, at once."""
    for name, value in environment(backend, "backend").items():
        monkeypatch.setenv(name, value)
    page = as_module(blocks("Python", "python")[1])
    tried: list[str] = []
    right = "p@ss w/#r'\"d%\u00e9"

    def log_in(password: str) -> str:
        tried.append(password)
        if password != right:
            raise PermissionError
        return "in"

    assert page["with_secret"](NAME, log_in, PermissionError) == "in"
    put(backend, NAME, right := "rotated")
    assert page["with_secret"](NAME, log_in, PermissionError) == "in"
    assert tried == ["p@ss w/#r'\"d%\u00e9"] * 2 + ["rotated"]
    right = "known to nobody"
    with pytest.raises(PermissionError):
        page["with_secret"](NAME, log_in, PermissionError)
    assert len(tried) == 5
    page["secrets"].close()


@pytest.mark.parametrize("place", [2, 3], ids=["blocking", "asyncio"])
def test_who_follows_a_secret_is_given_each_of_its_values(
    backend: DaemonProcess, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """The one that is, and each that comes; a deletion is passed over."""
    for name, value in environment(backend, "backend").items():
        monkeypatch.setenv(name, value)
    follow = as_module(blocks("Python", "python")[place])["follow"]
    used: list[str] = []

    def use(value: str) -> None:
        used.append(value)
        if len(used) == 3:
            raise KeyboardInterrupt
        put(backend, NAME, f"value {len(used)}")

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(follow(NAME, use)) if place == 3 else follow(NAME, use)
    assert used[1:] == ["value 1", "value 2"]


def test_the_page_has_every_argument_of_a_client() -> None:
    """With its variable, if it has one, and its default."""
    told = rows("A client of your own")
    arguments = inspect.signature(SecretsClient).parameters
    assert [name.strip("`") for name, _, _ in told] == [*arguments]
    known = {name: value for of in (access, address) for name, value in vars(of).items()}
    variables = {value for name, value in known.items() if name.endswith("_VARIABLE")}
    assert {variable.strip("`") for _, variable, _ in told if variable} == variables
    for name, _, meaning in told:
        default = arguments[name.strip("`")].default
        if default is not None:
            assert re.search(rf"\b{default:g}\b" if default else r"\b(0|False)\b", meaning)
    assert f"`{address.DEFAULT_SOCKET}`" in told[0][2]


def test_the_page_has_every_exception() -> None:
    """Of those that the library exports; and what it says of their kinds is so."""
    exported = [getattr(client, name) for name in client.__all__]
    kinds = {kind.__name__: kind for kind in exported if inspect.isclass(kind)}
    del kinds["SecretsClient"]
    told = {name.strip("`"): meaning for name, meaning in rows("Errors")}
    assert set(told) == set(kinds)
    of_that_kind = {name for name, meaning in told.items() if meaning.startswith("of that kind")}
    assert of_that_kind == {
        name for name, kind in kinds.items() if kind.__base__ is client.DaemonUnreachable
    }


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under this heading of the third order."""
    _, _, section = PAGE.partition(f"\n### {heading}\n")
    lines = [line for line in section.partition("\n#")[0].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def as_module(paste: str) -> dict[str, Any]:
    """What a Python block of the page defines."""
    page: dict[str, Any] = {"__name__": "page"}
    exec(compile(paste, "page", "exec", dont_inherit=True), page)
    return page


def test_settings_are_read(make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of the page, under a policy that allows its secrets; then one that doesn't."""
    allowed = policy(block(INTRODUCTION, "yaml"), "jarvis-backend")
    both = allowed.replace("[postgres_password]", "[postgres_password, db/main]")
    daemon = start(make_daemon, both, postgres_password="p", db__main="d", debug="true")
    for name, value in environment(daemon, "backend").items():
        monkeypatch.setenv(name, value)
    page = as_module(block("pydantic-settings", "python"))
    settings = page["Settings"]()
    assert settings.postgres_password.get_secret_value() == "p"
    assert settings.database_url.get_secret_value() == "d"
    assert settings.debug is False
    assert '"outcome":"denied"' not in daemon.audit_path.read_text()
    daemon.write_policy(allowed)
    with SecretsClient(str(daemon.socket_path), client_id="admin") as admin:
        admin.ask(m.Reload(), m.Reloaded)
    with pytest.raises(SettingsError, match="the secret db/main of the field database_url: the po"):
        page["Settings"]()


def test_the_keyring_keeps_a_token(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """The three commands of the page, under its policy, with no desktop and no HOME."""
    daemon = start(make_daemon, policy(block("keyring", "yaml"), "enzo"))
    variables = environment(daemon, "enzo")
    del variables["HOME"]
    (tmp_path / "token").write_text("pypi-AgEI")
    done = shell(block("keyring", "sh"), variables, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("pypi-AgEI\n", "", 0)
    done = shell(block("keyring", "sh").splitlines()[1], variables, tmp_path)
    assert (done.stdout, done.returncode) == ("", 1)


def test_the_page_says_what_the_backend_does() -> None:
    """Its name for PYTHON_KEYRING_BACKEND, and an example of a name."""
    backend = keyringbackend.JarvisKeyring
    assert f"`PYTHON_KEYRING_BACKEND={backend.__module__}.{backend.__name__}`" in PAGE
    assert f"`Enzo` is `{keyringbackend._escape('Enzo')}`" in PAGE
