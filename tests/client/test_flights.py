"""Fifty callers, one question."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import DaemonUnavailable, SecretsClient
from jarvis_secretsd.client.flights import Flights
from jarvis_secretsd.values import SecretValue
from tests.client.fake_daemon import FakeDaemon, Stall

CALLERS = 50


def _at_once(act: Callable[[], None]) -> None:
    threads = [threading.Thread(target=act) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


class Tower:
    """Holds a call in the air until all others have had time to come and wait for it."""

    def __init__(self, outcome: SecretValue | Exception) -> None:
        self.flights = Flights()
        self.calls = 0
        self.got: list[object] = []
        self._outcome = outcome

    def fetch(self) -> SecretValue:
        self.calls += 1
        while threading.active_count() < CALLERS:  # all are started
            pass
        threading.Event().wait(0.1)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def caller(self) -> None:
        try:
            self.got.append(self.flights.share("p", self.fetch))
        except LookupError as error:
            self.got.append(error)


@pytest.mark.parametrize("outcome", [SecretValue(b"x"), SecretValue(b""), LookupError("no")])
def test_one_call_serves_all_who_wait_for_it(outcome: SecretValue | Exception) -> None:
    """Every caller gets what the one call gave or raised, an empty value too."""
    tower = Tower(outcome)
    _at_once(tower.caller)
    assert tower.calls == 1
    assert tower.got == [outcome] * CALLERS


def test_a_call_that_has_landed_serves_nobody_any_more() -> None:
    """The next one asks anew: to keep answers is the cache's business."""
    flights, values = Flights(), iter((SecretValue(b"1"), SecretValue(b"2")))
    assert flights.share("p", lambda: next(values)) == SecretValue(b"1")
    assert flights.share("p", lambda: next(values)) == SecretValue(b"2")


def test_an_interrupted_call_is_made_again_by_one_who_waited() -> None:
    """Ctrl-C in one thread isn't the answer of the others."""
    flights, in_the_air, waits = Flights(), threading.Event(), threading.Event()
    got: list[SecretValue] = []

    def interrupted() -> SecretValue:
        in_the_air.set()
        waits.wait(5)
        raise KeyboardInterrupt

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            flights.share("p", interrupted)

    def second() -> None:
        in_the_air.wait(5)
        got.append(flights.share("p", lambda: SecretValue(b"x")))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    in_the_air.wait(5)
    threading.Event().wait(0.05)
    waits.set()
    for thread in threads:
        thread.join(10)
    assert got == [SecretValue(b"x")]


def test_fifty_callers_ask_the_daemon_once(fake: FakeDaemon, client: SecretsClient) -> None:
    """A value that fifty threads want at the same moment is one request on the wire."""
    fake.hold(p="x")
    got: list[str] = []

    def slowly(request: m.Request) -> m.Reply:
        threading.Event().wait(0.2)
        return fake.obey(request.operation)

    fake.answers.append(slowly)
    _at_once(lambda: got.append(client.get("p")))
    assert got == ["x"] * CALLERS
    assert len(fake.asked) == 1


def test_a_slow_question_holds_up_no_cached_value(fake: FakeDaemon, client: SecretsClient) -> None:
    """While one thread waits for the daemon, the others read what is cached."""
    fake.hold(a="1", b="2")
    client.get("a")
    stall = Stall(fake)
    fake.answers.append(stall)
    thread = threading.Thread(target=client.get, args=("b",))
    thread.start()
    stall.asked.wait(5)
    try:
        assert client.get("a") == "1"
        assert thread.is_alive()
    finally:
        stall.go_on.set()
        thread.join()


def test_who_asks_after_a_forget_is_not_given_the_answer_from_before(
    fake: FakeDaemon, client: SecretsClient
) -> None:
    """A question under way when a name is forgotten answers only who asked before."""
    fake.hold(p="old")
    stall = Stall(fake)
    fake.answers.append(stall)
    got: list[str] = []
    first = threading.Thread(target=lambda: got.append(client.get("p")))
    first.start()
    stall.asked.wait(5)
    fake.hold(p="new")
    client.forget("p")
    second = threading.Thread(target=lambda: got.append(client.get("p")))
    second.start()
    stall.go_on.set()
    first.join(5)
    second.join(5)
    assert sorted(got) == ["new", "old"]
    assert client.get("p") == "new"


def test_all_are_told_of_a_failure(fake: FakeDaemon, client: SecretsClient) -> None:
    """Whoever waited for a refusal is refused, and the next one asks anew."""
    fake.hold(p="x")
    fake.answers.append(lambda _: m.Failure("unavailable", "full"))
    with pytest.raises(DaemonUnavailable):
        client.get("p")
    assert client.get("p") == "x"
