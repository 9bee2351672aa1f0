"""A secret over HTTP on the Unix socket, with nothing but Python's standard library."""

import json
import os
import socket
import sys
from http.client import HTTPConnection
from urllib.parse import quote


class UnixConnection(HTTPConnection):
    """HTTP to the daemon's socket; the kernel tells the daemon who we are."""

    def connect(self) -> None:
        """Connect to the path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.environ.get("JARVIS_SECRETS_SOCKET", "/run/jarvis/secretsd.sock"))


def fetch(name: str, client: str) -> str:
    """The current value of a secret, as one of the clients that the policy lets us be."""
    connection = UnixConnection("localhost")
    connection.request("GET", f"/secret/{quote(name)}", headers={"X-Jarvis-Client": client})
    reply = connection.getresponse()
    answer = json.loads(reply.read())
    connection.close()
    if reply.status != 200:
        raise LookupError(f"{answer['error']}: {answer['message']}")
    if "encoding" in answer:
        raise LookupError(f"{name} holds bytes, not text")
    return str(answer["value"])


if __name__ == "__main__":
    print(fetch(sys.argv[1], os.environ.get("JARVIS_CLIENT_ID", "admin")))
