"""The latest refusals, so that whoever keeps the policy sees what to write without reading a log.

A bounded memory of this run of the daemon: refusals that differ in nothing but their time are one.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

from msgspec.structs import replace

from jarvis_secretsd.domain.denial import Denial
from jarvis_secretsd.domain.peer import Peer
from jarvis_secretsd.domain.refusals import Refusal
from jarvis_secretsd.messages import DenialListing, RefusalListed

MAX_REFUSALS = 256
"""With the longest names, and the lines that would allow them, a list of all fits a frame twice."""

MAX_OF_UID = 64
"""A program that tries every name there could be doesn't push out what others were refused."""

_UNREADABLE = "the daemon couldn't read it: compare what the program sends with docs/wire.md"


class Recent:
    """The latest refusals since the daemon started at `since`."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._known: OrderedDict[Denial, RefusalListed] = OrderedDict()

    def note(self, denial: Denial, now: datetime) -> None:
        """Remember a refusal; of one that is known already, that it was repeated."""
        key = replace(denial, peer=replace(denial.peer, pid=None, groups=frozenset()))
        known = self._known.pop(key, None)
        if known is None:
            self._make_room(denial.peer.uid)
            known = _listed(denial, now)
        self._known[key] = replace(known, last=now, count=known.count + 1)

    def malformed(self, peer: Peer, now: datetime) -> None:
        """Remember that this peer sent what is no request."""
        self.note(Denial(peer, None, "", None, Refusal.MALFORMED, _UNREADABLE), now)

    def listing(self) -> DenialListing:
        """All that is remembered, the latest last."""
        return DenialListing(tuple(self._known.values()), self._since)

    def _make_room(self, uid: int | None) -> None:
        """Forget the oldest refusal: of this uid where it has its share, else of anyone."""
        own = [key for key in self._known if key.peer.uid == uid]
        if len(own) >= MAX_OF_UID:
            del self._known[own[0]]
        elif len(self._known) >= MAX_REFUSALS:
            self._known.popitem(last=False)


def _listed(denial: Denial, now: datetime) -> RefusalListed:
    peer = denial.peer
    return RefusalListed(
        uid=peer.uid,
        transport=peer.transport,
        unit=peer.unit,
        client=denial.client,
        op=denial.op,
        name=denial.name,
        rule=denial.rule,
        remedy=denial.remedy,
        first=now,
        last=now,
        count=0,
    )
