"""Where the daemon is: a Unix socket, or a port of this host."""

from __future__ import annotations

from collections.abc import Mapping

from jarvis_secretsd.client.errors import BadRequest

TYPE_CHECKING = False  # see values.py
if TYPE_CHECKING:
    from jarvis_secretsd.client.url import Address

DEFAULT_SOCKET = "/run/jarvis/secretsd.sock"

SOCKET_VARIABLE = "JARVIS_SECRETS_SOCKET"
URL_VARIABLE = "JARVIS_SECRETS_URL"


class UnixAddress(str):
    """The path of a socket in the file system."""

    __slots__ = ()


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
    from jarvis_secretsd.client.url import parse_url  # noqa: PLC0415  # not for a socket

    return parse_url(url, allow_remote=allow_remote)
