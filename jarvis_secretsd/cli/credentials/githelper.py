"""`git-credential-jarvis`: logins for git over HTTPS.

Git's protocol (git-credential(1), gitcredentials(7)): an action on the command line, `key=value`
lines on stdin, the answer on stdout, which is empty where there is none: git asks the next helper
then. An action or an attribute that isn't known is ignored.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile

import click
from msgspec import Struct
from msgspec.structs import asdict, replace

from jarvis_secretsd.cli.credentials.store import (
    look_up,
    name_for,
    read_input,
    revise,
    write_output,
)
from jarvis_secretsd.cli.exits import Exit, Refused, explain
from jarvis_secretsd.cli.output import printable
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.values import SecretName

PROGRAM = "git-credential-jarvis"
PREFIX = "git"

MAX_DIGITS = 19
"""Fewer than this hold any time that git can tell."""

Attributes = Mapping[str, str]


class Login(Struct, frozen=True, omit_defaults=True):
    """One user's login, by git's words; the password ends so many seconds after 1970."""

    username: str
    password: str
    password_expiry_utc: int | None = None
    oauth_refresh_token: str | None = None

    def __repr__(self) -> str:
        return f"Login({self.username!r}, ***)"


class Remote(Struct, frozen=True, omit_defaults=True):
    """Where logins are for, and the logins; `path` only where git tells it (useHttpPath)."""

    protocol: str
    host: str
    path: str = ""
    logins: tuple[Login, ...] = ()

    @property
    def name(self) -> SecretName:
        """`https` on `git.example.org:8443` is git/https/git.example.org_8443."""
        return name_for(PREFIX, f"{self.protocol}/{self.host}/{self.path}")

    def is_same_place(self, other: Remote) -> bool:
        """Whether both are for the same URL: two URLs may have one name."""
        return replace(self, logins=()) == replace(other, logins=())


def main() -> None:
    """The program."""
    sys.exit(run_helper(sys.argv[1:]))


def run_helper(arguments: list[str]) -> int:
    """One action; its answer on stdout, or one line on stderr: git goes on without us then."""
    try:
        helper.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.UsageError as error:
        return _complain(error.format_message(), Exit.USAGE)
    except (SecretsClientError, SecretsError) as error:
        return _complain(explain(error), Exit.FAILURE)
    except click.Abort:  # what it makes of Ctrl-C
        return Exit.INTERRUPTED
    return Exit.OK


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("action", metavar="get|store|erase")
@click.option("--client", metavar="ID", help="The client to be [JARVIS_CLIENT_ID].")
@click.option("--socket", metavar="PATH", help="The daemon's socket [JARVIS_SECRETS_SOCKET].")
@click.option("--url", metavar="URL", help="http://127.0.0.1:8081 instead [JARVIS_SECRETS_URL].")
def helper(action: str, client: str | None, socket: str | None, url: str | None) -> None:
    """Keep git's logins in jarvis-secretsd: git config credential.helper jarvis"""
    if action not in _ACTIONS:
        return
    said = _attributes(read_input())
    if not (said.get("protocol") and said.get("host")):
        return
    remote = Remote(said["protocol"], said["host"].lower(), said.get("path", ""))
    with SecretsClient(socket, url, client, cache_ttl=0) as asking:
        _ACTIONS[action](asking, remote, said)


def _complain(text: str, status: Exit) -> Exit:
    print(f"{PROGRAM}: {printable(text)}", file=sys.stderr)
    return status


def _attributes(data: bytes) -> dict[str, str]:
    """The lines up to the first empty one; of a key the last holds.

    Raises Refused for what could make one line two, here or at who reads it (CVE-2024-52006).
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Refused("what git says is not UTF-8") from None
    lines = [*takewhile(bool, text.split("\n"))]
    if any(not _is_one_line(line) for line in lines):
        raise Refused("a carriage return or NUL in what git says; a URL may be made to deceive")
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _is_one_line(text: str) -> bool:
    return not any(character in text for character in "\r\n\0")


def _get(client: SecretsClient, remote: Remote, said: Attributes) -> None:
    held = look_up(client, remote.name, Remote)
    if held is None or not held.is_same_place(remote):
        return
    wanted = said.get("username")
    fitting = (found for found in held.logins if wanted in (None, found.username))
    login = min(fitting, key=lambda found: _is_over(found.password_expiry_utc), default=None)
    if login is not None:
        write_output("".join(_lines(login)))


def _lines(login: Login) -> Iterator[str]:
    told = {key: value for key, value in asdict(login).items() if value is not None}
    if _is_over(login.password_expiry_utc):
        if login.oauth_refresh_token is None:
            return
        del told["password"], told["password_expiry_utc"]  # the next helper may renew it
    for key, value in told.items():
        if not _is_one_line(str(value)):
            raise Refused(f"the {key} that is stored has more than one line")
        yield f"{key}={value}\n"


def _store(client: SecretsClient, remote: Remote, said: Attributes) -> None:
    if not {"username", "password"} <= said.keys() or said.get("ephemeral") in _TRUE:
        return
    expires = said.get("password_expiry_utc", "")
    login = Login(
        said["username"],  # may be empty, beside a token
        said["password"],
        int(expires) if expires.isdecimal() and len(expires) < MAX_DIGITS else None,
        said.get("oauth_refresh_token"),
    )

    def change(held: Remote | None) -> Remote:
        if held is None:
            return replace(remote, logins=(login,))
        if not held.is_same_place(remote):
            raise Refused(f"{remote.name} already holds logins for another URL; delete it first")
        return replace(held, logins=_with(held.logins, login))

    if not _is_over(login.password_expiry_utc):
        revise(client, remote.name, Remote, change)


def _with(logins: tuple[Login, ...], new: Login) -> tuple[Login, ...]:
    """The logins with this one in its user's place, or first: who came last is who is meant."""
    if any(held.username == new.username for held in logins):
        return tuple(new if held.username == new.username else held for held in logins)
    return (new, *logins)


def _erase(client: SecretsClient, remote: Remote, said: Attributes) -> None:
    """Git says what was refused: a password that was changed meanwhile stays."""

    def is_meant(login: Login) -> bool:
        return said.get("username") in (None, login.username) and (
            said.get("password") in (None, login.password)
        )

    def change(held: Remote | None) -> Remote | None:
        if held is None or not held.is_same_place(remote):
            return held
        left = tuple(login for login in held.logins if not is_meant(login))
        return replace(held, logins=left) if left else None

    revise(client, remote.name, Remote, change)


def _is_over(expires: int | None) -> bool:
    return expires is not None and expires <= time.time()


_TRUE = ("1", "true", "yes", "on")

_ACTIONS: dict[str, Callable[[SecretsClient, Remote, Attributes], None]] = {
    "get": _get,
    "store": _store,
    "erase": _erase,
}
