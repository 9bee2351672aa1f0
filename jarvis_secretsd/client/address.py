"""Where the daemon is: a Unix socket, or a port of this host."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from jarvis_secretsd.client.errors import BadRequest

DEFAULT_SOCKET = "/run/jarvis/secretsd.sock"
DEFAULT_PORT = 8081

SOCKET_VARIABLE = "JARVIS_SECRETS_SOCKET"
URL_VARIABLE = "JARVIS_SECRETS_URL"


class UnixAddress(Struct, frozen=True):
    """A socket in the file system."""

    path: str

    def __str__(self) -> str:
        return self.path


class TcpAddress(Struct, frozen=True):
    """A host, as it is given to the resolver, and a port."""

    host: str
    port: int

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
    return parse_url(url, allow_remote=allow_remote)


def parse_url(url: str, *, allow_remote: bool = False) -> Address:
    """`unix:///PATH` or `http://HOST[:PORT]`. A host that isn't loopback needs `allow_remote`.

    Raises BadRequest. The scheme is `http` because the plain port speaks it too; there is no TLS.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(str(error)) from None
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return UnixAddress(parts.path)
    if parts.scheme != "http" or not parts.hostname or _has_more(parts):
        raise _bad("it is none of http://127.0.0.1:8081 and unix:///PATH")
    # Never looked up: "localhost" may be ::1 first, where anybody could listen.
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    if not allow_remote and not _is_loopback(host):
        raise _bad("it leaves this host, and nothing would hide the secrets on their way")
    return TcpAddress(host, DEFAULT_PORT if port is None else port)


def _has_more(parts: SplitResult) -> bool:
    return parts.path not in ("", "/") or bool(parts.query or parts.fragment or "@" in parts.netloc)


def _is_loopback(host: str) -> bool:
    try:
        return socket.inet_pton(socket.AF_INET, host)[0] == 127
    except OSError:
        pass
    try:
        return socket.inet_pton(socket.AF_INET6, host) == b"\0" * 15 + b"\1"
    except OSError:
        return False


def _bad(why: str) -> BadRequest:
    return BadRequest("invalid_request", f"the URL of the daemon can't be used: {why}")
