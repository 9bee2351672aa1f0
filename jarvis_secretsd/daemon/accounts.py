"""Users of this host, and acting as one of them: how root looks at files as the daemon would."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

_NUMBER = re.compile(r"[0-9]{1,10}")


class Account(Struct, frozen=True):
    """A user of this host: `groups` are all its groups, `gid` is the primary one.

    A uid without a passwd entry is named by its digits, and has the group of the same number.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str

    def __str__(self) -> str:
        return self.name if self.name == str(self.uid) else f"{self.name} (uid {self.uid})"


def account(uid: int) -> Account:
    """The account of this uid (getpwuid(3), getgrouplist(3))."""
    try:
        entry = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        return Account(uid, uid, (uid,), str(uid))
    return _of_entry(entry)


def account_named(name: str) -> Account | None:
    """The account of this name, or of these digits; None where no user has the name."""
    if _NUMBER.fullmatch(name):
        return account(int(name))
    try:
        return _of_entry(pwd.getpwnam(name))
    except (KeyError, ValueError):
        return None


def group_named(name: str) -> int | None:
    """The gid of this group, or of these digits; None where no group has the name."""
    if _NUMBER.fullmatch(name):
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def group_name(gid: int) -> str:
    """The name of this group, or its digits where it has none (getgrgid(3))."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return str(gid)


@contextmanager
def acting_as(who: Account) -> Iterator[None]:
    """Have `who`'s effective ids and groups meanwhile (seteuid(2)); nothing changes if that is us.

    Only root can act as somebody else. The real ids stay, so that we come back.
    """
    if who.uid == os.geteuid():
        yield
        return
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(who.groups)
    os.setegid(who.gid)
    os.seteuid(who.uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def _of_entry(entry: pwd.struct_passwd) -> Account:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_uid, entry.pw_gid, tuple(groups), entry.pw_name)
