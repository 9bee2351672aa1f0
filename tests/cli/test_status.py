"""`jarvis-secrets status`: one line about the daemon, the caller, and what lies between them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.errors import Reason
from jarvis_secretsd.values import Permission
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon

NO_SUCH_UID = 4_000_000_000
ALL: Mapping[str, tuple[str, ...]] = {
    permission: () if permission in ("audit", "admin") else ("*",) for permission in Permission
}


def _me(
    clients: tuple[str, ...] = ("backend",),
    client: str | None = "backend",
    permissions: Mapping[str, tuple[str, ...]] | None = None,
    deny: tuple[str, ...] = (),
    uid: int | None = 0,
) -> m.Identity:
    rights = permissions if permissions is not None else {"read": ("db/*",)}
    return m.Identity(uid, 0, 1, "unix", clients, client, rights, deny)


def _status(
    fake: FakeDaemon, tool: Tool, identity: m.Identity, *options: str, health: str = "ok"
) -> str:
    fake.answers.append(lambda _: m.HealthStatus(health, "1.2", 3600, 1234))
    fake.answers.append(lambda _: identity)
    (line,) = tool("status", *options).lines
    return line


def test_all_is_well_in_a_line(fake: FakeDaemon, tool: Tool) -> None:
    """How it is, how much it holds, who asks as whom, with which rights, and what is synced."""
    assert _status(fake, tool, _me()) == (
        "ok: 1,234 secrets; you are root (uid 0) as backend and may read db/*; "
        "no answer leaves before its audit entry is on the disk"
    )


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        (_me(permissions=ALL), "and may do everything;"),
        (
            _me(permissions={**ALL, "read": ("db/*",)}, deny=("d",)),
            "admin (`jarvis-secrets whoami` s",
        ),
        (_me(permissions={}), "and may nothing;"),
        (_me(permissions={"read": ("a",), "write": ("a",), "audit": ()}), "read, write a; audit;"),
        (_me(permissions={"read": ("*",)}, deny=("root/*",)), "read everything, but never touch r"),
        (
            _me(permissions={"read": ("long_name",) * 9}),
            "read (`jarvis-secrets whoami` says what);",
        ),
        (_me(uid=NO_SUCH_UID), "you are uid 4000000000 as backend"),
        (_me(uid=None), "you are a user whom the kernel doesn't name as backend"),
    ],
)
def test_rights_are_told_in_short(
    fake: FakeDaemon, tool: Tool, identity: m.Identity, told: str
) -> None:
    """What may be done is spelled out where it is short, else the line says where it stands."""
    line = _status(fake, tool, identity)
    assert told in line
    assert len(line) < 220


@pytest.mark.parametrize(
    ("clients", "options", "told"),
    [
        ((), (), "root (uid 0) as no client (the policy binds none to you);"),
        ((), ("--client", "x"), "as no client (you may not be x, nor another);"),
        (("a", "b"), (), "as no client (--client or JARVIS_CLIENT_ID can be a or b);"),
        (("a", "b"), ("--client", "x"), "as no client (you may not be x, but a or b);"),
        (("a",), ("--client", "a"), "(a needs its token; JARVIS_SECRETS_TOKEN_FILE names a file"),
    ],
)
def test_who_is_no_client_is_told_why(
    fake: FakeDaemon, tool: Tool, clients: tuple[str, ...], options: tuple[str, ...], told: str
) -> None:
    """Whoever can't be told apart, or claims what he may not be, reads what to say instead."""
    assert told in _status(fake, tool, _me(clients, None, {}), *options)


@pytest.mark.parametrize("reason", Reason)
def test_a_daemon_that_is_not_well_says_why(fake: FakeDaemon, tool: Tool, reason: Reason) -> None:
    """Every reason is explained, and the exit status is that of a daemon that can't now."""
    for command in ("status", "health"):
        fake.answers.append(lambda _: m.HealthStatus(reason, "1.2", 7, 2))
        outcome = tool(command)
        assert outcome.status == 6
        (line,) = outcome.lines
        assert line.startswith(f"{reason}: ")
        assert "nothing is given out" in line
        assert "2 secrets" in line


def test_a_log_that_is_synced_later_is_told(fake: FakeDaemon, tool: Tool) -> None:
    """That a secret may leave before its entry is on the disk is no secret."""
    fake.answers.append(lambda _: m.HealthStatus("ok", "1.2", 7, 2, "interval"))
    outcome = tool("status")
    assert outcome.status == 0
    assert "answers don't wait for the audit log" in outcome.lines[0]


def test_json_has_both_parts(fake: FakeDaemon, tool: Tool) -> None:
    """Scripts get health and identity as the daemon gives them."""
    told = json.loads(tool("status", "--json").out)
    assert told["health"]["status"] == "ok"
    assert told["identity"]["client"] == "admin"
