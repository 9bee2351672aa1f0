"""Can the daemon listen where the configuration says? Nothing is left behind of asking."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import stat
from pathlib import Path

from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.accounts import group_named
from jarvis_secretsd.daemon.addresses import TcpAddress
from jarvis_secretsd.daemon.config import ServerConfig
from jarvis_secretsd.daemon.findings import Findings

LISTENING = b"00010000"
"""The flags of a row of /proc/net/unix whose socket takes connections (unix(7), proc(5))."""


def inspect_listeners(server: ServerConfig, found: Findings, *, running: bool) -> None:
    """The Unix socket's directory, its group and what lies there, and the TCP port.

    While the daemon is `running` the port is its own, and isn't tried.
    """
    if server.unix_path is not None:
        with found.gathering():
            _inspect_place(server.unix_path, found)
        if server.socket_group is not None:
            _inspect_group(server.socket_group, found)
    if server.tcp is not None and not running:
        _inspect_port(server.tcp, found)


def _inspect_place(path: Path, found: Findings) -> None:
    own, parent = os.geteuid(), shlex.quote(str(path.parent))
    try:
        with files.opened_parent(path) as (directory, name):
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
                found.error(
                    f"{path.parent}: uid {own} can't make its socket there; run: "
                    f"chown {own} {parent}"
                )
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        if not os.path.lexists(path.parent):
            command = f"install -d -m 0755 -o {own} {parent}"
            found.error(f"{path}: its directory isn't there; run: {command}")
        return
    if not stat.S_ISSOCK(there.st_mode):
        found.error(f"{path} is there and is not a socket; move it away, or set server.socket_path")
    elif there.st_uid == 0 != own:
        if not _is_heard(path):  # systemd's, that it hands to the daemon, is
            found.warn(
                f"{path} is a socket of root where nobody listens; run: rm {shlex.quote(str(path))}"
            )
    elif there.st_uid != own:
        found.error(
            f"{path} is a socket of uid {there.st_uid}; if nobody needs it, run: "
            f"rm {shlex.quote(str(path))}"
        )


def _is_heard(path: Path) -> bool:
    """Does anybody listen at this path? Connects nowhere, which would start a daemon."""
    with open("/proc/net/unix", "rb") as sockets:
        rows = (line.split(maxsplit=7) for line in sockets)
        return any(row[3] == LISTENING and row[7:] == [os.fsencode(path) + b"\n"] for row in rows)


def _inspect_group(group: str, found: Findings) -> None:
    gid = group_named(group)
    if gid is None:
        command = f"groupadd {shlex.quote(group)}"
        found.error(f"server.socket_group: there is no group {group!a}; run: {command}")
        return
    if os.geteuid() != 0 and gid not in (os.getegid(), *os.getgroups()):
        found.error(
            f"server.socket_group: uid {os.geteuid()} is not in {group}, so it can't give the "
            f"socket to it; run: usermod -aG {shlex.quote(group)} USER"
        )


def _inspect_port(address: TcpAddress, found: Findings) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address.host, address.port))
        except PermissionError:
            found.warn(
                f"server.bind_addr: {address}: ports below 1024 take CAP_NET_BIND_SERVICE, which "
                "the daemon must be given; or write a higher one"
            )
        except OSError as error:
            found.error(f"server.bind_addr: {address} {_fault(error, address)}")


def _fault(error: OSError, address: TcpAddress) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"is taken; who has it: ss -ltnp 'sport = :{address.port}'"
        case errno.EADDRNOTAVAIL:
            return "is no address of this machine; write another"
        case _:
            return f"can't be listened on: {os.strerror(error.errno or 0)}; write another"
