"""The counters: exact, bounded, and in Prometheus' format."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from jarvis_secretsd import __version__
from jarvis_secretsd.daemon.metrics import (
    COMMIT_BUCKETS,
    DENIALS,
    OPERATIONS,
    OUTCOMES,
    STATUSES,
    Disk,
    Metrics,
    Now,
    PolicyReload,
)
from jarvis_secretsd.daemon.metricspage import render
from jarvis_secretsd.domain.peer import Transport
from jarvis_secretsd.domain.refusals import Refusal
from jarvis_secretsd.errors import Reason

NOW = Now(
    status="ok",
    secrets=3,
    due=2,
    overdue=1,
    connections={Transport.UNIX: 2},
    refused={Refusal.STRANGER: 3, Refusal.MALFORMED: 4},
    turned_away=5,
    clients=("admin", "backend"),
    audit_bytes=9_000,
    disks={"vault": Disk(free=5_000, size=80_000)},
    started_at=1_795_000_000.5,
    backup_at=1_794_000_000.0,
)


def samples(metrics: Metrics, now: Now = NOW) -> Iterator[Sample]:
    for family in text_string_to_metric_families(render(metrics, now).decode()):
        yield from family.samples


def value(metrics: Metrics, name: str, now: Now = NOW, **labels: str) -> float | None:
    wanted = (name if name.startswith("process_") else f"jarvis_secretsd_{name}", labels)
    return next((each.value for each in samples(metrics, now) if each[:2] == wanted), None)


def test_requests_are_counted_by_what_came_of_them() -> None:
    """Operation, outcome and transport are told apart."""
    metrics = Metrics()
    for outcome in ("ok", "ok", "denied"):
        metrics.request("get", outcome, Transport.UNIX)
    metrics.request("get", "ok", Transport.TCP)
    metrics.request("rotate", "ok", Transport.INTERNAL)
    assert value(metrics, "requests_total", op="get", outcome="ok", transport="unix") == 2
    assert value(metrics, "requests_total", op="get", outcome="denied", transport="unix") == 1
    assert value(metrics, "requests_total", op="get", outcome="ok", transport="tcp") == 1
    assert value(metrics, "requests_total", op="rotate", outcome="ok", transport="internal") == 1


def test_the_fixed_sets_know_the_words_of_the_wire() -> None:
    """Every operation and every error code has a line of its own."""
    assert {"get", "put", "list", "health", "token_create", "metrics"} <= OPERATIONS
    assert {"ok", "denied", "not_found", "unavailable", "internal", "rate_limited"} <= OUTCOMES


@given(st.lists(st.tuples(st.text(), st.text(), st.sampled_from(Transport)), max_size=50))
def test_no_peer_can_make_the_page_grow(requests: list[tuple[str, str, Transport]]) -> None:
    """Words of no fixed set are `other`, and every request is still counted."""
    metrics = Metrics()
    for request in requests:
        metrics.request(*request)
    found = [each for each in samples(metrics) if each.name == "jarvis_secretsd_requests_total"]
    assert sum(each.value for each in found) == len(requests)
    assert {each.labels["op"] for each in found} <= OPERATIONS | {"other"}
    assert {each.labels["outcome"] for each in found} <= OUTCOMES | {"other"}


@given(st.lists(st.floats(0, 5), max_size=30))
def test_commits_fall_into_the_bucket_of_their_time(times: list[float]) -> None:
    """A bucket counts the commits that took at most its bound."""
    metrics = Metrics()
    for seconds in times:
        metrics.commit(seconds)
    for bound in COMMIT_BUCKETS:
        expected = sum(seconds <= bound for seconds in times)
        assert value(metrics, "commit_seconds_bucket", le=str(bound)) == expected
    assert value(metrics, "commit_seconds_bucket", le="+Inf") == len(times)
    assert value(metrics, "commit_seconds_count") == len(times)
    assert value(metrics, "commit_seconds_sum") == pytest.approx(sum(times))
    assert value(metrics, "commits_total") == len(times)


def test_everything_else_is_counted_by_its_name() -> None:
    """Each counter shows in its own line and in no other."""
    metrics = Metrics()
    metrics.audit_entries += 5
    metrics.reload(PolicyReload.REFUSED)
    assert value(metrics, "audit_entries_total") == 5
    assert value(metrics, "refusals_total", reason="malformed") == 4
    assert value(metrics, "refusals_total", reason="stranger") == 3
    assert value(metrics, "refusals_total", reason="rate_limited") == 0
    assert value(metrics, "turned_away_total") == 5
    assert value(metrics, "policy_reloads_total", outcome="refused") == 1
    assert value(metrics, "policy_reloads_total", outcome="taken") == 0


def test_denials_are_counted_by_the_client_that_was_claimed() -> None:
    """Every client of the policy has a line from the start, so that its first denial is a rise."""
    metrics = Metrics()
    assert value(metrics, "denials_total", client="backend") == 0
    for client in ("backend", "backend", "admin"):
        metrics.denial(client, NOW.clients)
    assert value(metrics, "denials_total", client="backend") == 2
    assert value(metrics, "denials_total", client="admin") == 1
    assert {"denied", "bad_token", "rate_limited"} == DENIALS


@given(st.lists(st.none() | st.text() | st.sampled_from(["admin", "backend"]), max_size=50))
def test_made_up_clients_share_a_line(claims: list[str | None]) -> None:
    """Whatever peers claim to be, the page has one line more than the policy has clients."""
    metrics = Metrics()
    for claim in claims:
        metrics.denial(claim, NOW.clients)
    found = [each for each in samples(metrics) if each.name == "jarvis_secretsd_denials_total"]
    assert sorted(each.labels["client"] for each in found) == ["admin", "backend", "other"]
    assert sum(each.value for each in found) == len(claims)


def test_what_was_denied_to_a_client_that_is_gone_stays_counted() -> None:
    """A reload that drops a client doesn't make a counter run back."""
    metrics = Metrics()
    metrics.denial("backend", NOW.clients)
    now = msgspec.structs.replace(NOW, clients=("admin",))
    assert value(metrics, "denials_total", now, client="backend") == 1


