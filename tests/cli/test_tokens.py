"""`jarvis-secrets token`: made once, listed without itself, ended at once."""

from __future__ import annotations

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import ClientId
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon


def test_a_new_token_goes_to_stdout_alone(fake: FakeDaemon, tool: Tool) -> None:
    """A pipe gets the token and nothing else; what it is for is told beside it."""
    outcome = tool("token", "create", "mcp", "--days", "30", "--uid", "7", "--uid", "8")
    assert outcome.out == b"tok-tok\n"
    assert outcome.err == (
        "jarvis-secrets: this is token t1 of mcp, good until 2026-11-25T09:41:00Z; "
        "it isn't shown again\n"
    )
    assert fake.operations(m.TokenCreate) == [m.TokenCreate(ClientId("mcp"), 30 * 86_400, (7, 8))]


def test_tokens_are_listed_and_ended_by_their_ids(fake: FakeDaemon, tool: Tool) -> None:
    """The list shows no token, and its id is what revoke takes."""
    assert tool("token", "list").lines[1].split() == [
        "t1", "mcp", "2026-11-25", "2026-11-25", "7",
    ]  # fmt: skip
    assert tool("token", "revoke", "t1").lines == [
        "revoked t1; whoever uses it is refused from now on"
    ]
    assert fake.operations(m.TokenRevoke) == [m.TokenRevoke("t1")]


def test_no_token_and_no_such_token_are_told(fake: FakeDaemon, tool: Tool) -> None:
    """An empty list says what makes a token, an unknown id where the ids stand."""
    fake.answers.append(lambda _: m.TokenListing(()))
    outcome = tool("token", "list")
    assert (outcome.status, outcome.out) == (0, b"")
    assert "`jarvis-secrets token create CLIENT`" in outcome.err
    fake.answers.append(lambda _: m.Failure("not_found", "no token with this id"))
    outcome = tool("token", "revoke", "t9")
    assert outcome.status == 3
    assert "`jarvis-secrets token list`" in outcome.err
