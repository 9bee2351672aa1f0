"""`docker-credential-jarvis`: logins to registries, for docker, podman, skopeo and buildah.

Docker's protocol (docker/docker-credential-helpers): an action on the command line, JSON or a
server's URL on stdin, the answer or the error on stdout. Programs compare some errors' texts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from msgspec import DecodeError, Struct, field, json

from jarvis_secretsd import __version__
from jarvis_secretsd.cli.credentials.store import (
    look_up,
    name_for,
    read_input,
    revise,
    write_output,
)
from jarvis_secretsd.cli.exits import Exit, Refused, explain
from jarvis_secretsd.cli.output import printable
from jarvis_secretsd.client import AccessDenied, SecretsClient, SecretsClientError
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.values import SecretName

PROGRAM = "docker-credential-jarvis"
PREFIX = "docker"

NOT_FOUND = "credentials not found in native keychain"
NO_SERVER = "no credentials server URL"
NO_USERNAME = "no credentials username"


class Login(Struct, frozen=True):
    """A login to a registry, as docker writes it and as it is stored."""

    server: str = field(name="ServerURL")
    username: str = field(name="Username")
    secret: str = field(name="Secret")

    def __repr__(self) -> str:
        return f"Login({self.server!r}, {self.username!r}, ***)"


def main() -> None:
    """The program."""
    sys.exit(run_helper(sys.argv[1:]))


def run_helper(arguments: Sequence[str]) -> int:
    """One action; its answer, or why not, on stdout."""
    try:
        write_output(_act(arguments))
    except (SecretsClientError, SecretsError) as error:
        write_output(printable(explain(error)) + "\n")
        return Exit.FAILURE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def _act(arguments: Sequence[str]) -> str:
    match arguments:
        case ["version" | "--version" | "-v"]:
            return f"{PROGRAM} (jarvis-secretsd) {__version__}\n"
        case [action] if action in _ACTIONS:
            said = b"" if action == "list" else read_input()
            with SecretsClient(cache_ttl=0) as client:
                return _ACTIONS[action](client, said)
    raise Refused(f"Usage: {PROGRAM} <store|get|erase|list|version>")


def _store(client: SecretsClient, said: bytes) -> str:
    login = _login(said)
    name = _name(login.server)

    def change(held: Login | None) -> Login:
        if held is not None and held.server != login.server:
            raise Refused(
                f"{name} already holds the login to {held.server}; log out there, or delete it"
            )
        return login

    revise(client, name, Login, change)
    return ""


def _get(client: SecretsClient, said: bytes) -> str:
    server = _server(said)
    try:
        login = look_up(client, _name(server), Login)
    except AccessDenied as error:
        if error.code != "denied":
            raise
        _remark(error)  # to a registry that needs no login it is no reason to stop
        login = None
    if login is None or login.server != server:
        raise Refused(NOT_FOUND)
    return json.encode(login).decode() + "\n"


def _erase(client: SecretsClient, said: bytes) -> str:
    server = _server(said)

    def change(held: Login | None) -> None:
        if held is None or held.server != server:
            raise Refused(NOT_FOUND)

    revise(client, _name(server), Login, change)
    return ""


def _list(client: SecretsClient, _said: bytes) -> str:
    names = [entry.name for entry in client.list() if entry.name.startswith(f"{PREFIX}/")]
    logins = [_look_over(client, name) for name in names]
    return json.encode({login.server: login.username for login in logins if login}).decode() + "\n"


_ACTIONS: dict[str, Callable[[SecretsClient, bytes], str]] = {
    "store": _store,
    "get": _get,
    "erase": _erase,
    "list": _list,
}


def _look_over(client: SecretsClient, name: SecretName) -> Login | None:
    """The login of this name; another secret below the prefix is remarked and left out."""
    try:
        return look_up(client, name, Login)
    except Refused as refused:
        _remark(refused)
        return None


def _remark(error: SecretsClientError | SecretsError) -> None:
    print(f"{PROGRAM}: {printable(explain(error))}", file=sys.stderr)


def _login(said: bytes) -> Login:
    try:
        fields = json.decode(said, type=dict[str, str])
    except DecodeError:
        raise Refused("the input is not JSON with ServerURL, Username and Secret") from None
    login = Login(*(fields.get(key, "") for key in ("ServerURL", "Username", "Secret")))
    if not login.server:
        raise Refused(NO_SERVER)
    if not login.username:
        raise Refused(NO_USERNAME)
    return login


def _server(said: bytes) -> str:
    try:
        server = said.decode().strip()
    except UnicodeDecodeError:
        raise Refused("the server's URL is not UTF-8") from None
    if not server:
        raise Refused(NO_SERVER)
    return server


def _name(server: str) -> SecretName:
    """`https://index.docker.io/v1/` is docker/https/index.docker.io/v1."""
    return name_for(PREFIX, server.replace("://", "/", 1))
