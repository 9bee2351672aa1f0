"""sock_diag(7) as bytes: whose socket is at one end of a TCP connection, asked and answered.

The daemon asks about its clients, and a client about its daemon; either does its own talking.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

NETLINK_SOCK_DIAG = 4
"""The netlink protocol to ask by; Python 3.11 has no name for it."""

TCP_ESTABLISHED = 1
MAX_ANSWER_BYTES = 4096
"""One row without extensions is below 100 bytes."""

NO_ID = 2**32 - 1
"""`(uid_t) -1`, which stands for nobody."""

_AF_INET, _AF_INET6 = 2, 10
_IPPROTO_TCP = 6
SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ANY_COOKIE = b"\xff" * 8
_MAPPED = b"\0" * 10 + b"\xff\xff"

_HEADER = struct.Struct("=IHHII")
"""nlmsghdr (netlink(7)): length, type, flags, sequence number, port id."""

_QUERY = struct.Struct("=BBBxI36sI8s")
"""inet_diag_req_v2 (sock_diag(7)): family, protocol, extension, states, ends, interface, cookie."""

_QUESTION_BYTES = _HEADER.size + _QUERY.size

_ENDS = struct.Struct("!HH16s16s")
"""The ends in it: source port, destination port, source address, destination address."""

_ROW = struct.Struct("=BBxx36s24xII")
"""inet_diag_msg (sock_diag(7)): family, state, ends, uid, inode."""


class Ends(NamedTuple):
    """A connection as the asked-about end sees it; addresses are 4 or 16 bytes, both the same."""

    source_port: int
    destination_port: int
    source: bytes
    destination: bytes


def question(ends: Ends, interface: int, sequence: int) -> bytes:
    """The datagram that asks for the established connection with exactly these ends."""
    family = _AF_INET if len(ends.source) == 4 else _AF_INET6
    return _HEADER.pack(
        _QUESTION_BYTES, SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, sequence, 0
    ) + _QUERY.pack(
        family, _IPPROTO_TCP, 0, 1 << TCP_ESTABLISHED, _ENDS.pack(*ends), interface, _ANY_COOKIE
    )


def is_answer(datagram: bytes, sequence: int) -> bool:
    """Does this datagram, if it is the kernel's, answer the question of this number?"""
    return bool(_HEADER.unpack_from(datagram)[3] == sequence)


def owner(datagram: bytes, ends: Ends) -> int | None:
    """The uid that the answer names: of an established connection with an open socket, or None.

    An error, another connection's row, and one that nobody holds name none. Raises struct.error for
    what is cut off.
    """
    length, kind, *_ = _HEADER.unpack_from(datagram)
    if kind != SOCK_DIAG_BY_FAMILY or length != len(datagram):
        return None
    family, state, raw, uid, inode = _ROW.unpack_from(datagram, _HEADER.size)
    *ports, source, destination = _ENDS.unpack(raw)
    found = (*ports, plain(source, family), plain(destination, family))
    return uid if found == ends and state == TCP_ESTABLISHED and inode and uid != NO_ID else None


def plain(address: bytes, family: int = _AF_INET6) -> bytes:
    """The 4 or 16 bytes that count, of the 16 that an address of this family is written in.

    An IPv4 address in IPv6 clothes is the IPv4 address.
    """
    if family == _AF_INET:
        return address[:4]
    return address[12:] if address.startswith(_MAPPED) else address


def is_loopback(address: bytes) -> bool:
    """Can only this machine have this address?"""
    return address[0] == 127 if len(address) == 4 else address == b"\0" * 15 + b"\1"
