"""The page of metrics, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from jarvis_secretsd import __version__
from jarvis_secretsd.daemon.metrics import COMMIT_BUCKETS, OK, STATUSES, Metrics, Now
from jarvis_secretsd.domain.peer import Transport
from jarvis_secretsd.domain.refusals import Refusal

COUNTER, GAUGE = CounterMetricFamily, GaugeMetricFamily

_Label = TypeVar("_Label", bound=str)


def render(metrics: Metrics, now: Now) -> bytes:
    """What has happened and how things stand, in the format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(metrics, now))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, metrics: Metrics, now: Now) -> None:
        self._metrics = metrics
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield from _happened(self._metrics, self._now)
        yield from _standing(self._now)


def _happened(metrics: Metrics, now: Now) -> Iterator[Metric]:
    yield _requests(metrics)
    yield _labelled(
        COUNTER,
        "denials",
        "Requests whose client was told no, by the client that they claimed to be.",
        "client",
        {client: metrics.denials.get(client, 0) for client in (*metrics.denials, *now.clients)},
    )
    yield _labelled(
        COUNTER,
        "refusals",
        "Requests refused without an audit entry of their own.",
        "reason",
        {reason: now.refused.get(reason, 0) for reason in Refusal},
    )
    yield _counter("turned_away", "Connections closed for want of room.", now.turned_away)
    yield _labelled(
        COUNTER,
        "canary_reads",
        "Requests for the value of a canary.",
        "outcome",
        metrics.canary_reads,
    )
    yield _gauge(
        "canary_read_timestamp_seconds",
        "When the value of a canary was last asked for; 0 if it wasn't since the start.",
        metrics.canary_read_at,
    )
    yield _labelled(COUNTER, "policy_reloads", "Policies read anew.", "outcome", metrics.reloads)
    yield _counter("audit_entries", "Entries written to the audit log.", metrics.audit_entries)
    yield _counter("audit_bytes", "Bytes written to the audit log.", now.audit_bytes)
    yield _counter("commits", "Turns made durable.", sum(metrics.commits))
    yield _commits(metrics)


def _requests(metrics: Metrics) -> Metric:
    family = CounterMetricFamily(
        _name("requests"), "Requests answered.", labels=("op", "outcome", "transport")
    )
    for transport, counts in metrics.requests:
        for (operation, outcome), count in counts.items():
            family.add_metric((operation, outcome, transport.value), count)
    return family


def _commits(metrics: Metrics) -> Metric:
    bounds = (*map(str, COMMIT_BUCKETS), "+Inf")
    buckets = list(zip(bounds, accumulate(metrics.commits), strict=True))
    return HistogramMetricFamily(
        _name("commit_seconds"),
        "Seconds until a turn was durable.",
        buckets=buckets,
        sum_value=metrics.commit_secs,
    )


def _standing(now: Now) -> Iterator[Metric]:
    yield _gauge("up", "1 if health says ok.", int(now.status == OK))
    yield _labelled(
        GAUGE,
        "status",
        "1 for what health says.",
        "status",
        {status: int(status == now.status) for status in STATUSES},
    )
    yield _gauge("secrets", "Secrets that can be read.", now.secrets)
    yield _gauge("due", "Secrets whose rotation is due and is for people to do.", now.due)
    yield _gauge("overdue", "Secrets due for longer than their grace.", now.overdue)
    yield _gauge(
        "unresolved", "Secrets of which nobody can tell which version is live.", now.unresolved
    )
    yield _labelled(
        GAUGE,
        "connections",
        "Connections open now.",
        "transport",
        {
            transport: now.connections.get(transport, 0)
            for transport in (Transport.UNIX, Transport.TCP, Transport.CREDENTIALS)
        },
    )
    yield _gauge("watchers", "Connections that are told of changes.", now.watchers)
    free = {holds: disk.free for holds, disk in now.disks.items()}
    size = {holds: disk.size for holds, disk in now.disks.items()}
    yield _labelled(GAUGE, "disk_free_bytes", "Bytes that the daemon may still take.", "of", free)
    yield _labelled(GAUGE, "disk_size_bytes", "Bytes of the file system.", "of", size)
    yield _gauge(
        "backup_timestamp_seconds", "When the last backup was made; 0: never.", now.backup_at
    )
    yield _labelled(GAUGE, "build_info", "The program's version.", "version", {__version__: 1})
    yield GaugeMetricFamily(
        "process_start_time_seconds", "When the process started.", value=now.started_at
    )


def _name(rest: str) -> str:
    return f"jarvis_secretsd_{rest}"


def _counter(name: str, text: str, count: int) -> Metric:
    return CounterMetricFamily(_name(name), text, value=count)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_name(name), text, value=value)


def _labelled(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    text: str,
    label: str,
    values: Mapping[_Label, int],
) -> Metric:
    family = kind(_name(name), text, labels=(label,))
    for value, number in values.items():
        family.add_metric((str(value),), number)
    return family
