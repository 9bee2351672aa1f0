"""Where the daemon is: a Unix socket, or a port of this host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jarvis_secretsd.client.errors import BadRequest

DEFAULT_SOCKET = "/run/jarvis/secretsd.sock"

SOCKET_VARIABLE = "JARVIS_SECRETS_SOCKET"
URL_VARIABLE = "JARVIS_SECRETS_URL"


class UnixAddress(NamedTuple):
    """A socket in the file system."""

    path: str

    def __str__(self) -> str:
        return self.path


class TcpAddress(NamedTuple):
    """A host, as it is given to the resolver, and a port; `is_loopback`: only we have it."""

    host: str
    port: int
    is_loopback: bool = True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def find_address(
    socket_path: str | None,
    url: str | None,
    environ: Mapping[str, str],
    *,
    allow_remote: bool = False,
) -> Address:
    """What the caller said, else the environment, else the default socket.

    A socket goes before a URL, because the kernel vouches for more on it. Raises BadRequest.
    """
    if socket_path and url:
        raise BadRequest("invalid_request", "a socket and a URL were both given; give one of them")
    if not socket_path and not url:
        socket_path, url = environ.get(SOCKET_VARIABLE), environ.get(URL_VARIABLE)
    if socket_path or not url:
        return UnixAddress(socket_path or DEFAULT_SOCKET)
    from jarvis_secretsd.client.url import parse_url  # noqa: PLC0415  # costs who has no URL too

    return parse_url(url, allow_remote=allow_remote)
