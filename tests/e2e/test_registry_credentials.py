"""skopeo keeps its logins to a registry with a real daemon, by docker's protocol."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from jarvis_secretsd.client import SecretNotFound, SecretsClient
from tests.daemon_process import DaemonProcess
from tests.e2e.logins import ANN, asks_for_a_login, served, with_helper
from tests.e2e.tools import needs

pytestmark = needs("skopeo")

MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
    "config": {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": 2,
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    },
    "layers": [],
}

Skopeo = Callable[..., "subprocess.CompletedProcess[str]"]


def _answer(handler: BaseHTTPRequestHandler) -> None:
    is_manifest = "/manifests/" in handler.path
    body = json.dumps(MANIFEST if is_manifest else {}).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", str(MANIFEST["mediaType"]) if is_manifest else "text/json")
    handler.send_header("Docker-Distribution-Api-Version", "registry/2.0")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[str]:
    """Host and port of a registry with one image, for ann alone."""
    handler = type("Registry", (BaseHTTPRequestHandler,), {"do_GET": asks_for_a_login(_answer)})
    with served(handler) as address:
        yield address


@pytest.fixture
def skopeo(daemon: DaemonProcess, registry: str, tmp_path: Path) -> Skopeo:
    """Runs skopeo with an empty home, and the helper for this registry in its auth.json."""
    environ = with_helper("docker-credential-jarvis", daemon, tmp_path)
    environ |= {"JARVIS_CLIENT_ID": "admin", "XDG_RUNTIME_DIR": str(tmp_path)}
    auth = tmp_path / "auth.json"
    auth.write_text(json.dumps({"auths": {}, "credHelpers": {registry: "jarvis"}}))

    def run(action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["skopeo", action, "--authfile", str(auth), "--tls-verify=false", *arguments],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return run


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[SecretsClient]:
    """Looks at what is stored."""
    with SecretsClient(str(daemon.socket_path), client_id="admin", cache_ttl=0) as asking:
        yield asking


def test_a_login_is_kept_used_and_forgotten(
    skopeo: Skopeo, registry: str, client: SecretsClient, tmp_path: Path
) -> None:
    """login stores it with the daemon and in no file, inspect uses it, logout erases it."""
    image = f"docker://{registry}/team/app:1"
    name = f"docker/{registry.replace(':', '_')}"
    assert skopeo("inspect", "--raw", image).returncode != 0
    user, password = ANN
    told = skopeo("login", "--username", user, "--password", password, registry)
    assert told.returncode == 0, told.stderr
    expected = {"ServerURL": registry, "Username": user, "Secret": password}
    assert json.loads(client.get(name)) == expected
    assert password not in (tmp_path / "auth.json").read_text()
    inspected = skopeo("inspect", "--raw", image)
    assert json.loads(inspected.stdout) == MANIFEST
    assert skopeo("login", "--get-login", registry).stdout == f"{user}\n"
    assert skopeo("logout", registry).returncode == 0
    with pytest.raises(SecretNotFound):
        client.get(name)
    assert skopeo("inspect", "--raw", image).returncode != 0
    again = skopeo("login", "--username", user, "--password", password, registry)
    assert again.returncode == 0
    assert client.fetch(name).version > 1


def test_a_daemon_that_is_away_is_told(
    skopeo: Skopeo, registry: str, daemon: DaemonProcess
) -> None:
    """skopeo shows why it has no login, instead of trying without one."""
    daemon.stop()
    refused = skopeo("inspect", "--raw", f"docker://{registry}/team/app:1")
    assert refused.returncode != 0
    assert f"docker/{registry.replace(':', '_')}: " in refused.stderr
    daemon.start()
