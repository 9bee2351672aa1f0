"""Asking the daemon: messages out, messages in, over one connection that is made when needed.

Imported with a program's first question and not before: the messages and their codec take longer to
import than all the rest of the client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import RLock
from typing import Any, TypeVar

from msgspec import structs

from jarvis_secretsd import messages as m
from jarvis_secretsd.client.access import Access
from jarvis_secretsd.client.connection import Connection
from jarvis_secretsd.client.errors import (
    ConnectionLost,
    DaemonUnreachable,
    NoDaemon,
    SecretsClientError,
    error_of,
)
from jarvis_secretsd.client.questions import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Care,
    answers_in,
    framed,
    is_confidential,
    is_repeatable,
    put_of,
    result_of,
)
from jarvis_secretsd.values import Kid, SecretName, SecretValue

R = TypeVar("R", bound=m.Result)
T = TypeVar("T")


class Session:
    """One connection's questions, one at a time. Threads may share it.

    `changed` is called after each question that may have changed something.
    """

    def __init__(self, access: Access, changed: Callable[[], None]) -> None:
        self._access = access
        self._changed = changed
        self._connection: Connection | None = None
        self._lock = RLock()

    def get(self, name: SecretName, kid: Kid | None = None) -> m.Found:
        """The current version, or the one with this kid."""
        return self.ask(m.Get(name, kid), m.Found)

    def put(self, name: SecretName, value: SecretValue | None, care: Care) -> m.Stored:
        """Store a value, or have one generated."""
        return self.ask(put_of(name, value, care), m.Stored)

    def list(self) -> tuple[m.Listed, ...]:
        """Every secret that may be read, page by page."""
        page = self.ask(m.List(), m.Listing)
        secrets = [*page.secrets]
        while page.next is not None:
            page = self.ask(m.List(after=page.next), m.Listing)
            secrets += page.secrets
        return tuple(secrets)

    def sign_jwt(
        self, claims: Mapping[str, Any], ttl: int | None, key: SecretName | None
    ) -> m.JwtSigned:
        """A token with these claims."""
        return self.ask(m.SignJwt(claims, ttl, key), m.JwtSigned)

    def verify_jwt(self, token: str, audience: str | None, issuer: str | None) -> m.JwtVerified:
        """What a token claims that holds."""
        return self.ask(m.VerifyJwt(token, audience, issuer), m.JwtVerified)

    def jwks(self) -> dict[str, Any]:
        """The public keys, as their JSON has them."""
        found = self.ask(m.Jwks(), m.KeySet)
        return {"keys": [structs.asdict(key) for key in found.keys]}

    def call(self, operation: m.Operation) -> m.Result:
        """What an operation gives, as the result that it has on the wire."""
        return self.ask(operation, result_of(operation))

    def ask(self, operation: m.Operation, result: type[R]) -> R:
        """What one operation gives. Raises SecretsClientError."""
        (reply,) = self._exchange((operation,), result)
        if isinstance(reply, m.Failure):
            raise error_of(reply)
        return reply

    def ask_all(
        self, operations: Sequence[m.Operation], result: type[R]
    ) -> tuple[R | SecretsClientError, ...]:
        """What each operation gives, in order; a refusal stands in its place."""
        replies = self._exchange(operations, result)
        return tuple(
            error_of(reply) if isinstance(reply, m.Failure) else reply for reply in replies
        )

    def close(self) -> None:
        """Hang up. The next question connects anew."""
        with self._lock:
            self._hang_up()

    def abandon(self) -> None:
        """Let go of the connection, in a forked child: it and the lock are the parent's."""
        self._hang_up()

    def _exchange(
        self, operations: Sequence[m.Operation], result: type[R]
    ) -> tuple[R | m.Failure, ...]:
        requests = [framed(operation, self._access) for operation in operations]
        repeatable = all(map(is_repeatable, operations))
        is_secret = any(is_confidential(operation, self._access) for operation in operations)
        with self._lock:
            try:
                bodies = self._converse(requests, is_secret)
            except ConnectionLost:
                if not repeatable:
                    raise
                # A daemon that ends takes connections that it doesn't answer any more.
                again = partial(self._converse, requests, is_secret)
                bodies = self._patiently(again, ConnectionLost)
            finally:
                if not repeatable:
                    self._changed()
        try:
            return answers_in(bodies, result, self._access.address)
        except DaemonUnreachable:
            self.close()
            raise

    def _converse(self, requests: Sequence[bytes], is_secret: bool) -> Sequence[bytes]:
        try:
            connection = self._patiently(partial(self._connected, is_secret), NoDaemon)
            return connection.converse(requests)
        except BaseException:  # an answer may still come, and would be taken for the next one's
            self._hang_up()
            raise

    def _connected(self, is_secret: bool) -> Connection:
        if self._connection is None or self._connection.is_stale():
            self._hang_up()
            self._connection = Connection(self._access.address, self._access.timeout)
        if is_secret:
            self._connection.check_owner(self._access.daemon_uid)
        return self._connection

    def _patiently(self, act: Callable[[], T], passing: type[DaemonUnreachable]) -> T:
        """What `act` gives; while it fails in this way, it is tried again until `wait` is over."""
        deadline = time.monotonic() + self._access.wait
        pause = FIRST_PAUSE
        while True:
            try:
                return act()
            except passing:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
