"""What a watcher knows: messages in, what is new to it out. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from jarvis_secretsd.messages import Told

Kids = Mapping[str, str | None]
"""The kid that is current by name, None for a secret that isn't there."""


class Picture:
    """The current kids, as the messages so far have told them, over any number of connections.

    `seq` is where to go on after a connection that ended, None before anything is known.
    """

    def __init__(self) -> None:
        self.seq: int | None = None
        self._known: dict[str, str | None] = {}
        self._parts: dict[str, str | None] = {}

    def begin(self) -> None:
        """A connection begins: what the one before told only in part is told again."""
        self._parts = {}

    def take(self, told: Told) -> Kids | None:
        """What is new with this message; None where nothing is, or the rest is still to come.

        The first that is told whole is new, also if it is nothing.
        """
        self._parts |= {str(name): kid and str(kid) for name, kid in told.secrets.items()}
        if told.seq is None:
            return None
        is_first, self.seq = self.seq is None, told.seq
        parts, self._parts = self._parts, {}
        if told.whole:
            parts |= dict.fromkeys(self._known.keys() - parts.keys())
        known = self._known
        news = {name: kid for name, kid in parts.items() if is_first or known.get(name) != kid}
        known |= {name: kid for name, kid in news.items() if kid is not None}
        for name in [name for name, kid in news.items() if kid is None]:
            known.pop(name, None)
        return news if news or is_first else None
