"""A cache that a watch keeps fresh, and that works without it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.values import SecretName
from tests.client.fake_daemon import FakeDaemon
from tests.daemon_process import DaemonProcess
from tests.waiting import wait_until

THREAD = "jarvis-keep-fresh"


def threads() -> list[threading.Thread]:
    """Those that keep a cache fresh."""
    return [each for each in threading.enumerate() if each.name == THREAD]


@pytest.fixture
def admin(daemon: DaemonProcess) -> Iterator[SecretsClient]:
    """Somebody else, who changes things."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        client.put("a", "old")
        client.put("b", "same")
        yield client


@pytest.fixture
def fresh(daemon: DaemonProcess, admin: SecretsClient) -> Iterator[SecretsClient]:
    """A client that keeps its cache fresh, and has both secrets in it."""
    with SecretsClient(str(daemon.socket_path), client_id="admin", keep_fresh=True) as client:
        begin(client)
        client.get("b")
        assert len(threads()) == 1
        yield client
    wait_until(lambda: threads() == [])


def begin(client: SecretsClient, since: int = 0) -> None:
    """Have it watch: its first `get` begins that, and what the watch tells first empties the cache.

    `since` is how often it was emptied before.
    """
    wait_until(lambda: client.get("a") == "old" and client._cache.generation > since)
    client.get("a")


def reads(client: SecretsClient, name: str) -> str | None:
    """When this secret was last read from the daemon."""
    listing = client.ask(m.Versions(SecretName(name)), m.VersionListing)
    return str(listing.versions[-1].last_read)


def test_a_change_is_seen_without_waiting_for_the_cache(
    fresh: SecretsClient, admin: SecretsClient
) -> None:
    """What changed is asked anew at once; what didn't stays cached."""
    read = reads(admin, "b")
    admin.put("a", "new")
    wait_until(lambda: fresh.get("a") == "new")
    assert fresh.get("b") == "same"
    assert reads(admin, "b") == read


def test_without_it_the_cache_is_as_old_as_it_may_be(
    daemon: DaemonProcess, admin: SecretsClient
) -> None:
    """Nothing watches unless it is asked to."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        assert client.get("a") == "old"
        admin.put("a", "new")
        time.sleep(0.05)
        assert client.get("a") == "old"
        assert threads() == []


def test_what_changes_while_the_daemon_is_away_is_seen_when_it_is_back(
    daemon: DaemonProcess, fresh: SecretsClient, admin: SecretsClient
) -> None:
    """A restart ends the watch and not the cache; the watch begins again by itself."""
    daemon.stop()
    assert fresh.get("a") == "old"
    daemon.start()
    admin.put("a", "new")
    wait_until(lambda: fresh.get("a") == "new")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_watches_for_itself(fresh: SecretsClient, admin: SecretsClient) -> None:
    """It has what was cached, and neither the thread nor the connection of its parent."""
    ready, word = os.pipe()
    since = fresh._cache.generation
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert fresh.get("a") == "old"
            begin(fresh, since)
            os.write(word, b".")
            wait_until(lambda: fresh.get("a") == "new")
            status = 0
        finally:
            os._exit(status)
    assert os.read(ready, 1) == b"."
    admin.put("a", "new")
    wait_until(lambda: fresh.get("a") == "new")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(ready)
    os.close(word)


def test_close_ends_the_thread_and_a_further_question_begins_another(
    fresh: SecretsClient, admin: SecretsClient
) -> None:
    """A client can be used after `close`, as ever."""
    fresh.close()
    wait_until(lambda: threads() == [])
    begin(fresh, fresh._cache.generation)
    admin.put("a", "new")
    wait_until(lambda: fresh.get("a") == "new")


def test_a_client_that_nobody_has_any_more_leaves_no_thread(daemon: DaemonProcess) -> None:
    """Whoever forgets to close one isn't punished for it."""
    _use_and_forget(daemon)
    gc.collect()
    wait_until(lambda: threads() == [])


def _use_and_forget(daemon: DaemonProcess) -> None:
    client = SecretsClient(str(daemon.socket_path), client_id="admin", keep_fresh=True)
    client.put("a", "old")
    begin(client, since=1)
    assert threads()
    client._session().close()  # which isn't the matter here


def test_a_daemon_that_lets_nobody_watch_is_as_good_as_ever(
    fake: FakeDaemon, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal is logged, and values age as they do without it."""
    fake.hold(p="x")
    fake.answers += [_refuse_watch(fake)] * 2
    with SecretsClient(str(socket_path), keep_fresh=True) as client:
        assert client.get("p") == "x"
        wait_until(lambda: "not kept fresh: no such op" in caplog.text)
        assert client.get("p") == "x"
        client.forget("p")
        assert client.get("p") == "x"
    wait_until(lambda: threads() == [])


def _refuse_watch(fake: FakeDaemon) -> Callable[[m.Request], m.Reply]:
    def answer(request: m.Request) -> m.Reply:
        if isinstance(request.operation, m.Watch):
            return m.Failure("invalid_request", "no such op")
        return fake.obey(request.operation)

    return answer
