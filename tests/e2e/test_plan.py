"""The plan that this program was written for: its script, its clients and its calls, as they stand.

`plan/` holds them verbatim. Only where things lie is exchanged: the directories and the port. The
daemon runs as an ordinary user with the plan's configuration and policy, and that user calls it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Response, Wire, connect, ordinary_uid
from tests.e2e.evidence import assert_intact, entries
from tests.e2e.tools import needs
from tests.users import as_user

PLAN = Path(__file__).parent / "plan"

DOTENV = """\
# what the program before us was fed with
HOME_ASSISTANT_TOKEN=eyJhbGciOiJIUzI1NiJ9.ha-token
HOME_ASSISTANT_URL=http://homeassistant.local:8123
BRAVE_API_KEY=BSA-brave-0123456789
TAVILY_API_KEY='tvly-dev-abcdef'
DUCKDUCKGO_API_KEY=ddg-77
"""

MIGRATED = 8
"""Four secrets of the .env, three generated ones, and one of the two optional ones."""


class Home:
    """The plan's machine: its daemon, and its user at a shell."""

    def __init__(self) -> None:
        self.uid = ordinary_uid()
        self.daemon = DaemonProcess(
            uid=self.uid,
            settings={"server": {"allow_unix_socket": False}},
            environment={"RUST_LOG": "info"},
        )
        self.root = self.daemon.directory
        self.project = self.root / "project"
        self.secrets, self.audit = self.root / "opt/secrets", self.root / "opt/audit"
        for directory in (self.root / "opt", self.project):
            self._make(directory, 0o755)
        for directory in (self.secrets, self.audit):
            self._make(directory, 0o700)
        self.put("config.toml", self.daemon.config_path, mode=0o640)
        self.put("policy.yaml", self.daemon.policy_path, mode=0o640)

    def put(self, name: str, there: Path, *, mode: int = 0o755) -> None:
        """Put a file of the plan in its place, with our port and directories."""
        text = (PLAN / name).read_text()
        for plans, ours in (
            ("127.0.0.1:8081", f"127.0.0.1:{self.daemon.port}"),
            ("/opt/jarvis", str(self.root / "opt")),
            ("/etc/jarvis-secretsd", str(self.root)),
        ):
            text = text.replace(plans, ours)
        self.write(there, text, mode)

    def write(self, there: Path, text: str, mode: int = 0o644) -> None:
        """Write a file that belongs to the user."""
        self._make(there.parent, 0o755)
        there.write_text(text)
        there.chmod(mode)
        os.chown(there, self.uid, -1)

    def shell(self, command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """What the user types, with the port that is ours; it must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command.replace(":8081", f":{self.daemon.port}")],
            cwd=cwd or self.project,
            env={"PATH": os.environ["PATH"], "HOME": str(self.project)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **as_user(self.uid),
        )
        assert done.returncode == 0, done
        return done

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """A program of the user's, with the plan's `secrets_client` beside it."""
        bridges = self.project / "backend-python-bridges"
        self.put("secrets_client.py.txt", bridges / "secrets_client.py")
        return subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=bridges,
            env={"JARVIS_SECRETS_URL": self.daemon.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **as_user(self.uid),
        )

    def connect(self) -> Wire:
        """A connection of the user's."""
        return connect(self.daemon, "tcp", uid=self.uid)

    def _make(self, directory: Path, mode: int) -> None:
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(mode)
            os.chown(directory, self.uid, -1)


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """The plan's machine, with the daemon running."""
    home = Home()
    try:
        home.daemon.start()
        yield home
        assert home.daemon.stop() == 0
        assert not home.daemon.crashed, home.daemon.stderr
    finally:
        home.daemon.dispose()


@pytest.fixture(scope="module")
def migration(home: Home) -> str:
    """What the migration script (3.2) printed."""
    scripts = home.project / "jarvis-secretsd/scripts"
    home.put("migrate_secrets.sh", scripts / "migrate_secrets.sh")
    home.write(scripts.parent / ".env", DOTENV, 0o600)
    return home.shell("./migrate_secrets.sh", scripts).stdout


pytestmark = [needs("bash", "curl", "jq", "openssl"), pytest.mark.usefixtures("migration")]


def test_the_migration_script_moves_every_secret(migration: str) -> None:
    """Each create succeeds, and the list at the end counts them all."""
    lines = migration.splitlines()
    created = [json.loads(line.partition("✅")[0]) for line in lines if line.startswith("{")]
    assert [each["version"] for each in created] == [1] * MIGRATED
    assert str(MIGRATED) in lines
    assert "✅ Secret migration complete!" in lines
    assert "Failed" not in migration


def test_health_is_what_the_plan_expects(home: Home) -> None:
    """3.1: `curl .../healthz` shows status, version, uptime and count."""
    health = json.loads(home.shell("curl http://127.0.0.1:8081/healthz").stdout)
    assert health.keys() == {"status", "version", "uptime_secs", "secrets_count"}
    assert (health["status"], health["version"]) == ("ok", "0.1.0")
    assert health["secrets_count"] == MIGRATED
    assert 0 <= health["uptime_secs"] < 600


def test_the_health_check_of_the_container_passes(home: Home) -> None:
    """2.2: `curl -f` exits with 0, and would fail on an error's status."""
    home.shell("curl -f http://127.0.0.1:8081/healthz")
    assert home.shell("! curl -sf http://127.0.0.1:8081/elsewhere").stdout == ""


def test_a_value_comes_out_through_jq(home: Home) -> None:
    """3.3: the shell gets the bare value of what the script generated."""
    command = """
NEW_PASSWORD=$(curl -s http://127.0.0.1:8081/secret/postgres_password \
    -H "X-Jarvis-Client: admin" | jq -r '.value')
printf %s "$NEW_PASSWORD"
"""
    password = home.shell(command).stdout
    assert 40 <= len(password) <= 64
    assert password.isalnum()


def test_rotation_makes_a_new_key(home: Home) -> None:
    """7.3: the rotated key differs, and who asks with the old kid still gets the old one."""
    fetch = "curl -s http://127.0.0.1:8081/secret/jwt_signing_key -H 'X-Jarvis-Client: admin'"
    rotate = """
curl -X POST http://127.0.0.1:8081/rotate \
  -H "X-Jarvis-Client: admin" \
  -H "Content-Type: application/json" \
  -d '{"names":["jwt_signing_key"]}'
"""
    before = json.loads(home.shell(fetch).stdout)
    rotated = json.loads(home.shell(rotate).stdout)
    after = json.loads(home.shell(fetch).stdout)
    old = fetch.replace("jwt_signing_key", f"jwt_signing_key?kid={before['kid']}")
    assert (rotated["rotated"], rotated["rotated_count"]) == (["jwt_signing_key"], 1)
    assert after["value"] != before["value"]
    assert after["version"] == before["version"] + 1
    assert json.loads(home.shell(old).stdout)["value"] == before["value"]


def test_creating_and_rotating_as_the_handbook_says(home: Home) -> None:
    """10.1: the two calls for administrators work on a name of their own."""
    home.shell("""
curl -f -X POST http://127.0.0.1:8081/secret \
  -H "X-Jarvis-Client: admin" \
  -H "Content-Type: application/json" \
  -d '{"name":"key_name","value":"key_value"}'
curl -f -X POST http://127.0.0.1:8081/rotate \
  -H "X-Jarvis-Client: admin" \
  -H "Content-Type: application/json" \
  -d '{"names":["key_name"]}'
curl -f -X DELETE http://127.0.0.1:8081/secret/key_name -H "X-Jarvis-Client: admin"
""")


def test_the_python_client_gets_its_keys(home: Home) -> None:
    """5.1: as `python-services`, with `requests`."""
    done = home.python(
        "from secrets_client import *; print(get_brave_api_key(), get_tavily_api_key())"
    )
    assert (done.returncode, done.stdout) == (0, "BSA-brave-0123456789 tvly-dev-abcdef\n")


def test_the_python_client_is_told_what_it_may_not_have(home: Home) -> None:
    """5.1: `raise_for_status` raises for a secret of other clients."""
    done = home.python("import secrets_client; secrets_client.get_secret('jwt_signing_key')")
    assert done.returncode == 1
    assert "403 Client Error" in done.stderr


def reqwest(home: Home, name: str, client: str) -> bytes:
    """A GET as hyper writes it: header names in lower case, and the connection kept."""
    return (
        f"GET /secret/{name} HTTP/1.1\r\nx-jarvis-client: {client}\r\n"
        f"accept: */*\r\nhost: 127.0.0.1:{home.daemon.port}\r\n\r\n"
    ).encode()


def test_the_rust_client_gets_its_secrets_on_one_connection(home: Home) -> None:
    """4.1: three secrets of `backend`, each with the four members that its struct demands."""
    with home.connect() as wire:
        for name in ("jwt_signing_key", "postgres_password", "home_assistant_token"):
            wire.send(reqwest(home, name, "backend"))
            response: Response = wire.response()
            assert response.status == 200
            assert response.headers["content-type"] == "application/json"
            assert response.json["name"] == name
            for member in ("name", "value", "kid", "expires_at"):
                assert isinstance(response.json[member], str)
        assert wire.is_open()


def test_each_client_gets_what_the_plans_policy_gives_it(home: Home) -> None:
    """1.4: the whole table, of which nothing else is given, and no existence is told."""
    given = {
        "backend": {"jwt_signing_key", "postgres_password", "jarvis_encryption_key"}
        | {"home_assistant_token"},
        "python-services": {"brave_api_key", "tavily_api_key", "duckduckgo_api_key"}
        | {"postgres_password"},
        "postgres": {"postgres_password"},
        "ha-client": {"home_assistant_token"},
        "mcp": {"brave_api_key", "tavily_api_key"},
        "nobody-knows-me": set(),
    }
    names = {*set().union(*given.values()), "home_assistant_url", "no_such_secret"}
    refusals = set()
    with home.connect() as wire:
        for client, own in given.items():
            for name in sorted(names):
                wire.send(reqwest(home, name, client))
                response = wire.response()
                assert response.status == (200 if name in own else 403), (client, name)
                refusals |= {response.body} if response.status == 403 else set()
    assert len(refusals) == 1


def test_metrics_are_where_prometheus_looks(home: Home) -> None:
    """8.4: Prometheus text at /metrics, with no name of a secret in it."""
    text = home.shell("curl -sf http://127.0.0.1:8081/metrics").stdout
    assert "# TYPE" in text
    assert 'op="put",outcome="ok",transport="tcp"' in text
    assert "postgres_password" not in text


def test_the_audit_log_is_there_for_jq_and_its_key_beside_it(home: Home) -> None:
    """7.4: `jq .` reads every line, and `audit.sign.*` are a key pair of openssl's."""
    home.shell(f"cat {home.audit}/audit.jsonl | jq . > {home.project}/seen")
    assert "audit.sign.key" in home.shell(f"ls -lh {home.audit}/audit.sign.*").stdout
    home.shell(f"openssl pkey -pubin -noout -in {home.audit}/audit.sign.pub")
    puts = [entry["name"] for entry in entries(home.audit / "audit.jsonl") if entry["op"] == "put"]
    assert len(puts) >= MIGRATED


def test_files_have_the_plans_modes_and_names(home: Home) -> None:
    """1.5 and 9.1: vault, key and signing key lie where the plan says, for their owner only."""
    for path in (
        home.secrets / "vault.json",
        home.secrets / "master.key",
        home.audit / "audit.jsonl",
        home.audit / "audit.sign.key",
    ):
        assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, home.uid)
    assert json.loads(home.shell(f"head -1 {home.secrets}/vault.json").stdout)["aead"] == (
        "aes-gcm-256"
    )


def test_it_starts_again_with_all_of_it(home: Home) -> None:
    """A restart serves the same secrets, and the whole audit log verifies."""
    home.daemon.restart()
    with home.connect() as wire:
        wire.send(reqwest(home, "brave_api_key", "mcp"))
        assert wire.response().json["value"] == "BSA-brave-0123456789"
    assert_intact(home.daemon)
