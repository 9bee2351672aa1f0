"""The password of a PostgreSQL role: giving it a new one, and telling which one is live.

The server is sent a SCRAM-SHA-256 verifier (RFC 5802, RFC 7677), which libpq makes as psql's
`\\password` does. So no log of the server, whatever it logs, can hold the password.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from zlib import crc32

import psycopg
from msgspec import Struct
from psycopg import Connection, sql

from jarvis_secretsd.cli.hooks.asking import Failed, Status
from jarvis_secretsd.daemon.hookprotocol import HookAnswer, HookInput, Reason

Live = Literal["new", "previous"]

DEFAULTS: Mapping[str, str] = {
    "dbname": "postgres",
    "connect_timeout": "5",
    "application_name": "jarvis-hook-postgres",
}
"""What the connection string may leave out. All of us must use one database: there is the lock."""

STATEMENT_SECS = 10
"""What hangs on the server has ended before a hook has had its time, and is asked to verify."""

_UNANSWERED = ("57P", "08")
"""SQLSTATE of a server that goes down, or a connection that breaks: it may have committed."""

_OTHER = Reason.REJECTED
_REASONS = (("28", Reason.DENIED), ("42501", Reason.DENIED), ("42704", Reason.MISCONFIGURED))
"""By the beginning of the SQLSTATE: no authorization, no privilege, no such role."""


class Target(Struct, frozen=True):
    """The role whose password it is, where, and as whom it is changed (None: as the role itself).

    `where` is a connection string of libpq without a password.
    """

    role: str
    where: str = ""
    admin: str | None = None

    @contextmanager
    def session(self, user: str, password: str | None) -> Iterator[Connection]:
        """A connection as this user, in which nothing hangs. Raises psycopg.Error."""
        given: dict[str, Any] = {**DEFAULTS, **_settings(self.where), "user": user}
        if password is not None:
            given["password"] = password
        with psycopg.connect(**given) as connection:
            connection.execute(f"SET statement_timeout = '{STATEMENT_SECS}s'")
            yield connection

    def wait_for_turn(self, connection: Connection) -> None:
        """Keep other hooks off this role to the end of the transaction.

        The server may still be at work for one that was killed: then this waits until it is done.
        """
        key = crc32(f"jarvis-hook-postgres {self.role}".encode())
        connection.execute("SELECT pg_advisory_xact_lock(%s::bigint)", (key,))


def rotate(asked: HookInput, target: Target) -> HookAnswer:
    """Give the role the new password. Raises Failed."""
    new = _text(asked.value, asked.encoding)
    if not new:
        raise Failed(Reason.REJECTED, "a password is text, not empty and without NUL")
    previous = _text(asked.previous_value, asked.previous_encoding)
    user, password = (target.role, previous) if target.admin is None else (target.admin, None)
    sent = False
    try:
        with target.session(user, password) as connection:
            target.wait_for_turn(connection)
            statement = _statement(connection, target.role, new)
            sent = True
            connection.execute(statement)
            connection.commit()
    except psycopg.Error as error:
        unanswered = error.sqlstate is None or error.sqlstate.startswith(_UNANSWERED)
        status = Status.UNKNOWN if sent and unanswered else Status.UNCHANGED
        raise Failed(_reason(error), str(error), status) from None
    return HookAnswer()


def verify(asked: HookInput, target: Target) -> HookAnswer:
    """Which password the server takes. Raises Failed where it takes neither, or asks for none."""
    if _live(asked, target) == "previous":  # it has waited for its turn, so nothing is under way
        return HookAnswer(live=_live(asked, target))
    return HookAnswer(live="new")


def _live(asked: HookInput, target: Target) -> Live:
    values: tuple[tuple[Live, str | None], ...] = (
        ("new", _text(asked.value, asked.encoding)),
        ("previous", _text(asked.previous_value, asked.previous_encoding)),
    )
    reason = Reason.MISCONFIGURED
    for live, password in values:
        try:
            if password is not None and _takes(target, password):
                return live
        except psycopg.Error as error:
            reason = _reason(error)
    raise Failed(reason, "the server takes neither password", Status.UNKNOWN)


def _takes(target: Target, password: str) -> bool:
    with target.session(target.role, password) as connection:
        target.wait_for_turn(connection)
        return connection.pgconn.used_password  # else it lets everybody in, and says nothing


def _text(value: str, encoding: str | None) -> str | None:
    """The value as a password; None if it can't be one."""
    return None if encoding is not None or "\0" in value else value


def _statement(connection: Connection, role: str, password: str) -> sql.Composed:
    made = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return sql.SQL("ALTER ROLE {} PASSWORD {}").format(
        sql.Identifier(role), sql.Literal(made.decode())
    )


def _reason(error: psycopg.Error) -> Reason:
    if error.sqlstate is None:  # what libpq says of a connection that came to nothing is only text
        asked = error.pgconn is not None and (
            error.pgconn.used_password or error.pgconn.needs_password
        )
        return Reason.DENIED if asked else Reason.UNREACHABLE
    return next((why for state, why in _REASONS if error.sqlstate.startswith(state)), _OTHER)


def _settings(where: str) -> Mapping[str, Any]:
    try:
        said = psycopg.conninfo.conninfo_to_dict(where)
    except psycopg.ProgrammingError:
        raise Failed(Reason.MISCONFIGURED, "--conninfo isn't what libpq takes") from None
    if "password" in said:
        text = "--conninfo has a password, which every user of this host can read; leave it out"
        raise Failed(Reason.MISCONFIGURED, text)
    return said
