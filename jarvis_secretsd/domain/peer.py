"""Who is at the other end of a connection, as the kernel says; nothing of what they may do."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Transport(StrEnum):
    """How a request came in. `credentials` is systemd, for a unit; `internal` our own clock."""

    UNIX = "unix"
    TCP = "tcp"
    CREDENTIALS = "credentials"
    INTERNAL = "internal"


class Peer(Struct, frozen=True):
    """What the kernel says of a peer, taken once when it connected (unix(7), SO_PEERCRED).

    `uid` None is unattested: the kernel couldn't say, and then it is no user at all. `groups` are
    the supplementary ones. `unit` is the systemd service it runs in, where that was asked and could
    be told.
    """

    transport: Transport
    uid: int | None
    gid: int | None = None
    pid: int | None = None
    groups: frozenset[int] = frozenset()
    unit: str | None = None
