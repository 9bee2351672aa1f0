"""The log tells no secret, and what it tells stays on its line."""

from __future__ import annotations

import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from jarvis_secretsd.daemon.config import Level, LoggingConfig
from jarvis_secretsd.daemon.logs import MAX_TEXT, configure_logs, escape, safe
from jarvis_secretsd.errors import NotFound
from jarvis_secretsd.messages import Put
from jarvis_secretsd.values import BearerToken, Kid, SecretName, SecretValue

CANARY = "correct-horse-battery"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class Holder(Struct):
    secret: str


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def logged(
    event: str,
    *,
    json_lines: bool = False,
    stream: io.StringIO | None = None,
    environ: dict[str, str] | None = None,
    **fields: object,
) -> str:
    stream = stream or io.StringIO()
    configure_logs(LoggingConfig(json=json_lines), stream, environ or {})
    structlog.get_logger().warning(event, **fields)
    return stream.getvalue()


SECRETS: list[object] = [
    SecretValue.from_text(CANARY),
    BearerToken(CANARY),
    CANARY.encode(),
    bytearray(CANARY.encode()),
    memoryview(CANARY.encode()),
    (CANARY.encode(), [SecretValue.from_text(CANARY)]),
    {"deep": {"er": BearerToken(CANARY)}},
    {CANARY.encode(): 1},
    Put(name=SecretName("a"), value=CANARY),
    Holder(CANARY),
    ValueError(CANARY),
    KeyError(CANARY),
    UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
]


@pytest.mark.parametrize("json_lines", [False, True])
@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: type(secret).__name__)
def test_no_secret_is_told(secret: object, json_lines: bool) -> None:
    """Values, tokens, bytes and what holds them are stars or a class's name."""
    line = logged("x", json_lines=json_lines, thing=secret)
    assert CANARY not in line
    assert "thing" in line


def test_what_is_plainly_no_secret_is_told() -> None:
    """Names, numbers, paths and times are what a log is for."""
    line = logged(
        "denied",
        json_lines=True,
        name=SecretName("a/b"),
        kid=Kid("0123456789abcdef"),
        uid=1001,
        ok=True,
        none=None,
        secs=0.5,
        path=Path("/run/x"),
        at=datetime(2026, 1, 2, tzinfo=UTC),
        names=(SecretName("c"),),
    )
    told = json.loads(line)
    del told["timestamp"]
    assert told == {
        "event": "denied",
        "level": "warning",
        "name": "a/b",
        "kid": "0123456789abcdef",
        "uid": 1001,
        "ok": True,
        "none": None,
        "secs": 0.5,
        "path": "/run/x",
        "at": "2026-01-02T00:00:00+00:00",
        "names": ["c"],
    }


@pytest.mark.parametrize("json_lines", [False, True])
def test_an_exception_is_its_class_and_its_place(json_lines: bool) -> None:
    """No message and no local of a foreign error is told, and no traceback is printed."""
    stream = io.StringIO()
    configure_logs(LoggingConfig(json=json_lines), stream, {})
    local = CANARY
    try:
        int(local)
    except ValueError as error:
        structlog.get_logger().exception("first")
        structlog.get_logger().error("second", exc_info=error)
        structlog.get_logger().error("third", exc_info=(type(error), error, None), stack_info=True)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert all(re.search(r"ValueError at tests\.daemon\.test_logs:\d+", line) for line in lines)
    assert CANARY not in stream.getvalue()


def test_our_own_errors_keep_their_message() -> None:
    """What we wrote ourselves quotes no value, and says what to do."""
    assert "NotFound: no secret of this name" in logged(
        "x", error=NotFound("no secret of this name")
    )


ANY_CHARACTER = st.characters() | st.characters(categories=["Cs"])
ANY_TEXT = st.text(ANY_CHARACTER, max_size=30)


@given(ANY_TEXT, ANY_TEXT, st.booleans())
def test_an_event_is_a_line(event: str, field: str, json_lines: bool) -> None:
    """No character of any field ends the line, starts another, or moves a terminal's cursor."""
    stream = io.StringIO()
    configure_logs(LoggingConfig(json=json_lines), stream, {})
    structlog.get_logger().warning(event, field=field, exception=field, stack=field)
    line, end = stream.getvalue()[:-1], stream.getvalue()[-1]
    assert end == "\n"
    assert not {unicodedata.category(each) for each in line} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(each) for each in line} & {"LRO", "RLO", "LRI", "RLI"}


@given(ANY_TEXT)
def test_json_gives_back_what_was_told(text: str) -> None:
    """A machine reads the text that was logged, escapes undone."""
    assert json.loads(logged("x", json_lines=True, text=text))["text"] == text


@given(st.text())
def test_escaped_text_stays_escaped(text: str) -> None:
    """Escaping leaves nothing to escape."""
    assert escape(escape(text)) == escape(text)


NESTED = st.recursive(
    st.none() | st.text() | st.binary() | st.binary().map(SecretValue),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.binary(), inner),
)


def leaves(value: object) -> Iterator[object]:
    match value:
        case list():
            for each in value:
                yield from leaves(each)
        case dict():
            yield from leaves([*value.keys(), *value.values()])
        case _:
            yield value


@given(NESTED)
def test_nothing_but_plain_values_is_left(value: object) -> None:
    """However deep it was hidden, what may be logged is text or a number."""
    assert all(each is None or type(each) is str for each in leaves(safe(value)))


def test_a_long_field_is_cut() -> None:
    """A peer with long names fills neither line nor disk."""
    line = logged("x", json_lines=True, name="n" * 100_000, map={"k" * 100_000: 1})
    assert len(line) < 3 * MAX_TEXT


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_only_a_terminal_gets_colours(
    stream: io.StringIO, environ: dict[str, str], coloured: bool
) -> None:
    """A file, a pipe, a dumb terminal and NO_COLOR (https://no-color.org) get plain text."""
    assert ("\x1b[" in logged("x", stream=stream, environ=environ)) is coloured


LEVELS: list[tuple[Level, str]] = [
    ("trace", "debug info warning error"),
    ("debug", "debug info warning error"),
    ("info", "info warning error"),
    ("warn", "warning error"),
    ("error", "error"),
    ("off", ""),
]


def test_journald_gets_the_priority_and_no_second_time(tmp_path: Path) -> None:
    """A line to the journal begins with its level for syslog; to any other file with the time."""
    with open(tmp_path / "log", "w+") as stream:
        found = os.fstat(stream.fileno())
        for journal in (f"{found.st_dev}:{found.st_ino}", "1:2"):
            configure_logs(LoggingConfig(), stream, {"JOURNAL_STREAM": journal})
            structlog.get_logger().warning("disk low")
        stream.seek(0)
        to_the_journal, to_a_file = stream.read().splitlines()
    assert to_the_journal.startswith("<4>[warning")
    assert re.match(r"\d{4}-\d\d-\d\dT", to_a_file)


@pytest.mark.parametrize(("level", "told"), LEVELS)
def test_the_level_is_the_least_that_is_told(level: Level, told: str) -> None:
    """Every level of the configuration has its effect."""
    stream = io.StringIO()
    configure_logs(LoggingConfig(level=level, json=True), stream, {})
    for method in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), method)("x")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == told.split()


def test_a_log_that_cannot_be_written_does_not_stop_the_service() -> None:
    """A full disk takes the line, and nothing else."""
    logged("x", stream=FullDisk())
