"""The URL that JARVIS_SECRETS_URL may hold."""

from __future__ import annotations

import socket
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from jarvis_secretsd.client.address import UnixAddress
from jarvis_secretsd.client.errors import BadRequest
from jarvis_secretsd.wire.sockdiag import is_loopback

DEFAULT_PORT = 8081


class TcpAddress(NamedTuple):
    """A host, as it is given to the resolver, and a port; `is_loopback`: only we have it."""

    host: str
    port: int
    is_loopback: bool = True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


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
    stays_here = _is_loopback(host)
    if not allow_remote and not stays_here:
        raise _bad(
            "it leaves this host, and nothing would hide the secrets on their way "
            "(allow_remote, --allow-remote)"
        )
    return TcpAddress(host, DEFAULT_PORT if port is None else port, stays_here)


def _has_more(parts: SplitResult) -> bool:
    return parts.path not in ("", "/") or bool(parts.query or parts.fragment or "@" in parts.netloc)


def _is_loopback(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return is_loopback(socket.inet_pton(family, host))
    except OSError:
        return False


def _bad(why: str) -> BadRequest:
    return BadRequest("invalid_request", f"the URL of the daemon can't be used: {why}")
