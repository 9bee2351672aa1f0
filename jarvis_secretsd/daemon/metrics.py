"""Counters for Prometheus: cheap to count, rendered only when somebody asks.

Label values come from fixed sets, so that no peer can make the page grow, and none is a secret's
name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import accumulate

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from jarvis_secretsd import __version__
from jarvis_secretsd.domain.peer import Transport
from jarvis_secretsd.domain.refusals import Refusal
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.messages import Operation

COMMIT_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""Seconds. A sync takes 0.1 ms on a good disk, and one of a second is the disk's cry for help."""

OK = "ok"
OTHER = "other"
"""Stands for whatever is in no fixed set."""

OPERATIONS = frozenset(str(each.__struct_config__.tag) for each in Operation.__subclasses__())
OUTCOMES = frozenset({OK, *(each.code for each in SecretsError.__subclasses__())})


_UNIX, _TCP = Transport.UNIX, Transport.TCP

Counts = dict[tuple[str, str], int]
"""Requests by operation and outcome."""


class PolicyReload(StrEnum):
    """What became of a policy that was read anew."""

    TAKEN = "taken"
    REFUSED = "refused"


class Now(Struct, frozen=True):
    """What is read off when somebody asks. `status` is `health`'s: "ok", or why not.

    `refused` are the requests that are only summed up in the audit log, `turned_away` the
    connections that were closed for want of room.
    """

    status: str
    secrets: int
    due: int
    connections: Mapping[Transport, int]
    refused: Mapping[Refusal, int]
    turned_away: int
    unresolved: int = 0
    watchers: int = 0


class Metrics:
    """What has happened since the start. To count is to add; nothing here locks or waits."""

    def __init__(self) -> None:
        self.audit_entries = 0
        self._unix: Counts = {}
        self._tcp: Counts = {}
        self._internal: Counts = {}
        self._reloads = dict.fromkeys(PolicyReload, 0)
        self._commits = [0] * (len(COMMIT_BUCKETS) + 1)
        self._commit_secs = 0.0

    def request(self, operation: str, outcome: str, transport: Transport) -> None:
        """A request was answered: `operation` is its tag, `outcome` "ok" or the error's code."""
        # an enum's hash costs more than all the rest
        counts = (
            self._unix if transport is _UNIX else self._tcp if transport is _TCP else self._internal
        )
        try:
            counts[operation, outcome] += 1
        except KeyError:
            _count_first(counts, operation, outcome)

    def reload(self, outcome: PolicyReload) -> None:
        """The policy was read anew."""
        self._reloads[outcome] += 1

    def commit(self, seconds: float) -> None:
        """A turn was made durable, which took so long."""
        self._commits[bisect_left(COMMIT_BUCKETS, seconds)] += 1
        self._commit_secs += seconds

    def render(self, now: Now) -> bytes:
        """The page, in the Prometheus text format 0.0.4."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page(self, now))
        return generate_latest(registry)

    def families(self, now: Now) -> Iterator[Metric]:
        """Every metric with its samples."""
        yield self._request_family()
        yield _labelled(
            "refusals",
            "Requests refused without an audit entry of their own.",
            {reason: now.refused.get(reason, 0) for reason in Refusal},
        )
        yield _counter("turned_away", "Connections closed for want of room.", now.turned_away)
        yield _labelled("policy_reloads", "Policies read anew.", self._reloads, label="outcome")
        yield _counter("audit_entries", "Entries written to the audit log.", self.audit_entries)
        yield _counter("commits", "Turns made durable.", sum(self._commits))
        yield self._commit_family()
        yield _gauge("secrets", "Secrets that can be read.", now.secrets)
        yield _gauge("due", "Secrets whose rotation is due and is for people to do.", now.due)
        yield _gauge(
            "unresolved", "Secrets of which nobody can tell which version is live.", now.unresolved
        )
        yield _gauge("up", "1 if health says ok.", int(now.status == OK))
        yield _connections(now.connections)
        yield _gauge("watchers", "Connections that are told of changes.", now.watchers)
        yield _build()

    def _request_family(self) -> Metric:
        family = CounterMetricFamily(
            _name("requests"), "Requests answered.", labels=("op", "outcome", "transport")
        )
        tables = {_UNIX: self._unix, _TCP: self._tcp, Transport.INTERNAL: self._internal}
        for transport, counts in tables.items():
            for (operation, outcome), count in counts.items():
                family.add_metric((operation, outcome, transport.value), count)
        return family

    def _commit_family(self) -> Metric:
        bounds = (*map(str, COMMIT_BUCKETS), "+Inf")
        buckets = list(zip(bounds, accumulate(self._commits), strict=True))
        return HistogramMetricFamily(
            _name("commit_seconds"),
            "Seconds until a turn was durable.",
            buckets=buckets,
            sum_value=self._commit_secs,
        )


class _Page(Collector):
    def __init__(self, metrics: Metrics, now: Now) -> None:
        self._metrics = metrics
        self._now = now

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families(self._now)


def _count_first(counts: Counts, operation: str, outcome: str) -> None:
    key = (
        operation if operation in OPERATIONS else OTHER,
        outcome if outcome in OUTCOMES else OTHER,
    )
    counts[key] = counts.get(key, 0) + 1


def _name(rest: str) -> str:
    return f"jarvis_secretsd_{rest}"


def _counter(name: str, text: str, count: int) -> Metric:
    return CounterMetricFamily(_name(name), text, value=count)


def _labelled(
    name: str,
    text: str,
    counts: Mapping[Refusal, int] | Mapping[PolicyReload, int],
    label: str = "reason",
) -> Metric:
    family = CounterMetricFamily(_name(name), text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value.value,), count)
    return family


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(_name(name), text, value=value)


def _connections(connections: Mapping[Transport, int]) -> Metric:
    family = GaugeMetricFamily(_name("connections"), "Connections open now.", labels=("transport",))
    for transport in (Transport.UNIX, Transport.TCP):
        family.add_metric((transport.value,), connections.get(transport, 0))
    return family


def _build() -> Metric:
    family = GaugeMetricFamily(_name("build_info"), "The program's version.", labels=("version",))
    family.add_metric((__version__,), 1)
    return family
