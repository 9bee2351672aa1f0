"""`jarvis-secrets versions, rollback, revoke`, and waiting for what is pending."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli import settling
from jarvis_secretsd.values import NEVER, Kid, Kind, SecretName, State
from tests.cli.conftest import Tool
from tests.cli.terminal import on_terminal
from tests.client.fake_daemon import NOW, FakeDaemon

NAME = SecretName("db")
OLD, NEW = Kid("1" * 16), Kid("2" * 16)

CURRENT, GRACE, PENDING = State.CURRENT, State.GRACE, State.PENDING
UNRESOLVED = State.UNRESOLVED


def listing(*states: tuple[Kid, State]) -> m.VersionListing:
    """The versions in these states, oldest first."""
    versions = tuple(
        m.VersionInfo(kid, number, state, NOW) for number, (kid, state) in enumerate(states, 1)
    )
    return m.VersionListing(NAME, versions, NOW)


def says(*answers: m.Reply) -> list[Callable[[m.Request], m.Reply]]:
    """These answers, one a question."""
    return [lambda _, answer=answer: answer for answer in answers]  # type: ignore[misc]


SETTLED = listing((OLD, GRACE), (NEW, CURRENT))
AT_WORK = listing((OLD, CURRENT), (NEW, PENDING))
DROPPED = listing((OLD, CURRENT))
DOUBTED = listing((OLD, CURRENT), (NEW, UNRESOLVED))

LISTED = m.Listing(
    (m.Listed(NAME, OLD, 1, Kind.PASSWORD, NOW, NEVER, is_expired=False, state=CURRENT),)
)
BEGUN = m.Rotated((), 0, (NAME,), {})
ROLLED_BACK = m.Stored(NAME, NEW, 2, NEVER, pending=True)


def test_versions_are_shown_newest_first(fake: FakeDaemon, tool: Tool) -> None:
    """Each has a line with its state, its end, and who read it last; what isn't known is `-`."""
    later = NOW + timedelta(days=14)
    old = m.VersionInfo(OLD, 1, GRACE, NOW, later, NOW, "backend")
    key = m.VersionInfo(Kid("3" * 16), 3, GRACE, NOW)
    new = m.VersionInfo(NEW, 2, CURRENT, NOW)
    fake.answers += says(m.VersionListing(NAME, (old, new, key), NOW)) * 2
    outcome = tool("versions", "db")
    assert [line.split() for line in outcome.lines] == [
        ["KID", "VERSION", "STATE", "CREATED", "UNTIL", "LAST", "READ", "BY"],
        [key.kid, "3", "grace", "2026-11-25T09:41:00Z", "never", "-", "-"],
        [NEW, "2", "current", "2026-11-25T09:41:00Z", "-", "-", "-"],
        [OLD, "1", "grace", "2026-11-25T09:41:00Z", "2026-12-09T09:41:00Z",
         "2026-11-25T09:41:00Z", "backend"],
    ]  # fmt: skip
    assert outcome.err == "jarvis-secrets: reads are known since 2026-11-25T09:41:00Z\n"
    shown = json.loads(tool("versions", "db", "--json").out)
    assert [each["kid"] for each in shown["versions"]] == [OLD, NEW, key.kid]
    assert shown["reads_since"] == "2026-11-25T09:41:00Z"


@pytest.mark.usefixtures("tool")
def test_versions_fit_a_narrow_window(fake: FakeDaemon) -> None:
    """There each version is a paragraph, and its kid can be copied whole."""
    fake.answers += says(SETTLED)
    _, screen = on_terminal("versions", "db", columns=60)
    shown = screen.decode().splitlines()
    assert any(NEW in line for line in shown)
    assert all(len(line) <= 60 + len("\033[1m\033[0m") for line in shown)


def test_who_has_to_decide_is_told_how(fake: FakeDaemon, tool: Tool) -> None:
    """Of two versions that may both be live both kids and the command are told, also by list."""
    fake.answers += says(DOUBTED)
    err = tool("versions", "db").err
    assert OLD in err
    assert NEW in err
    assert "`jarvis-secrets revoke db KID`" in err
    listed = m.Listed(NAME, OLD, 1, Kind.PASSWORD, NOW, NOW, is_expired=True, state=UNRESOLVED)
    fake.answers += says(m.Listing((listed,)))
    outcome = tool("list")
    assert outcome.lines[1].split()[-1] == "unresolved"
    assert outcome.err == "jarvis-secrets: db needs you; see `jarvis-secrets versions db`\n"


def test_a_rollback_names_what_is_current(fake: FakeDaemon, tool: Tool) -> None:
    """The version that is current again is told; --kid says which one it is to be."""
    fake.answers += says(m.Stored(NAME, OLD, 1, NEVER)) * 2
    assert tool("rollback", "db").lines == [f"rolled back db: version 1, kid {OLD}"]
    assert json.loads(tool("rollback", "db", "--kid", OLD, "--json").out)["kid"] == OLD
    assert fake.operations(m.Rollback) == [m.Rollback(NAME), m.Rollback(NAME, OLD)]


