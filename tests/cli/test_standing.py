"""`jarvis-secrets whoami, can, health`."""

from __future__ import annotations

import json

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import ClientId, Permission
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon


def test_whoami_tells_user_client_and_rights(fake: FakeDaemon, tool: Tool) -> None:
    """Who the kernel says, who the policy says, and what that allows."""
    fake.answers.append(
        lambda _: m.Identity(4_000_000_000, 7, 1, "unix", ("admin",), "admin", {"read": ("*",)})
    )
    assert tool("whoami").lines == [
        "user: uid 4000000000, over unix",
        "client: admin",
        "may be: admin",
        "may read: *",
    ]
    fake.answers.append(
        lambda _: m.Identity(None, None, None, "tcp", (), None, {"audit": ()}, ("root_*",))
    )
    assert tool("whoami").lines == [
        "user: a user whom the kernel doesn't name, over tcp",
        "client: none (the policy binds none to you)",
        "may be: no client of the policy",
        "may audit",
        "never: root_*",
    ]
    assert json.loads(tool("whoami", "--json").out)["client"] == "admin"


def test_can_answers_with_the_rule_and_a_status(fake: FakeDaemon, tool: Tool) -> None:
    """Yes is 0, no is 4, and either names the line of the policy."""
    fake.unwritable.add("p")
    assert tool("can", "write", "q") == (0, b"yes: clients.admin.allow[0]\n", "")
    assert tool("can", "write", "p") == (4, b"no: default-deny\n", "")
    assert json.loads(tool("can", "write", "p", "--json").out) == {
        "allowed": False,
        "rule": "default-deny",
    }


def test_can_asks_for_another_client_and_user(fake: FakeDaemon, tool: Tool) -> None:
    """--for and --uid go to the daemon; a permission without a name needs none."""
    tool("can", "audit", "--for", "mcp", "--uid", "1001")
    assert fake.operations(m.Can) == [m.Can(ClientId("mcp"), Permission.AUDIT, None, 1001)]
    assert tool("can", "fly").status == 2
    fake.answers.append(lambda _: m.Failure("denied", "the policy says no"))
    assert (
        "takes the permission admin: the policy says no" in tool("can", "audit", "--for", "mcp").err
    )
    fake.answers.append(lambda _: m.Identity(1, 1, 1, "unix", ("a", "b"), None, {}))
    outcome = tool("can", "read", "p")
    assert outcome.status == 2
    assert "--client" in outcome.err


@pytest.mark.parametrize(("status", "expected"), [("ok", 0), ("storage_full", 6)])
def test_health_is_a_status(fake: FakeDaemon, tool: Tool, status: str, expected: int) -> None:
    """A daemon that isn't well ends the command with 6, for monitors."""
    fake.answers.append(lambda _: m.HealthStatus(status, "1.2", 3600, 1234, "interval"))
    outcome = tool("health")
    assert outcome.status == expected
    (line,) = outcome.lines
    assert line.startswith(f"{status}: ")
    assert line.endswith("1,234 secrets; version 1.2, up 1 hour")
    assert "synced by interval" in outcome.err
