"""`jarvis-secrets list, rotate, delete, restore`."""

from __future__ import annotations

import json

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import Kid, Kind, SecretName, SecretValue, State
from tests.cli.conftest import Tool
from tests.client.fake_daemon import NOW, FakeDaemon


def test_a_list_shows_all_names_and_no_value(fake: FakeDaemon, tool: Tool) -> None:
    """Every page's names are there with what is known of them, under a heading."""
    fake.hold(a="v4lue", b="v4lue", long_name="v4lue")
    outcome = tool("list")
    assert [line.split()[0] for line in outcome.lines] == ["NAME", "a", "b", "long_name"]
    assert outcome.lines[1].split() == [
        "a", "static", "1", "2026-11-25", "never", "current",
    ]  # fmt: skip
    assert b"v4lue" not in outcome.out
    listed = json.loads(tool("list", "--json").out)["secrets"]
    assert [entry["name"] for entry in listed] == ["a", "b", "long_name"]


def test_an_empty_list_says_so_beside_the_output(fake: FakeDaemon, tool: Tool) -> None:
    """Nothing to read is no failure, and no line that a script would take for a name."""
    outcome = tool("list")
    assert (outcome.status, outcome.out) == (0, b"")
    assert "no secret that you may read" in outcome.err
    assert json.loads(tool("list", "--json").out) == {"secrets": []}


def test_patterns_choose_what_is_listed(fake: FakeDaemon, tool: Tool) -> None:
    """`*` is any run of characters, as in the policy; a pattern that finds nothing is told."""
    fake.hold(**{"db/main": "x", "db/eu/main": "x", "api_key": "x"})
    listed = [line.split()[0] for line in tool("list", "db/*", "api_key").lines]
    assert listed == ["NAME", "api_key", "db/eu/main", "db/main"]
    assert [s["name"] for s in json.loads(tool("list", "*main", "--json").out)["secrets"]] == [
        "db/eu/main",
        "db/main",
    ]
    outcome = tool("list", "dv/*")
    assert (outcome.status, outcome.out) == (3, b"")
    assert "no secret that you may read matches 'dv/*'" in outcome.err


def test_what_is_past_its_day_is_told(fake: FakeDaemon, tool: Tool) -> None:
    """A secret that is due for rotation stands out of the list."""
    due = m.Listed(
        SecretName("a"), Kid("0" * 16), 1, Kind.PASSWORD, NOW, NOW, is_expired=True,
        state=State.CURRENT,
    )  # fmt: skip
    fake.answers.append(lambda _: m.Listing((due,)))
    assert tool("list").lines[1].split()[-2:] == ["2026-11-25", "overdue"]


def test_rotate_names_what_it_rotated(fake: FakeDaemon, tool: Tool) -> None:
    """Each name that has a new value is a line; how to make it goes to the daemon."""
    fake.hold(a="1", b="2")
    assert tool("rotate", "a", "b").lines == ["rotated a", "rotated b"]
    tool("rotate", "a", "--generate", "password", "--length", "40")
    assert fake.operations(m.Rotate)[-1] == m.Rotate(
        (SecretName("a"),), m.Generate(Kind.PASSWORD, 40)
    )
    assert tool("rotate").lines == ["nothing is due"]
    assert tool("rotate", "a", "--length", "40").status == 2


def test_rotate_fails_where_one_name_failed(fake: FakeDaemon, tool: Tool) -> None:
    """What was rotated and what was not are both told, and the status says that not all was."""
    name = SecretName("a")
    failed = {"b": m.FailureInfo("invalid_request", "of kind static")}
    fake.answers.append(lambda _: m.Rotated((name,), 1, (), failed))
    outcome = tool("rotate", "a", "b")
    assert outcome == (1, b"rotated a\n", "jarvis-secrets: b: of kind static\n")


def test_what_is_deleted_can_come_back(fake: FakeDaemon, tool: Tool) -> None:
    """Delete says until when it can be undone, restore undoes it."""
    fake.hold(a="1")
    assert tool("delete", "a").lines == [
        "deleted a; until 2026-12-02T09:41:00Z `jarvis-secrets restore a` brings it back"
    ]
    assert "a" not in fake.secrets
    assert tool("delete", "a").status == 3
    assert tool("restore", "a").lines == ["restored a: version 2, kid 0000000000000002"]
    assert fake.secrets["a"] == SecretValue(b"restored")
