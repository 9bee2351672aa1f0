"""`audit log` and `denied`: what people see of what the daemon tells."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.moments import parse_since
from jarvis_secretsd.values import ClientId
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon
from tests.domain.auditing import Writer, event

NOW = datetime(2026, 11, 25, 9, 41, 7, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def entry(seq: int, **fields: object) -> m.AuditEntry:
    """An entry of a read by uid 0."""
    known = {"op": "get", "outcome": "allowed", "uid": 0, "client": "backend", "name": "db/main"}
    return m.AuditEntry(seq=seq, time=NOW, **{**known, **fields})  # type: ignore[arg-type]


def page(*entries: m.AuditEntry, before: int | None = None, **more: object) -> m.AuditPage:
    return m.AuditPage(entries, 9, before, **more)  # type: ignore[arg-type]


def asked(fake: FakeDaemon) -> list[m.AuditLog]:
    found = fake.operations(m.AuditLog)
    assert all(isinstance(one, m.AuditLog) for one in found)
    return found  # type: ignore[return-value]  # as was just seen


def test_an_entry_is_a_line_with_who_and_why(fake: FakeDaemon, tool: Tool) -> None:
    """Local time, client and user, operation, name, outcome, and the rule or the error."""
    failed = entry(3, outcome="failed", rule="clients.backend.allow[0]", note="not_found")
    started = m.AuditEntry(seq=1, time=NOW, op="start", note="version 1")
    strangers = entry(
        4, op="refused", client=None, name=None, uid=None, count=1234, transport="tcp"
    )
    fake.answers.append(lambda _: page(started, failed, strangers))
    outcome = tool("audit", "log")
    cells = [line.split("  ") for line in outcome.lines]
    shown = [[cell.strip() for cell in line if cell.strip()] for line in cells]
    assert shown == [
        ["TIME", "WHO", "OP", "NAME", "OUTCOME", "WHY"],
        ["2026-11-25 09:41:07", "the daemon", "start", "-", "recorded", "version 1"],
        [
            *["2026-11-25 09:41:07", "backend (root)", "get", "db/main", "failed"],
            "clients.backend.allow[0], not_found",
        ],
        ["2026-11-25 09:41:07", "- (unattested)", "refused", "-", "allowed", "1,234 times"],
    ]


def test_pages_are_asked_for_until_there_is_enough(fake: FakeDaemon, tool: Tool) -> None:
    """Towards the beginning, each where the last one ended, and printed the oldest first."""
    fake.answers += [
        lambda _: page(entry(8), entry(9), before=8),
        lambda _: page(before=5),
        lambda _: page(entry(4), before=4),
    ]
    outcome = tool("audit", "log", "--json", "--limit", "3")
    assert [json.loads(line)["seq"] for line in outcome.lines] == [4, 8, 9]
    assert [(one.before, one.limit) for one in asked(fake)] == [(None, 3), (8, 1), (5, 1)]
    assert "--limit N shows more" in outcome.err


def test_the_filters_reach_the_daemon(fake: FakeDaemon, tool: Tool) -> None:
    """`--client` means whose entries, and who asks is said before the command."""
    fake.answers.append(lambda _: page())
    outcome = tool(
        *("--client", "admin", "audit", "log", "--name", "db/*", "--client", "web"),
        *("--since", "2026-11-25T10:00+01:00"),
    )
    (request,) = fake.asked
    assert request.client == "admin"
    since = datetime(2026, 11, 25, 9, tzinfo=UTC)
    assert request.operation == m.AuditLog(None, None, 100, "db/*", ClientId("web"), since)
    assert "there is no such entry" in outcome.err


def test_control_characters_do_not_reach_the_terminal(fake: FakeDaemon, tool: Tool) -> None:
    """What a client called itself, or a note quotes, can't steer who reads the log."""
    wild = "\x1b]0;owned\x07\r\n\u202e"
    fake.answers.append(lambda _: page(entry(1, client=wild, note=wild)))
    shown = tool("audit", "log").out
    assert b"\x1b" not in shown and b"\r" not in shown and "\u202e".encode() not in shown
    assert len(shown.splitlines()) == 2
    remedy = m.RefusalListed(
        first=NOW, last=NOW, count=1, uid=0, transport="unix", client=wild, rule=wild, remedy=wild
    )
    fake.answers.append(lambda _: m.DenialListing((remedy,), NOW))
    assert b"\x1b" not in tool("denied").out


def test_what_is_not_shown_is_told(fake: FakeDaemon, tool: Tool) -> None:
    """Files that the daemon can't show, and lines that nobody can read."""
    fake.answers.append(lambda _: page(entry(1), unreadable=2, unread=("audit.jsonl.3.gz",)))
    told = tool("audit", "log").err
    assert "2 lines can't be read" in told
    assert "audit.jsonl.3.gz is not shown" in told
    assert "--file" in told


def test_files_are_read_without_a_daemon(fake: FakeDaemon, tool: Tool, tmp_path: Path) -> None:
    """Compressed too, by the same filters."""
    writer = Writer()
    writer.turn(event("db/a"), event("x"), event("db/b"))
    file = tmp_path / "audit.jsonl.1.gz"
    file.write_bytes(gzip.compress(b"".join(line + b"\n" for line in writer.segments[0])))
    outcome = tool("audit", "log", "--json", "--file", str(file), "--name", "db/*", "--limit", "1")
    assert [json.loads(line)["name"] for line in outcome.lines] == ["db/b"]
    assert fake.asked == []
    assert tool("audit", "log", "--file", "/no/such").status == 1
    assert tool("audit", "log", "--file", str(file), "--follow").status == 2


def test_the_latest_refusals_have_their_remedies_below_them(fake: FakeDaemon, tool: Tool) -> None:
    """Who, what, how often, and the line to write; then what to do with it."""
    refusal = m.RefusalListed(
        first=NOW,
        last=NOW + timedelta(minutes=1),
        count=3,
        uid=0,
        transport="unix",
        client="backend",
        op="get",
        name="smtp_password",
        rule="default-deny",
        remedy="under clients.backend add smtp_password to `allow`",
    )
    fake.answers.append(lambda _: m.DenialListing((refusal,), NOW))
    outcome = tool("denied")
    assert outcome.lines == [
        "2026-11-25 09:42:07  backend (root) over unix: get smtp_password (default-deny, 3 times)",
        "  under clients.backend add smtp_password to `allow`",
    ]
    assert "1 refusal since the daemon started, 2026-11-25 09:41:07" in outcome.err
    assert "SIGHUP" in outcome.err
    fake.answers.append(lambda _: m.DenialListing((), NOW))
    assert "no refusal since" in tool("denied").err


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("3 d", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T08:00+02:00", datetime(2026, 11, 24, 6, tzinfo=UTC)),
        ("2026-11-24 08:00", datetime(2026, 11, 24, 8, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_people_write_them(text: str, meant: datetime) -> None:
    """So long ago, a day, or a time of the clock on the wall."""
    assert parse_since(text, NOW) == meant


@pytest.mark.parametrize("text", ["yes", "2x", "-2h", "25.11.2026", "999999w", "2026-13-01"])
def test_what_is_no_time_says_what_would_be(tool: Tool, text: str) -> None:
    """With examples, and without asking the daemon."""
    outcome = tool("audit", "log", "--since", text)
    assert (outcome.status, outcome.out) == (2, b"")
    assert "2026-11-25" in outcome.err
