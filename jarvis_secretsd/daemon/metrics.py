"""Counters, cheap to count: what `metricspage` shows Prometheus when it asks.

Label values come from fixed sets and from the policy's clients, so that no peer can make the page
grow, and none is a secret's name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping
from enum import StrEnum

from msgspec import Struct

from jarvis_secretsd.domain.peer import Transport
from jarvis_secretsd.domain.refusals import Refusal
from jarvis_secretsd.errors import BadToken, Denied, RateLimited, Reason, SecretsError
from jarvis_secretsd.messages import Operation

COMMIT_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
"""Seconds. A sync takes 0.1 ms on a good disk, and one of a second is the disk's cry for help."""

OK = "ok"
OTHER = "other"
"""Stands for whatever is in no fixed set."""

OPERATIONS = frozenset(str(each.__struct_config__.tag) for each in Operation.__subclasses__())
OUTCOMES = frozenset({OK, *(each.code for each in SecretsError.__subclasses__())})


DENIALS = frozenset({Denied.code, BadToken.code, RateLimited.code})
"""Outcomes that say no to who asked, and not to what was asked."""

STATUSES = (OK, *(reason.value for reason in Reason))

Counts = dict[tuple[str, str], int]
"""Requests by operation and outcome."""


class PolicyReload(StrEnum):
    """What became of a policy that was read anew."""

    TAKEN = "taken"
    REFUSED = "refused"


class Disk(Struct, frozen=True):
    """The file system that holds a file of ours: bytes that we may still take, and all."""

    free: int
    size: int


class Now(Struct, frozen=True):
    """What is read off when somebody asks. `status` is `health`'s: "ok", or why not.

    `refused` are the requests that are only summed up in the audit log, `turned_away` the
    connections that were closed for want of room, `clients` those of the policy, `disks` by what
    lies there. Moments are Unix times in seconds, 0.0 for what hasn't happened yet.
    """

    status: str
    secrets: int
    due: int
    overdue: int
    connections: Mapping[Transport, int]
    refused: Mapping[Refusal, int]
    turned_away: int
    clients: Collection[str]
    audit_bytes: int
    disks: Mapping[str, Disk]
    started_at: float
    backup_at: float = 0.0
    unresolved: int = 0
    watchers: int = 0


class Metrics:
    """What has happened since the start. To count is to add; nothing here locks or waits."""

    def __init__(self) -> None:
        self.audit_entries = 0
        self.requests: tuple[tuple[Transport, Counts], ...] = tuple(
            (each, {}) for each in Transport
        )
        self.canary_read_at = 0.0
        self.denials: dict[str, int] = {OTHER: 0}
        self.canary_reads = {"allowed": 0, "refused": 0}
        self.reloads = dict.fromkeys(PolicyReload, 0)
        self.commits = [0] * (len(COMMIT_BUCKETS) + 1)
        self.commit_secs = 0.0

    def request(self, operation: str, outcome: str, transport: Transport) -> None:
        """A request was answered: `operation` is its tag, `outcome` "ok" or the error's code."""
        for known, counts in self.requests:  # an enum's hash costs more than all the rest
            if known is transport:
                try:
                    counts[operation, outcome] += 1
                except KeyError:
                    _count_first(counts, operation, outcome)

    def denial(self, client: str | None, known: Collection[str]) -> None:
        """Who claimed to be this client was told no; one that isn't known counts as `other`."""
        who = client if client is not None and client in known else OTHER
        self.denials[who] = self.denials.get(who, 0) + 1

    def canary_read(self, at: float, *, allowed: bool) -> None:
        """Somebody asked for the value of a canary, at this Unix time."""
        self.canary_read_at = at
        self.canary_reads["allowed" if allowed else "refused"] += 1

    def reload(self, outcome: PolicyReload) -> None:
        """The policy was read anew."""
        self.reloads[outcome] += 1

    def commit(self, seconds: float) -> None:
        """A turn was made durable, which took so long."""
        self.commits[bisect_left(COMMIT_BUCKETS, seconds)] += 1
        self.commit_secs += seconds


def _count_first(counts: Counts, operation: str, outcome: str) -> None:
    key = (
        operation if operation in OPERATIONS else OTHER,
        outcome if outcome in OUTCOMES else OTHER,
    )
    counts[key] = counts.get(key, 0) + 1
