"""A real PostgreSQL from Debian's packages, on a Unix socket in a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.users import as_user

SERVER = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda at: at.parent.name)
"""Where Debian puts the programs that no PATH has."""

NOBODY_SPECIAL = 1000
"""Who runs the server where the tests run as root, which it refuses."""

HBA = "local all boss,clerk peer map=hands\nlocal all all scram-sha-256\n"
"""Who runs the tests may be boss or clerk without a password, everybody else needs one."""

needs_server = pytest.mark.skipif(SERVER is None, reason="needs PostgreSQL's server")


class Postgres:
    """A server on a Unix socket in a directory of its own, which logs every statement.

    `superuser` gets the password that `password_file` holds, as initdb reads it.
    """

    def __init__(self, superuser: str = "boss", password_file: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="jarvis-pg-"))
        self.log = self.directory / "log"
        self._data = self.directory / "data"
        self._uid = os.geteuid() or NOBODY_SPECIAL
        os.chown(self.directory, self._uid, self._uid)
        password = () if password_file is None else (f"--pwfile={password_file}",)
        self._run("initdb", "-A", "trust", "-U", superuser, *password, "--no-sync", "-E", "UTF8")
        (self._data / "pg_hba.conf").write_text(HBA)
        me = pwd.getpwuid(os.geteuid()).pw_name
        (self._data / "pg_ident.conf").write_text(f"hands {me} boss\nhands {me} clerk\n")

    def start(self) -> None:
        """Start it; it takes connections when this returns."""
        options = (
            f"-c listen_addresses= -c unix_socket_directories={self.directory} -c fsync=off"
            " -c log_statement=all -c log_min_messages=debug1"
        )
        self._run("pg_ctl", "start", "-w", "-o", options, "-l", str(self.log))

    def stop(self) -> None:
        """Stop it, whoever is connected."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def remove(self) -> None:
        """Nothing stays of it."""
        shutil.rmtree(self.directory)

    def boss(self, statement: str) -> None:
        """Run this as the superuser."""
        with psycopg.connect(host=str(self.directory), dbname="postgres", user="boss") as boss:
            boss.execute(statement.encode())

    def takes(self, password: str | None, role: str = "app") -> bool:
        """Whether psql gets in with a URL that has this password."""
        login = quote(role) if password is None else f"{quote(role)}:{quote(password, safe='')}"
        url = f"postgresql://{login}@/postgres?host={quote(str(self.directory), safe='')}"
        command = ["psql", "-wXAtc", "select current_user", url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout == f"{role}\n"

    def _run(self, program: str, *arguments: str) -> None:
        assert SERVER is not None
        command = [str(SERVER / program), "-D", str(self._data), *arguments]
        subprocess.run(
            command,
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            check=True,
            **as_user(self._uid),
        )


@contextmanager
def running(superuser: str = "boss", password_file: Path | None = None) -> Iterator[Postgres]:
    """A server that takes connections, and of which nothing stays."""
    made = Postgres(superuser, password_file)
    try:
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        made.remove()
