"""Where the daemon listens, as `bind_addr` writes it."""

from __future__ import annotations

import ipaddress

from msgspec import Struct

UNIX_PREFIX = "unix://"

MAX_SOCKET_PATH = 107
"""`sun_path` holds 108 bytes, the last one a NUL (unix(7))."""


class TcpAddress(Struct, frozen=True):
    """An IP address without brackets, and a port; port 0 is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Can only this machine reach it?"""
        return ipaddress.ip_address(self.host).is_loopback


def parse_tcp(text: str) -> TcpAddress:
    """The address in `IP:PORT` or `[IPV6]:PORT`. Raises ValueError, which says what to write."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 0xFFFF:
        raise ValueError('expected IP:PORT with a port up to 65535, as in "127.0.0.1:8081"')
    if host == "localhost":
        raise ValueError(
            "localhost is 127.0.0.1 or ::1, and another user could hold the one that isn't ours;"
            f' write bind_addr = "127.0.0.1:{port}"'
        )
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError(
            f'expected an IP address and not a name before the port, as in "127.0.0.1:{port}"'
        ) from None
    return TcpAddress(_plain(address, port, bracketed=bracketed), int(port))


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: str, *, bracketed: bool
) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        if bracketed:
            raise ValueError(f'an IPv4 address takes no brackets; write "{address}:{port}"')
        return str(address)
    if address.ipv4_mapped is not None:
        raise ValueError(f'write the IPv4 address itself: "{address.ipv4_mapped}:{port}"')
    if not bracketed or address.scope_id is not None:
        plain = ipaddress.IPv6Address(int(address))
        raise ValueError(f'an IPv6 address takes brackets and no scope; write "[{plain}]:{port}"')
    return str(address)
