"""A small backend that survives every rotation: its database password and its users' tokens.

    JARVIS_SECRETS_URL=http://127.0.0.1:8081 JARVIS_CLIENT_ID=backend \\
      python backend.py --port 8000 --database 'host=/run/postgresql user=app dbname=app'

`POST /login` gives a token, `GET /whoami` wants one and asks the database. Needs PyJWT and psycopg.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import psycopg

from jarvis_secretsd.client import SecretsClient

PASSWORD, AUDIENCE = "postgres_password", "backend"


class Database:
    """Connects with the password that is current; one that was cached may have been rotated."""

    def __init__(self, secrets: SecretsClient, conninfo: str) -> None:
        self._secrets = secrets
        self._conninfo = conninfo

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of its own for each request."""
        with self._connect() as connection:
            yield connection

    def _connect(self) -> psycopg.Connection[Any]:
        # The server may know a new password a moment before the daemon gives it out.
        for pause in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
            try:
                return psycopg.connect(self._conninfo, password=self._secrets.get(PASSWORD))
            except psycopg.OperationalError as error:
                if "password authentication failed" not in str(error):
                    raise
                time.sleep(pause)
                self._secrets.forget(PASSWORD)
        return psycopg.connect(self._conninfo, password=self._secrets.get(PASSWORD))


class Keys(jwt.PyJWKClient):
    """The daemon's public keys, asked on whatever way the secrets come."""

    def __init__(self, secrets: SecretsClient) -> None:
        # A key that is new is asked for at once; without the cooldown it could wait 30 seconds.
        super().__init__("http://unused", cooldown_duration=0)
        self._secrets = secrets

    def fetch_data(self) -> dict[str, Any]:
        """All keys that are good now."""
        return self._secrets.jwks()


class Tokens:
    """Tokens are signed by the daemon, and verified here by the keys that it publishes."""

    def __init__(self, secrets: SecretsClient) -> None:
        self._secrets = secrets
        self._keys = Keys(secrets)

    def issue(self, user: str) -> str:
        """A token for this user."""
        return self._secrets.sign_jwt({"sub": user, "aud": AUDIENCE}, ttl=600)

    def user_of(self, token: str) -> str:
        """Whose token it is. Raises jwt.PyJWTError."""
        key = self._keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(
            token, key, algorithms=["EdDSA"], audience=AUDIENCE, issuer="jarvis-secretsd"
        )
        return str(claims["sub"])


class Handler(BaseHTTPRequestHandler):
    """The two requests."""

    protocol_version = "HTTP/1.1"
    database: Database
    tokens: Tokens

    def do_POST(self) -> None:
        """`/login`: a token for whoever says their name."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200, {"token": self.tokens.issue(json.loads(body)["user"])})

    def do_GET(self) -> None:
        """`/whoami`: the token's user, as the database knows the time."""
        try:
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            user = self.tokens.user_of(token if scheme == "Bearer" else "")
        except jwt.PyJWTError as error:
            self._answer(401, {"error": str(error)})
            return
        with self.database.connected() as connection:
            row = connection.execute("select current_user, now()::text").fetchone()
        self._answer(200, {"user": user, "database": row})

    def log_message(self, format: str, *values: object) -> None:
        """Quiet."""

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A backend that survives rotations.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--database", required=True, help="conninfo, without the password")
    said = parser.parse_args()
    with SecretsClient() as secrets:
        Handler.database = Database(secrets, said.database)
        Handler.tokens = Tokens(secrets)
        with ThreadingHTTPServer((said.host, said.port), Handler) as server:
            print(f"serving on {said.host}:{server.server_port}", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main()
