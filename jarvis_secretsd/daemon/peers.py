"""Who the kernel says is at the other end, for Unix sockets and for loopback TCP.

Whatever goes wrong on the way to an answer means "the kernel doesn't say": never a default, never
uid 0.
"""

from __future__ import annotations

import errno
import socket
import struct
from itertools import count
from typing import Final

from jarvis_secretsd.domain.peer import Peer, Transport
from jarvis_secretsd.wire import sockdiag
from jarvis_secretsd.wire.sockdiag import NO_ID, Ends

SO_PEERGROUPS: Final = 59
SO_NETNS_COOKIE: Final = 71
"""From asm-generic/socket.h; Python 3.11 has no names for them."""

MAX_GROUP_BYTES = 1024
"""256 groups, the most that socket.getsockopt takes. A peer in more is known by its uid alone."""

_UCRED = struct.Struct("iII")


def unix_peer(sock: socket.socket) -> Peer | None:
    """The peer of a Unix stream socket as it was when it connected (unix(7)), or None.

    A peer whose pid our namespace does not show has none. Pid 0 with uid 0 is also what a buffer
    shows that the kernel didn't fill, so it is nobody.
    """
    try:
        pid, uid, gid = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        groups = _groups(sock)
    except (OSError, struct.error):
        return None
    if pid < 0 or NO_ID in (uid, gid) or (pid == 0 and uid == 0):
        return None
    return Peer(Transport.UNIX, uid, gid, pid or None, groups)


def _groups(sock: socket.socket) -> frozenset[int]:
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MAX_GROUP_BYTES)
    except OSError as error:
        if error.errno in (errno.ERANGE, errno.ENODATA):
            return frozenset()
        raise
    return frozenset(struct.unpack(f"={len(found) // 4}I", found))


class SockDiag:
    """Asks the kernel which uid owns the other end of a listener's connections (sock_diag(7)).

    It sees the network namespace that we are in; a listener that was handed to us from another one
    has unattested peers only. Raises OSError where a sandbox keeps AF_NETLINK from us.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM, sockdiag.NETLINK_SOCK_DIAG
        )
        self._netlink.setblocking(False)  # the kernel answers before send returns
        self._loopback = socket.if_nametoindex("lo")
        self._is_blind = _network_of(self._netlink) != _network_of(listener)
        self._sequence = count(1)

    def peer(self, sock: socket.socket) -> Peer:
        """The peer of this accepted socket; its uid is None unless everything speaks for one.

        The row that names a uid must be an established connection with an open socket, found by the
        exact four-tuple. After that our own end must still be established: otherwise the peer may
        have gone in the meantime, and the row be that of the next user of its port.
        """
        try:
            uid = self._owner(sock)
            lives = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except (OSError, struct.error, ValueError):
            uid = None
        else:
            if lives != bytes([sockdiag.TCP_ESTABLISHED]):
                uid = None
        return Peer(Transport.TCP, uid)

    def close(self) -> None:
        """Let go of the netlink socket."""
        self._netlink.close()

    def _owner(self, sock: socket.socket) -> int | None:
        if self._is_blind:
            return None
        far, near = sock.getpeername(), sock.getsockname()
        ends = Ends(far[1], near[1], _packed(far[0]), _packed(near[0]))
        if len(ends.source) != len(ends.destination) or not sockdiag.is_loopback(ends.source):
            return None
        sequence = next(self._sequence) & 0xFFFFFFFF
        self._netlink.send(sockdiag.question(ends, self._loopback, sequence))
        while True:
            answer, (sender, _) = self._netlink.recvfrom(sockdiag.MAX_ANSWER_BYTES)
            if sender == 0 and sockdiag.is_answer(answer, sequence):
                return sockdiag.owner(answer, ends)


def is_loopback(host: str) -> bool:
    """Can only this machine have this address? `host` as getpeername shows it."""
    return sockdiag.is_loopback(_packed(host))


def _packed(host: str) -> bytes:
    """The address as 4 or 16 bytes; an IPv4 address in IPv6 clothes is the IPv4 address."""
    if ":" not in host:
        return socket.inet_pton(socket.AF_INET, host)
    return sockdiag.plain(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))


def _network_of(sock: socket.socket) -> bytes | None:
    """The cookie of the socket's network namespace; None below Linux 5.14, which has none."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return None
