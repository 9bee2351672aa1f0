"""docs/clients.md as its tests read it: blocks by heading, for the daemon of the test."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.client.address import DEFAULT_SOCKET
from tests.daemon_process import DaemonProcess

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
HEADINGS = re.findall(r"^## (.*)$", PAGE, re.M)
BLOCKS = [
    (heading.partition("\n")[0], language, text)
    for heading in re.split(r"^##? ", PAGE, flags=re.M)[1:]
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", heading, re.M | re.S)
]

NO_WAY_OUT = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}
"""Where nobody listens: what asks a proxy for a secret fails."""


def blocks(heading: str, language: str) -> list[str]:
    """What stands in this language under this heading, in order."""
    return [text for at, spoken, text in BLOCKS if (at, spoken) == (heading, language)]


def block(heading: str, language: str) -> str:
    """The only one."""
    (text,) = blocks(heading, language)
    return text


def at_socket(text: str, socket: Path | str) -> str:
    """The block for a daemon whose socket is elsewhere."""
    assert DEFAULT_SOCKET in text
    return text.replace(DEFAULT_SOCKET, str(socket))


def policy(block: str, user: str) -> str:
    """A policy of the page in which we are that user, and an admin beside it."""
    uid = os.geteuid()
    assert f"[{user}]" in block
    admin = f'  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}\n'
    return block.replace(f"[{user}]", f'["{uid}"]') + admin


def environment(daemon: DaemonProcess, client: str, *directories: Path) -> dict[str, str]:
    """A bare one, with our commands on the PATH after what lies in `directories`."""
    path = [*map(str, directories), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
    return NO_WAY_OUT | {
        "PATH": ":".join(path),
        "HOME": str(daemon.directory),
        "LANG": "C.UTF-8",
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": client,
    }


def put(daemon: DaemonProcess, name: str, value: str | bytes) -> None:
    """Store a secret, as the admin."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        client.put(name, value)
