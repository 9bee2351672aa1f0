"""Can the users that the policy binds open the socket at all (unix(7), path_resolution(7))?

Only modes and groups are looked at; an ACL or a namespace may give more or less.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from jarvis_secretsd.daemon.accounts import (
    Account,
    account,
    account_named,
    group_name,
    group_named,
)
from jarvis_secretsd.daemon.config import ServerConfig
from jarvis_secretsd.daemon.findings import Findings
from jarvis_secretsd.domain.policy import ROOT, Client, Policy


class Access(Struct, frozen=True):
    """Whose a file is, and its mode."""

    uid: int
    gid: int
    mode: int

    def lets(self, who: Account, bit: int) -> bool:
        """Has `who` this right (4, 2 or 1)? As in the kernel, the first class that fits decides."""
        if who.uid == ROOT:
            return True
        if who.uid == self.uid:
            return bool(self.mode >> 6 & bit)
        if self.gid in who.groups or self.gid == who.gid:
            return bool(self.mode >> 3 & bit)
        return bool(self.mode & bit)


def inspect_reach(server: ServerConfig, policy: Policy, daemon: Account, found: Findings) -> None:
    """Warn of each bound user that can't open the socket, with the command that lets it."""
    path = server.unix_path
    if path is None:
        return
    sock = Access(daemon.uid, _socket_gid(server, daemon), server.permissions)
    for client in policy.clients.values():
        for who in _bound(client):
            barred = _barred(path, who)
            if barred is not None:
                found.warn(
                    f"clients.{client.id}: {who} can't enter {barred}, so it can't open {path}; "
                    f"run: chmod o+x {barred}, or set server.socket_path to a place that all may "
                    "enter"
                )
            elif not sock.lets(who, os.W_OK):
                found.warn(
                    f"clients.{client.id}: {who} can't open {path}, which will be {daemon.name}:"
                    f"{group_name(sock.gid)} {sock.mode:04o}; {_remedy(sock, who)}"
                )


def _bound(client: Client) -> Iterable[Account]:
    """The users that may be this client, those of its groups included."""
    if not client.bound:
        return ()
    members = (account_named(name) for gid in client.gids for name in _members(gid))
    found = {who.uid: who for who in (*map(account, client.uids), *members) if who is not None}
    return [found[uid] for uid in sorted(found)]


def _members(gid: int) -> list[str]:
    try:
        return grp.getgrgid(gid).gr_mem
    except (KeyError, OverflowError):
        return []


def _barred(path: Path, who: Account) -> Path | None:
    """The first directory on the way that this user can't pass. One may be missing still."""
    for directory in reversed(path.parents):
        try:
            found = os.stat(directory)
        except OSError:
            return None
        if not Access(found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)).lets(who, os.X_OK):
            return directory
    return None


def _socket_gid(server: ServerConfig, daemon: Account) -> int:
    """The group that the socket's file will have: a setgid directory gives its own (inode(7))."""
    group = server.socket_group
    if group is not None:
        gid = group_named(group)
        return daemon.gid if gid is None else gid
    try:
        found = os.stat(server.unix_path.parent) if server.unix_path else None
    except OSError:
        found = None
    return found.st_gid if found and found.st_mode & stat.S_ISGID else daemon.gid


def _remedy(sock: Access, who: Account) -> str:
    if sock.mode & 0o020 and sock.gid != ROOT and who.name != str(who.uid):
        return f"run: usermod -aG {group_name(sock.gid)} {who.name}, and restart its programs"
    return 'write server.socket_mode = "0666"; the policy still decides who gets what'