def test_a_revocation_names_both(fake: FakeDaemon, tool: Tool) -> None:
    """What ended and what is current are told; what is no kid is no question."""
    fake.answers += says(m.Revoked(NAME, OLD, NEW)) * 2
    assert tool("revoke", "db", OLD).lines == [f"revoked {OLD} of db; {NEW} is current"]
    assert json.loads(tool("revoke", "db", OLD, "--json").out)["current"] == NEW
    assert tool("revoke", "db", "1234").status == 2
    assert "KID: a kid is 16 lower-case hex digits" in tool("revoke", "db", "1234").err


def test_what_is_pending_is_not_waited_for_unasked(fake: FakeDaemon, tool: Tool) -> None:
    """Without --wait it is told where to look, and that is no failure."""
    for command, answer in (("rotate", BEGUN), ("rollback", ROLLED_BACK)):
        fake.answers += says(answer)
        outcome = tool(command, "db")
        assert (outcome.status, outcome.err) == (0, "")
        assert "db is pending: its hook is at work" in outcome.lines[0]
        assert "`jarvis-secrets versions db`" in outcome.lines[0]


@pytest.fixture
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "FIRST_PAUSE", 0.001)


@pytest.mark.usefixtures("_no_pause")
@pytest.mark.parametrize("seen", [(SETTLED,), (AT_WORK, AT_WORK, SETTLED)])
def test_a_confirmed_rotation_is_waited_for(
    fake: FakeDaemon, tool: Tool, seen: tuple[m.VersionListing, ...]
) -> None:
    """With --wait it ends once the new version is current, be that soon or late."""
    fake.answers += says(LISTED, BEGUN, *seen)
    assert tool("rotate", "db", "--wait") == (0, b"rotated db\n", "")
    fake.answers += says(LISTED, BEGUN, *seen)
    told = json.loads(tool("rotate", "db", "--wait", "--json").out)
    assert (told["rotated"], told["pending"], told["rotated_count"]) == (["db"], [], 1)
    fake.answers += says(LISTED, ROLLED_BACK, *seen)
    assert tool("rollback", "db", "--wait").lines == [f"rolled back db: version 2, kid {NEW}"]
    assert not fake.answers


@pytest.mark.usefixtures("_no_pause")
@pytest.mark.parametrize(
    ("seen", "code", "text"),
    [
        (DROPPED, "dropped", "version 1 is live as before"),
        (DOUBTED, "unresolved", "`jarvis-secrets versions db` says what to do"),
        (m.Failure("denied", "no"), "denied", "can't wait for it: no"),
    ],
)
def test_what_came_to_nothing_is_a_failure(
    fake: FakeDaemon, tool: Tool, seen: m.Reply, code: str, text: str
) -> None:
    """With --wait the status says that the new value isn't current, and the line which one is."""
    for command, answer in (("rotate", BEGUN), ("rollback", ROLLED_BACK)):
        fake.answers += says(LISTED, answer, AT_WORK, seen)
        outcome = tool(command, "db", "--wait")
        assert (outcome.status, outcome.out) == (1, b"")
        assert text in outcome.err
    fake.answers += says(LISTED, BEGUN, AT_WORK, seen)
    outcome = tool("rotate", "db", "--wait", "--json")
    assert outcome.status == 1
    assert json.loads(outcome.out)["failed"]["db"]["code"] == code


def test_nobody_waits_for_ever(fake: FakeDaemon, tool: Tool) -> None:
    """After --timeout what is still pending is told, and isn't done."""
    fake.answers += [*says(LISTED, BEGUN), *says(AT_WORK) * 20]
    outcome = tool("rotate", "db", "--wait", "--timeout", "1")
    assert (outcome.status, outcome.out) == (1, b"")
    assert outcome.err == (
        "jarvis-secrets: db is still pending; see `jarvis-secrets versions db`\n"
    )
    looks = len(fake.operations(m.Versions))
    assert 3 <= looks <= 6  # each is an entry in the audit log
    assert tool("rotate", "db", "--timeout", "1").status == 2
    assert tool("rotate", "db", "--wait", "--timeout", "-1").status == 2


def test_a_generated_value_is_made_as_it_is_said(fake: FakeDaemon, tool: Tool) -> None:
    """`put` says how a value is made, now and later, also beside one that is supplied."""
    made = ("--length", "20", "--alphabet", "0123456789")
    assert tool("put", "p", "--generate", "password", *made).status == 0
    assert tool("put", "q", "--kind", "password", *made, stdin=b"mine").status == 0
    assert fake.operations(m.Put) == [
        m.Put(SecretName("p"), kind=Kind.PASSWORD, length=20, alphabet="0123456789"),
        m.Put(SecretName("q"), "mine", kind=Kind.PASSWORD, length=20, alphabet="0123456789"),
    ]
