"""Where the daemon is, who asks it, and how long it is waited for: said, or in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from jarvis_secretsd.client.address import find_address
from jarvis_secretsd.client.errors import BadRequest
from jarvis_secretsd.values import BearerToken, ClientId, SecretValue

TYPE_CHECKING = False  # see values.py
if TYPE_CHECKING:
    from typing import TypeVar

    S = TypeVar("S")
    T = TypeVar("T")

CLIENT_VARIABLE = "JARVIS_CLIENT_ID"
TOKEN_FILE_VARIABLE = "JARVIS_SECRETS_TOKEN_FILE"
UID_VARIABLE = "JARVIS_SECRETS_UID"
WAIT_VARIABLE = "JARVIS_SECRETS_WAIT"


class Access:
    """What a connection needs to know. `timeout` and `wait` are seconds. Raises BadRequest."""

    def __init__(
        self,
        socket_path: str | None,
        url: str | None,
        client_id: str | None,
        token: str | None,
        *,
        timeout: float,
        wait: float | None,
        daemon_uid: int | None,
        allow_remote: bool,
    ) -> None:
        environ = os.environ
        self.address = find_address(socket_path, url, environ, allow_remote=allow_remote)
        claim = client_id or environ.get(CLIENT_VARIABLE)
        self.claim = valid(ClientId, claim) if claim else None
        self.token = BearerToken(token) if token else _token_from_file(environ)
        self.daemon_uid = _uid_from(environ) if daemon_uid is None else daemon_uid
        self.timeout = timeout
        self.wait = _wait_from(environ) if wait is None else wait


def valid(kind: Callable[[S], T], raw: S) -> T:
    """What was given, as the word that it must be. Raises BadRequest."""
    try:
        return kind(raw)
    except ValueError as error:
        why = str(error)
    raise BadRequest("invalid_request", why)  # out here: the error of a text holds all of it


def whole(value: str | bytes) -> SecretValue:
    """The value that is to be put. Raises ValueError."""
    if isinstance(value, bytes):
        return SecretValue(value, is_text=False)
    return SecretValue.from_text(value)


def text_of(value: SecretValue, name: str) -> str:
    """The value as text. Raises BadRequest for bytes that are none."""
    try:
        return value.reveal_text()
    except UnicodeDecodeError:  # it holds the value, so it must not be the context of ours
        pass
    raise BadRequest("invalid_request", f"{name} holds bytes that are not text; use get_bytes")


def _uid_from(environ: Mapping[str, str]) -> int | None:
    said = environ.get(UID_VARIABLE)
    if not said:
        return None
    from jarvis_secretsd.client.owner import uid_from  # noqa: PLC0415  # only for who says so

    try:
        return uid_from(said)
    except ValueError as error:
        raise BadRequest("invalid_request", f"{UID_VARIABLE}: {error}") from None


def _wait_from(environ: Mapping[str, str]) -> float:
    said = environ.get(WAIT_VARIABLE)
    if not said:
        return 0.0
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise BadRequest(
            "invalid_request", f"{WAIT_VARIABLE} is a number of seconds, like 30, not {said!r}"
        )
    return seconds


def _token_from_file(environ: Mapping[str, str]) -> BearerToken | None:
    path = environ.get(TOKEN_FILE_VARIABLE)
    if not path:
        return None
    try:
        with open(path, encoding="ascii") as file:
            return BearerToken(file.read().strip())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise BadRequest(
            "bad_token", f"{TOKEN_FILE_VARIABLE}: can't read the token in {path}: {why}"
        ) from None
