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

NO_ID = 2**32 - 1
"""`(uid_t) -1`, which SO_PEERCRED shows for a socket that has no peer of the kernel's knowing."""

SO_PEERGROUPS: Final = 59
SO_NETNS_COOKIE: Final = 71
"""From asm-generic/socket.h; Python 3.11 has no names for them."""

MAX_GROUP_BYTES = 1024
"""256 groups, the most that socket.getsockopt takes. A peer in more groups is known by its uid alone."""

_UCRED = struct.Struct("iII")

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
TCP_ESTABLISHED: Final = 1

_HEADER = struct.Struct("=IHHII")
"""nlmsghdr (netlink(7)): length, type, flags, sequence number, port id."""

_QUERY = struct.Struct("=BBBxI")
"""inet_diag_req_v2 (sock_diag(7)) up to its socket id: family, protocol, extensions, states."""

_SOCKET_ID = struct.Struct("!4s16s16s")
"""inet_diag_sockid up to its interface: both ports, source address, destination address."""

_ID_TAIL = struct.Struct("=I8s")
"""The rest of inet_diag_sockid: interface and cookie."""

_ROW = struct.Struct("=BBxx36s28xII")
"""inet_diag_msg: family, state, ports and addresses, uid, inode."""

_ANY_COOKIE = b"\xff" * 8
_MAPPED = b"\0" * 10 + b"\xff\xff"
_ROW_BYTES = 4096


def unix_peer(sock: socket.socket) -> Peer | None:
    """The peer of a Unix stream socket as it was when it connected (unix(7)), or None.

    A peer whose pid our namespace doesn't show has none. A pid of 0 with uid 0 is also what a buffer
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
    """Asks the kernel which uid owns the other end of a loopback TCP connection (sock_diag(7)).

    Raises OSError where a sandbox keeps AF_NETLINK from us. It answers for connections in its own
    network namespace.
    """

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG)
        self._netlink.setblocking(False)  # the kernel answers before send returns
        self._loopback = socket.if_nametoindex("lo")
        self._network = _network_of(self._netlink)
        self._sequence = count(1)

    def peer(self, sock: socket.socket) -> Peer:
        """The peer of this accepted socket; its uid is None unless everything speaks for one.

        The row that names a uid must be an established connection with an open socket, found by the
        exact four-tuple. And our own end must be established still after that: otherwise the peer may
        have gone in the meantime, and the row be that of the next user of its port.
        """
        try:
            uid = self._owner(sock)
            lives = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except (OSError, struct.error, ValueError):
            uid = None
        else:
            if lives != bytes([TCP_ESTABLISHED]):
                uid = None
        return Peer(Transport.TCP, uid)

    def close(self) -> None:
        """Let go of the netlink socket."""
        self._netlink.close()

    def _owner(self, sock: socket.socket) -> int | None:
        if _network_of(sock) != self._network:
            return None
        far, near = sock.getpeername(), sock.getsockname()
        source, destination = _packed(far[0]), _packed(near[0])
        if len(source) != len(destination) or not _is_loopback(source):
            return None
        ports = struct.pack("!HH", far[1], near[1])
        sequence = next(self._sequence) & 0xFFFFFFFF
        self._netlink.send(self._query(sequence, ports, source, destination))
        while True:
            answer, sender = self._netlink.recvfrom(_ROW_BYTES)
            length, kind, _flags, number, _port = _HEADER.unpack_from(answer)
            if sender[0] == 0 and number == sequence:
                break
        if kind != SOCK_DIAG_BY_FAMILY or length > len(answer):
            return None
        _family, state, socket_id, uid, inode = _ROW.unpack_from(answer, _HEADER.size)
        asked = (_socket_id(ports, source, destination), _mapped_id(ports, source, destination))
        if state != TCP_ESTABLISHED or not inode or uid == NO_ID or socket_id not in asked:
            return None
        return int(uid)

    def _query(self, sequence: int, ports: bytes, source: bytes, destination: bytes) -> bytes:
        family = socket.AF_INET if len(source) == 4 else socket.AF_INET6
        body = (
            _QUERY.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_ESTABLISHED)
            + _socket_id(ports, source, destination)
            + _ID_TAIL.pack(self._loopback, _ANY_COOKIE)
        )
        length = _HEADER.size + len(body)
        return _HEADER.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, sequence, 0) + body


def is_loopback(host: str) -> bool:
    """Can only this machine have this address? `host` as getpeername shows it."""
    return _is_loopback(_packed(host))


def _is_loopback(address: bytes) -> bool:
    return address[0] == 127 if len(address) == 4 else address == b"\0" * 15 + b"\1"


def _packed(host: str) -> bytes:
    """The address as 4 or 16 bytes; an IPv4 address in IPv6 clothes is the IPv4 address."""
    if ":" not in host:
        return socket.inet_pton(socket.AF_INET, host)
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _socket_id(ports: bytes, source: bytes, destination: bytes) -> bytes:
    return _SOCKET_ID.pack(ports, source, destination)


def _mapped_id(ports: bytes, source: bytes, destination: bytes) -> bytes:
    """The same as a row shows it whose socket is an IPv6 one that speaks IPv4."""
    return ports + (_MAPPED + source)[-16:] + (_MAPPED + destination)[-16:]


def _network_of(sock: socket.socket) -> bytes | None:
    """The cookie of the socket's network namespace; None below Linux 5.14, which has none."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return None