def test_a_canary_is_counted_by_who_got_it_and_dated() -> None:
    """Both lines are there before the first, and the moment is the last one's."""
    metrics = Metrics()
    assert value(metrics, "canary_reads_total", outcome="allowed") == 0
    assert value(metrics, "canary_read_timestamp_seconds") == 0
    metrics.canary_read(1_795_000_000.0, allowed=False)
    metrics.canary_read(1_795_000_009.5, allowed=True)
    assert value(metrics, "canary_reads_total", outcome="allowed") == 1
    assert value(metrics, "canary_reads_total", outcome="refused") == 1
    assert value(metrics, "canary_read_timestamp_seconds") == 1_795_000_009.5


@pytest.mark.parametrize("status", STATUSES)
def test_one_status_holds_at_a_time(status: str) -> None:
    """Each that health knows has a line, so that a rule can name what it waits for."""
    now = msgspec.structs.replace(NOW, status=status)
    found = [each for each in samples(Metrics(), now) if each.name == "jarvis_secretsd_status"]
    assert {each.labels["status"] for each in found if each.value} == {status}
    assert {each.labels["status"] for each in found} == {"ok", *Reason}


@pytest.mark.parametrize(("status", "up"), [("ok", 1), ("storage_full", 0), ("locked", 0)])
def test_the_state_of_the_moment_is_shown(status: str, up: int) -> None:
    """What is read off is what was given, and `up` is health's yes or no."""
    now = msgspec.structs.replace(NOW, status=status)
    metrics = Metrics()
    assert value(metrics, "up", now) == up
    assert value(metrics, "secrets", now) == 3
    assert value(metrics, "connections", now, transport="unix") == 2
    assert value(metrics, "connections", now, transport="tcp") == 0
    assert value(metrics, "overdue", now) == 1
    assert value(metrics, "audit_bytes_total", now) == 9_000
    assert value(metrics, "disk_free_bytes", now, of="vault") == 5_000
    assert value(metrics, "disk_size_bytes", now, of="vault") == 80_000
    assert value(metrics, "disk_free_bytes", now, of="audit") is None
    assert value(metrics, "backup_timestamp_seconds", now) == 1_794_000_000
    assert value(metrics, "process_start_time_seconds", now) == 1_795_000_000.5
    assert value(metrics, "build_info", now, version=__version__) == 1


def test_a_page_of_nothing_is_whole() -> None:
    """Before the first request, what can be zero is shown as zero; reading changes nothing."""
    metrics = Metrics()
    assert value(metrics, "commits_total") == 0
    assert render(metrics, NOW) == render(metrics, NOW)
    names = {each.name for each in samples(metrics)} - {"process_start_time_seconds"}
    assert all(name.startswith("jarvis_secretsd_") for name in names)
