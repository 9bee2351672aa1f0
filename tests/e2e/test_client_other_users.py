"""The Python client over TCP: no value and no token goes to whoever happens to hold the port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.users import as_user

pytestmark = pytest.mark.root("the port is held by other users than the client's")

DAEMON, CLIENT, SQUATTER = 4001, 4002, 4004

POLICY = f"""\
clients:
  admin: {{users: ["{DAEMON}", "{CLIENT}", "0"], permissions: [all], allow: ["*"]}}
"""

PROGRAM = """\
from jarvis_secretsd.client import SecretsClient, SecretsClientError
client = SecretsClient(timeout=1)
try:
    print({question})
except SecretsClientError as error:
    print(type(error).__name__, error.code, error.message, sep=": ")
"""

PUT = "client.put('p', 'the-value').name"
GET = "client.get('p')"

SQUAT = """\
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    while data := connection.recv(65536):
        sys.stderr.buffer.write(data)
        sys.stderr.flush()
"""


def ask(question: str, url: str, uid: int = CLIENT, **environment: str) -> str:
    """What the client's answer to this is, as this user with these variables."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(question=question)],
        env={"JARVIS_SECRETS_URL": url, "JARVIS_CLIENT_ID": "admin", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        **as_user(uid),
    )
    return str(done.stdout).strip()


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """A token that the client's user can read."""
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    path = tmp_path / "token"
    path.write_text("the-token")
    return str(path)


class Squatter:
    """Somebody else's process that takes every connection to its port."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("wb") as heard:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SQUAT],
                stdout=subprocess.PIPE,
                stderr=heard,
                cwd="/",
                **as_user(SQUATTER),
            )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    @property
    def heard(self) -> bytes:
        """Everything that anybody has sent to it."""
        return self._log.read_bytes()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def squatter(tmp_path: Path) -> Iterator[Squatter]:
    """A port that another user holds while the daemon is down."""
    found = Squatter(tmp_path / "heard")
    yield found
    found.end()


@pytest.fixture
def away(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """A running daemon of a user who is neither root nor the client's."""
    found = make_daemon(uid=DAEMON, policy=POLICY)
    found.start()
    return found


def test_a_squatter_gets_no_value(squatter: Squatter) -> None:
    """A put to a port that another user holds fails with his uid and the way out, unsent."""
    answer = ask(PUT, squatter.url)
    assert answer.startswith("UntrustedDaemon: unreachable: ")
    assert f"belongs to uid {SQUATTER}, neither root nor you, so nothing was sent" in answer
    assert f"JARVIS_SECRETS_UID={SQUATTER}" in answer
    assert squatter.heard == b""


def test_a_squatter_gets_no_token(squatter: Squatter, token_file: str) -> None:
    """A client with a token asks him nothing at all, since each question would carry it."""
    answer = ask(GET, squatter.url, JARVIS_SECRETS_TOKEN_FILE=token_file)
    assert answer.startswith("UntrustedDaemon: ")
    assert squatter.heard == b""


def test_naming_another_user_does_not_help_the_squatter(squatter: Squatter) -> None:
    """JARVIS_SECRETS_UID lets in the user that it names, not any."""
    assert ask(PUT, squatter.url, JARVIS_SECRETS_UID=str(DAEMON)).startswith("UntrustedDaemon: ")
    assert squatter.heard == b""


def test_the_squatter_himself_may_ask_himself(squatter: Squatter) -> None:
    """The caller's own processes are his own trust domain; this also shows that the trap works."""
    assert "gave no answer" in ask(PUT, squatter.url, uid=SQUATTER)
    assert b"the-value" in squatter.heard


def test_a_daemon_of_another_user_has_to_be_named(away: DaemonProcess) -> None:
    """It gets a value once its uid is named, by number; what carries no secret needs no name."""
    assert ask(PUT, away.url).startswith("UntrustedDaemon: ")
    assert ask(PUT, away.url, JARVIS_SECRETS_UID=str(DAEMON)) == "p"
    assert ask(GET, away.url) == "the-value"


def test_a_daemon_of_root_or_of_the_caller_needs_no_name(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    """Root may be told, since it could read it anyway; and so may the caller's own daemon."""
    for uid in (0, CLIENT):
        found = make_daemon(uid=uid, policy=POLICY)
        found.start()
        assert ask(PUT, found.url) == "p"


def test_a_daemon_bound_to_the_loopback_device_is_found(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    """deny_network_remote ties its sockets to lo, and the kernel has to be asked about that one."""
    found = make_daemon(uid=0, policy=POLICY, settings={"security": {"deny_network_remote": True}})
    found.start()
    assert ask(PUT, found.url) == "p"
