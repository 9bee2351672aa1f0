"""Secrets as a keyring: the backend that the library `keyring` finds (the extra `keyring`).

A password is the secret `keyring/SERVICE/USERNAME`. In both, a byte of UTF-8 that is neither a-z,
0-9, `.` nor `-`, and a `.` or `-` at the start, is `_` and its two hex digits; what is empty is a
lone `_`. So two different pairs never share a secret, and a name can be read back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from keyring.backend import KeyringBackend
from keyring.compat import properties
from keyring.credentials import Credential, SimpleCredential
from keyring.errors import KeyringError, KeyringLocked, PasswordDeleteError, PasswordSetError

from jarvis_secretsd.client.address import DEFAULT_SOCKET, SOCKET_VARIABLE, URL_VARIABLE
from jarvis_secretsd.client.client import SecretsClient
from jarvis_secretsd.client.errors import DaemonUnavailable, SecretNotFound, SecretsClientError
from jarvis_secretsd.errors import Reason
from jarvis_secretsd.messages import Delete, Deleted
from jarvis_secretsd.values import SecretName

ROOM = "keyring/"
"""What the names of all passwords begin with."""

PRIORITY = 2.0
"""Above files, below a desktop's keyring (5): who has one goes on finding the passwords there."""


class JarvisKeyring(KeyringBackend):
    """Keeps passwords with the daemon that the environment names. Needs no desktop and no HOME.

    On `keyring/*`, reading takes the right `read`, setting `write`, deleting `delete`.
    """

    @properties.classproperty
    def priority(cls) -> float:  # noqa: N805  # the decorator gives the class
        """Raises RuntimeError where no daemon is named and the default socket isn't open to us."""
        is_named = os.environ.get(SOCKET_VARIABLE) or os.environ.get(URL_VARIABLE)
        if not is_named and not os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK):
            raise RuntimeError(f"there is no {DEFAULT_SOCKET} that we may open")
        return PRIORITY

    def get_password(self, service: str, username: str) -> str | None:
        """The password, or None where there is none. Raises KeyringError."""
        with _asking(KeyringError) as client:
            try:
                return client.get(_name(service, username))
            except SecretNotFound:
                return None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store the password. Raises PasswordSetError."""
        with _asking(PasswordSetError) as client:
            client.put(_name(service, username), password)

    def delete_password(self, service: str, username: str) -> None:
        """Delete the password. Raises PasswordDeleteError, also where there is none."""
        with _asking(PasswordDeleteError) as client:
            client.ask(Delete(SecretName(_name(service, username))), Deleted)

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """This user's password, or without a user that of the service's first one."""
        if username is None:
            username = _first_user(service)
        password = None if username is None else self.get_password(service, username)
        if username is None or password is None:
            return None
        return SimpleCredential(username, password)


@contextmanager
def _asking(kind: type[KeyringError]) -> Iterator[SecretsClient]:
    try:
        with SecretsClient() as client:
            yield client
    except DaemonUnavailable as error:
        told = KeyringLocked if error.reason is Reason.LOCKED else kind
        raise told(error.message) from error
    except (SecretsClientError, ValueError) as error:
        raise kind(str(error)) from error


def _first_user(service: str) -> str | None:
    start = f"{ROOM}{_escape(service)}/"
    with _asking(KeyringError) as client:
        names = [entry.name for entry in client.list()]
    users = (_unescape(name.removeprefix(start)) for name in names if name.startswith(start))
    return next((user for user in users if user is not None), None)


def _name(service: str, username: str) -> str:
    return f"{ROOM}{_escape(service)}/{_escape(username)}"


def _escape(text: str) -> str:
    data = text.encode(errors="surrogatepass")
    escaped = re.sub(rb"^[.-]|[^a-z0-9.-]", lambda byte: b"_%02x" % ord(byte[0]), data)
    return escaped.decode() or "_"


def _unescape(segment: str) -> str | None:
    """The text that this is the escape of, if it is one: a person may have put other names here."""
    data = re.sub(rb"_([0-9a-f]{2})|^_$", lambda byte: _byte(byte[1]), segment.encode())
    try:
        text = data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    return text if _escape(text) == segment else None


def _byte(digits: bytes | None) -> bytes:
    return bytes.fromhex(digits.decode()) if digits else b""
