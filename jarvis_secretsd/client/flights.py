"""One question for all who have it at the same time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Event, Lock

TYPE_CHECKING = False  # see values.py
if TYPE_CHECKING:
    from jarvis_secretsd.values import SecretValue


class Flights:
    """Who asks what another thread is asking for already waits for that thread's answer."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[Hashable, _Flight] = {}

    def share(self, key: Hashable, fetch: Callable[[], SecretValue]) -> SecretValue:
        """What `fetch` gives or raises, called by one of those who come with this key.

        If that one is interrupted (Ctrl-C in its thread), another of them calls it again.
        """
        while True:
            with self._lock:
                flight = self._under_way.get(key)
                if flight is None:
                    mine = self._under_way[key] = _Flight()
                    break
            flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.value is not None:
                return flight.value
        return self._fly(key, mine, fetch)

    def _fly(self, key: Hashable, flight: _Flight, fetch: Callable[[], SecretValue]) -> SecretValue:
        try:
            flight.value = fetch()
        except Exception as error:
            flight.error = error
            raise
        else:
            return flight.value
        finally:
            with self._lock:
                del self._under_way[key]
            flight.landed.set()


class _Flight:
    """What one call brings, once it has landed; neither of both where it was interrupted."""

    def __init__(self) -> None:
        self.landed = Event()
        self.value: SecretValue | None = None
        self.error: Exception | None = None
