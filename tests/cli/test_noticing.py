"""What `run --watch` notices, from a daemon that comes and goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from threading import Event

import pytest

from jarvis_secretsd.cli import noticing
from jarvis_secretsd.cli.choosing import Wanted
from jarvis_secretsd.cli.noticing import Changed, News, Notices, counted_off
from jarvis_secretsd.cli.running import Given
from jarvis_secretsd.client import DaemonUnreachable
from jarvis_secretsd.values import Kid, SecretName, SecretValue

OLD, NEW = Kid("1" * 16), Kid("2" * 16)


def given(**kids: Kid) -> tuple[Given, ...]:
    """What a program has, a secret each; and a variable that is none."""
    secrets = (
        Given(Wanted(name.upper(), SecretName(name), name), SecretValue(b"x"), kid)
        for name, kid in kids.items()
    )
    return (*secrets, Given(Wanted("PLAIN", SecretValue(b"y"), "a.env:1"), SecretValue(b"y")))


class Daemon:
    """A client whose every watch tells the next of these rows, and then hangs or fails."""

    def __init__(self, *rows: Sequence[Mapping[str, str | None]] | Exception) -> None:
        self._rows = iter(rows)
        self.watched: list[Sequence[str] | None] = []

    def watch(self, names: Sequence[str] | None) -> Daemon:
        """Begin the next row."""
        self.watched.append(names)
        return self

    def __enter__(self) -> Iterator[Mapping[str, str | None]]:
        row = next(self._rows, None)
        if row is None:
            Event().wait()  # nothing changes any more
        if isinstance(row, Exception):
            raise row
        return iter(row or ())

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noticing, "FIRST_PAUSE", 0.001)


def noticed(notices: Notices, number: int) -> list[News]:
    """The first so many news, and a moment later there is no other."""
    notices.begin()
    news: list[News] = []
    deadline = time.monotonic() + 10
    while len(news) < number:
        assert time.monotonic() < deadline, news
        news += notices.take()
        time.sleep(0.001)
    time.sleep(0.05)
    return [*news, *notices.take()]


def test_only_what_the_program_has_is_news() -> None:
    """Other secrets, and a version that it has already, say nothing; the rest is one fetch."""
    daemon = Daemon([{"a": OLD, "b": OLD}, {"c": NEW}, {"a": NEW, "b": NEW}, {"b": NEW}])
    fetched = [given(a=NEW, b=NEW)]
    notices = Notices(daemon, given(a=OLD, b=OLD), fetched.pop)  # type: ignore[arg-type]
    assert noticed(notices, 1) == [Changed(("a", "b"), given(a=NEW, b=NEW))]
    assert daemon.watched[0] == ["a", "b"]


def test_what_changed_while_nobody_could_be_asked_is_news_then() -> None:
    """A fetch that fails is told once and tried again, with a watch that tells what is."""
    gone = DaemonUnreachable("nothing answers")
    row = [{"a": NEW}]
    daemon = Daemon(gone, row, row, gone, row)
    fetched = [given(a=NEW)]
    failures = [gone, gone]

    def renew() -> tuple[Given, ...]:
        if failures:
            raise failures.pop()
        return fetched.pop()

    news = noticed(Notices(daemon, given(a=OLD), renew), 2)  # type: ignore[arg-type]
    assert len(news) == 2
    assert "can't follow changes, but tries on: nothing answers" in str(news[0])
    assert news[1] == Changed(("a",), given(a=NEW))


def test_an_outage_of_another_day_is_told_anew() -> None:
    """The same words are only kept back while it is the same trouble."""
    gone = DaemonUnreachable("nothing answers")
    daemon = Daemon(gone, gone, [{"a": OLD}], gone)
    assert len(noticed(Notices(daemon, given(a=OLD), None), 2)) == 2  # type: ignore[arg-type]


def test_without_values_only_names_are_told() -> None:
    """For a signal nothing is fetched, so that nobody seems to use a version who doesn't."""
    daemon = Daemon([{"a": OLD}, {"a": NEW}, {"a": NEW}, {"a": OLD}])
    news = noticed(Notices(daemon, given(a=OLD), None), 2)  # type: ignore[arg-type]
    assert news == [Changed(("a",), ()), Changed(("a",), ())]


def test_what_is_deleted_is_no_reason_to_ask() -> None:
    """The program keeps it, and a person is told."""
    daemon = Daemon([{"a": OLD, "b": OLD}, {"a": None}, {"a": OLD}])
    news = noticed(Notices(daemon, given(a=OLD, b=OLD), None), 1)  # type: ignore[arg-type]
    assert news == ["a was deleted; the program keeps what it has"]


def test_more_than_a_watch_takes_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has more secrets than a watch may name hears of all."""
    monkeypatch.setattr(noticing, "MAX_WATCHED", 1)
    daemon = Daemon([{"a": OLD, "b": NEW, "c": NEW}])
    notices = Notices(daemon, given(a=OLD, b=OLD), None)  # type: ignore[arg-type]
    assert noticed(notices, 1) == [Changed(("b",), ())]
    assert daemon.watched[0] is None


def test_names_are_told_in_few_words() -> None:
    """One, two, or the first of many."""
    assert [counted_off(["a", "b", "c"][:number]) for number in (1, 2, 3)] == [
        "a",
        "a and b",
        "a and 2 more",
    ]
