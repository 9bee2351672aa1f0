"""How long a value may be used without asking again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import AccessDenied, SecretNotFound, SecretsClient
from jarvis_secretsd.client.cache import MAX_ENTRIES, OVERDUE_TTL, RECHECK, Cache
from jarvis_secretsd.values import NEVER, Kid, SecretName, SecretValue
from tests.client.fake_daemon import FakeDaemon

WALL = datetime(2026, 11, 25, tzinfo=UTC)
NAME = SecretName("p")


def _found(due: datetime = NEVER, name: SecretName = NAME) -> m.Found:
    return m.Found(name, SecretValue(b"x"), Kid("0" * 16), due, 1)


@given(
    ttl=st.floats(0, 1e6),
    due=st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    age=st.floats(0, 1e6),
)
def test_nothing_outlives_its_ttl_nor_its_due_time(ttl: float, due: timedelta, age: float) -> None:
    """A value is found while younger than ttl and than its due time (30 s once that is past)."""
    cache = Cache(ttl)
    cache.keep(_found(WALL + due), 1000.0, WALL, cache.generation)
    seconds = due.total_seconds()
    lifetime = min(ttl, seconds if seconds > 0 else OVERDUE_TTL)
    fresh = cache.find(NAME, 1000.0 + age) is not None
    assert fresh == (1000.0 + age < 1000.0 + lifetime)


def test_the_wall_clock_does_not_age_a_value() -> None:
    """Only the monotonic clock counts after the fetch: a wall clock that steps changes nothing."""
    cache = Cache(60)
    cache.keep(_found(WALL + timedelta(hours=1)), 0.0, WALL, cache.generation)
    assert cache.find(NAME, 59.9) is not None
    assert cache.find(NAME, 60.0) is None


def test_what_was_asked_before_a_forget_is_not_kept() -> None:
    """An answer that was on its way when the name was forgotten may be the old one."""
    cache = Cache(60)
    asked_in = cache.generation
    cache.forget(NAME)
    cache.keep(_found(), 0.0, WALL, asked_in)
    assert cache.find(NAME, 1.0) is None


def test_a_stale_value_has_an_end() -> None:
    """It is given until its bound, each time for a moment without asking, and never after."""
    cache = Cache(60, max_stale=10)
    cache.keep(_found(), 0.0, WALL, cache.generation)
    assert cache.find(NAME, 65.0) is None
    assert cache.find_stale(NAME, 65.0) == SecretValue(b"x")
    assert cache.find(NAME, 65.0 + RECHECK - 0.01) is not None
    assert cache.find(NAME, 65.0 + RECHECK) is None
    assert cache.find_stale(NAME, 69.9) is not None
    assert cache.find(NAME, 69.99) is not None
    assert cache.find(NAME, 70.0) is None
    assert cache.find_stale(NAME, 70.0) is None


def test_nothing_is_stale_by_default() -> None:
    """A cache that was told nothing of staleness has none."""
    cache = Cache(60)
    cache.keep(_found(), 0.0, WALL, cache.generation)
    assert cache.find_stale(NAME, 60.0) is None


def test_names_without_end_do_not_fill_memory() -> None:
    """However many names are asked for, a bounded number is kept."""
    cache = Cache(60)
    for number in range(3 * MAX_ENTRIES):
        cache.keep(_found(name=SecretName(f"n{number}")), 0.0, WALL, cache.generation)
    kept = sum(
        cache.find(SecretName(f"n{number}"), 1.0) is not None for number in range(3 * MAX_ENTRIES)
    )
    assert 0 < kept <= MAX_ENTRIES


def test_a_forgotten_name_is_asked_anew(fake: FakeDaemon, client: SecretsClient) -> None:
    """After forget, and after a put of this client's own, get gives what is stored now."""
    fake.hold(p="old")
    assert client.get("p") == "old"
    fake.hold(p="new")
    assert client.get("p") == "old"
    client.forget("p")
    assert client.get("p") == "new"
    client.put("p", "newer")
    assert client.get("p") == "newer"
    fake.hold(p="newest")
    client.forget()
    assert client.get("p") == "newest"


def test_a_version_by_its_kid_and_a_fetch_go_past_the_cache(
    fake: FakeDaemon, client: SecretsClient
) -> None:
    """Who asks for a version, or for the facts about it, is told what holds now."""
    fake.hold(p="old")
    client.get("p")
    fake.hold(p="new")
    assert client.get("p", kid="0" * 16) == "new"
    assert client.fetch("p").value.reveal_text() == "new"


def test_without_a_ttl_every_get_asks(fake: FakeDaemon, client: SecretsClient) -> None:
    """A ttl of 0 caches nothing."""
    fake.hold(p="x")
    uncached = SecretsClient(str(client._access.address), cache_ttl=0)
    with uncached:
        assert uncached.get("p") == uncached.get("p") == "x"
    assert len(fake.asked) == 2


def test_a_refusal_is_not_cached(fake: FakeDaemon, client: SecretsClient) -> None:
    """A secret that was missing or denied is asked for again the next time."""
    with pytest.raises(SecretNotFound):
        client.get("p")
    fake.hold(p="x")
    fake.unreadable.add("p")
    with pytest.raises(AccessDenied):
        client.get("p")
    fake.unreadable.clear()
    assert client.get("p") == "x"
