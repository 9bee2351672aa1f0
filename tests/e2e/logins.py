"""What the credential helpers are tried with: a helper on a PATH, a site that wants a login."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TypeVar

from tests.daemon_process import DaemonProcess

ANN = ("ann", "s3cr3t-of-ann")
"""The one user that the site knows, and her password."""

H = TypeVar("H", bound=BaseHTTPRequestHandler)

_MODULES = {"docker-credential-jarvis": "dockerhelper", "git-credential-jarvis": "githelper"}


def with_helper(program: str, daemon: DaemonProcess, directory: Path) -> dict[str, str]:
    """An environment in which the program is found, and finds the daemon; its home is empty."""
    module = f"jarvis_secretsd.cli.credentials.{_MODULES[program]}"
    script = directory / "bin" / program
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom {module} import main\nmain()\n")
    script.chmod(0o755)
    return {
        "PATH": f"{script.parent}:/usr/bin:/bin",
        "HOME": str(directory),
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
    }


def asks_for_a_login(answer: Callable[[H], None]) -> Callable[[H], None]:
    """What answers ann, and sends everybody else away with 401 and a `Basic` challenge."""
    expected = f"Basic {base64.b64encode(':'.join(ANN).encode()).decode()}"

    def respond(handler: H) -> None:
        if handler.headers.get("Authorization") == expected:
            answer(handler)
            return
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="here"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return respond


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """A site on a port of its own; its host and port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
