"""Whose the other end of a loopback TCP connection is, before anything secret is sent to it.

While the daemon is down, any user of the host may listen on its port and collect what clients send.
"""

from __future__ import annotations

import os
import socket
import struct
import time

from jarvis_secretsd.client.connection import is_over
from jarvis_secretsd.client.errors import NoDaemon, UntrustedDaemon
from jarvis_secretsd.wire import sockdiag
from jarvis_secretsd.wire.sockdiag import Ends

POLL = 0.002
"""Seconds between two looks at a connection that nobody has accepted yet, which no uid owns."""


def check_owner(connected: socket.socket, daemon_uid: int | None, timeout: float) -> None:
    """Raises UntrustedDaemon unless root, the caller or `daemon_uid` accepted this connection.

    Waits up to `timeout` seconds for it to be accepted. Raises NoDaemon if it was ended instead.
    """
    try:
        host, port = connected.getpeername()[:2]
        uid = _owner(connected, time.monotonic() + timeout)
        has_ended = uid is None and is_over(connected)
    except OSError:
        has_ended = True
    if has_ended:
        raise NoDaemon("the daemon ended the connection before anything was sent")
    if uid is None:
        raise UntrustedDaemon(
            f"the kernel doesn't say whose port {port} of {host} is, so nothing was sent; "
            "use the Unix socket"
        )
    if uid not in (0, os.geteuid(), daemon_uid):
        raise UntrustedDaemon(
            f"port {port} of {host} belongs to uid {uid}, neither root nor you, so nothing was "
            f"sent; if the daemon is to run as that user, set JARVIS_SECRETS_UID={uid}"
        )


def uid_from(text: str) -> int:
    """The uid of a user's name or of digits. Raises ValueError for what is neither."""
    if text.isascii() and text.isdigit():
        return int(text)
    from pwd import getpwnam  # noqa: PLC0415  # most say digits, or nothing

    try:
        return getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"{text!r} is neither a uid nor a user of this host") from None


def _owner(connected: socket.socket, deadline: float) -> int | None:
    # The daemon's end of the connection is the source here, because it is asked about.
    here, there = connected.getsockname(), connected.getpeername()
    ends = Ends(there[1], here[1], _packed(connected, there[0]), _packed(connected, here[0]))
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, sockdiag.NETLINK_SOCK_DIAG) as ask:
            uid = _ask(ask, ends, 1)
            sequence = 2
            while uid is None and time.monotonic() < deadline and not is_over(connected):
                time.sleep(POLL)
                uid = _ask(ask, ends, sequence)
                sequence += 1
    except (OSError, struct.error):
        return None
    return uid


def _ask(netlink: socket.socket, ends: Ends, sequence: int) -> int | None:
    netlink.send(sockdiag.question(ends, socket.if_nametoindex("lo"), sequence))
    while True:
        answer, (sender, _) = netlink.recvfrom(sockdiag.MAX_ANSWER_BYTES)
        if sender == 0 and sockdiag.is_answer(answer, sequence):
            return sockdiag.owner(answer, ends)


def _packed(connected: socket.socket, host: str) -> bytes:
    packed = socket.inet_pton(connected.family, host.partition("%")[0])
    return sockdiag.plain(packed) if connected.family == socket.AF_INET6 else packed
