"""The asyncio client: what the blocking one does, for tasks."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import (
    AccessDenied,
    BadRequest,
    Conflict,
    DaemonUnreachable,
    SecretNotFound,
    SecretsClient,
    UntrustedDaemon,
)
from jarvis_secretsd.client import owner as owner_module
from jarvis_secretsd.client.aio import AsyncSecretsClient
from jarvis_secretsd.client.watching import Watch
from jarvis_secretsd.values import Kind, SecretName
from tests.client.fake_daemon import FakeDaemon, Stall, serving, serving_tcp
from tests.daemon_process import DaemonProcess

T = TypeVar("T")
PATIENCE = 20.0


def run(what: Coroutine[Any, Any, T]) -> T:
    """In a loop of its own, which mustn't hang."""

    async def bounded() -> T:
        return await asyncio.wait_for(what, PATIENCE)

    return asyncio.run(bounded())


def _public(kind: type) -> dict[str, Any]:
    return {name: each for name, each in vars(kind).items() if not name.startswith("_")}


def _plain(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
    return [(each.name, each.default, each.annotation) for each in signature.parameters.values()]


def test_it_has_what_the_blocking_client_has() -> None:
    """Each method, with the same arguments and defaults, and so the class itself."""
    ours, theirs = _public(AsyncSecretsClient), _public(SecretsClient)
    assert ours.keys() == theirs.keys()
    for name, method in theirs.items():
        assert _plain(inspect.signature(ours[name])) == _plain(inspect.signature(method))
    waiting = {name for name, method in ours.items() if inspect.iscoroutinefunction(method)}
    assert ours.keys() - waiting == {"watch", "forget"}  # they ask nothing
    assert _plain(inspect.signature(AsyncSecretsClient)) == _plain(inspect.signature(SecretsClient))


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_it_does_with_a_daemon_what_one_does(daemon: DaemonProcess, transport: str) -> None:
    """Values to the byte, versions, conflicts, tokens, over the socket and over TCP."""

    async def live() -> None:
        where = str(daemon.socket_path) if transport == "unix" else None
        url = daemon.url if transport == "tcp" else None
        async with AsyncSecretsClient(where, url, "admin") as client:
            first = await client.put("a", "p\u00e4ss\0")
            await client.put("b", b"\xff")
            await client.put("jwt_signing_key", kind=Kind.JWT_SIGNING_KEY)
            assert await client.get("a") == "p\u00e4ss\0"
            assert await client.get_bytes("b") == b"\xff"
            with pytest.raises(BadRequest, match="not text"):
                await client.get("b")
            await client.put("a", "new")
            assert await client.get("a") == "new"
            assert await client.get("a", kid=first.kid) == "p\u00e4ss\0"
            assert (await client.fetch("a")).version == 2
            assert [each.name for each in await client.list()] == ["a", "b", "jwt_signing_key"]
            token = await client.sign_jwt({"sub": "u"}, 60)
            assert (await client.verify_jwt(token))["sub"] == "u"
            assert len((await client.jwks())["keys"]) == 1
            with pytest.raises(SecretNotFound):
                await client.get("nothing")
            with pytest.raises(Conflict):
                await client.put("a", "x", expect_kid="")
            assert isinstance(await client.call(m.Health()), m.HealthStatus)
            gone, there = await client.ask_all(
                [m.Get(SecretName("nothing")), m.Get(SecretName("a"))], m.Found
            )
            assert isinstance(gone, SecretNotFound)
            assert isinstance(there, m.Found)
        async with AsyncSecretsClient(where, url, "nobody") as stranger:
            with pytest.raises(AccessDenied):
                await stranger.get("a")

    run(live())


def test_tasks_that_want_the_same_ask_once(fake: FakeDaemon, socket_path: Path) -> None:
    """And what is cached asks nobody."""
    fake.hold(p="x")

    async def live() -> None:
        async with AsyncSecretsClient(str(socket_path)) as client:
            assert await asyncio.gather(*(client.get("p") for _ in range(50))) == ["x"] * 50
            assert await client.get("p") == "x"
            assert len(fake.asked) == 1
            client.forget("p")
            await client.get("p")
            assert len(fake.asked) == 2

    run(live())


def test_a_cancelled_task_takes_nobody_elses_answer_away(
    fake: FakeDaemon, socket_path: Path
) -> None:
    """The question goes on for those who still wait for it."""
    fake.hold(p="x")
    fake.answers.append(stall := Stall(fake))

    async def live() -> None:
        async with AsyncSecretsClient(str(socket_path)) as client:
            first = asyncio.create_task(client.get("p"))
            second = asyncio.create_task(client.get("p"))
            await asyncio.to_thread(stall.asked.wait, PATIENCE)
            first.cancel()
            stall.go_on.set()
            assert await second == "x"
            with pytest.raises(asyncio.CancelledError):
                await first
        assert len(fake.asked) == 1

    run(live())


def test_an_answer_to_who_has_gone_is_not_taken_for_the_next_ones(
    fake: FakeDaemon, socket_path: Path
) -> None:
    """A question that was cancelled half-way takes its connection with it."""
    fake.hold(p="old", q="other")
    fake.answers.append(stall := Stall(fake))

    async def live() -> None:
        async with AsyncSecretsClient(str(socket_path)) as client:
            gone = asyncio.create_task(client.fetch("p"))
            await asyncio.to_thread(stall.asked.wait, PATIENCE)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            stall.go_on.set()
            assert await client.get("q") == "other"

    run(live())


def test_one_client_serves_one_loop_after_another(fake: FakeDaemon, socket_path: Path) -> None:
    """A program that calls `asyncio.run` twice, and what is cached is cached in both."""
    fake.hold(p="x", q="y")
    client = AsyncSecretsClient(str(socket_path))
    for name in ("p", "q"):
        run(client.fetch(name))
    assert run(client.get("p")) == "x"
    run(client.close())


def test_silence_and_absence_are_told_as_by_the_blocking_client(socket_path: Path) -> None:
    """No daemon, and one that doesn't answer in time."""

    async def live() -> None:
        client = AsyncSecretsClient(str(socket_path), timeout=0.1)
        with pytest.raises(DaemonUnreachable, match=str(socket_path)):
            await client.get("p")
        with socket.socket(socket.AF_UNIX) as mute:
            mute.bind(str(socket_path))
            mute.listen()
            with pytest.raises(DaemonUnreachable, match="gave no answer within"):
                await client.get("p")
        await client.close()

    run(live())


def test_a_daemon_is_waited_for_and_a_stale_value_bridges_its_absence(socket_path: Path) -> None:
    """`wait`, `max_stale` and the reconnection after a restart, as the blocking client has them."""

    async def live() -> None:
        daemon = FakeDaemon()
        daemon.hold(p="x")
        client = AsyncSecretsClient(str(socket_path), wait=10.0, cache_ttl=0.01, max_stale=100.0)
        asking = asyncio.create_task(client.get("p"))
        await asyncio.sleep(0.05)
        with serving(daemon, socket_path):
            assert await asking == "x"
        impatient = AsyncSecretsClient(str(socket_path), cache_ttl=0.01, max_stale=100.0)
        with serving(daemon, socket_path):
            assert await impatient.get("p") == "x"
        await asyncio.sleep(0.02)
        assert await impatient.get("p") == "x"
        impatient.forget()
        with pytest.raises(DaemonUnreachable):
            await impatient.get("p")
        with serving(daemon, socket_path):
            assert await impatient.get("p") == "x"
        await client.close()
        await impatient.close()

    run(live())


def test_what_is_secret_is_told_to_no_stranger_on_the_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The port's owner is looked up before a value is sent, and once a connection."""
    asked: list[int] = []

    def owner(*_: object) -> int:
        asked.append(1)
        return 4004

    monkeypatch.setattr(owner_module, "_owner", owner)

    async def live(url: str, daemon: FakeDaemon) -> None:
        async with AsyncSecretsClient(url=url) as client:
            with pytest.raises(UntrustedDaemon):
                await client.put("p", "secret")
            assert daemon.asked == []
        async with AsyncSecretsClient(url=url, daemon_uid=4004) as client:
            await client.put("p", "secret")
            await client.put("p", "secret 2")
        assert len(asked) == 2

    with serving_tcp(FakeDaemon()) as (daemon, url):
        run(live(url, daemon))


@pytest.mark.parametrize("names", [None, ["a", "b"]])
def test_a_watch_gives_what_changes(daemon: DaemonProcess, names: list[str] | None) -> None:
    """Also what changed while nobody listened, or the daemon was away; `close` ends it."""

    async def live() -> None:
        async with AsyncSecretsClient(str(daemon.socket_path), client_id="admin") as client:
            first = (await client.put("a", "x")).kid
            watch = client.watch(names)
            begin = {"a": first} if names is None else {"a": first, "b": None}
            assert await anext(watch) == begin
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(watch), 0.01)
            second = (await client.put("a", "y")).kid
            assert await anext(watch) == {"a": second}
            waiting = asyncio.create_task(anext(watch))
            await asyncio.to_thread(daemon.restart)
            third = (await client.put("b", "z")).kid
            assert await waiting == {"b": third}
            waiting = asyncio.create_task(anext(watch))
            await asyncio.sleep(0.01)
            watch.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
            async for _ in watch:
                pytest.fail("it is closed")

    run(live())


def test_a_kept_fresh_cache_sees_a_change_at_once(daemon: DaemonProcess) -> None:
    """And only then asks again."""

    async def live() -> None:
        with SecretsClient(str(daemon.socket_path), client_id="admin") as other:
            other.put("a", "old")
            where = str(daemon.socket_path)
            async with AsyncSecretsClient(where, client_id="admin", keep_fresh=True) as client:
                assert await client.get("a") == "old"
                other.put("a", "new")
                while await client.get("a") != "new":
                    await asyncio.sleep(0.005)

    run(live())


def test_a_watch_waits_only_as_long_as_the_client_does(socket_path: Path) -> None:
    """Before there ever was a daemon, its absence is an error, for both kinds of clients."""

    async def live() -> None:
        watch = AsyncSecretsClient(str(socket_path)).watch()
        with pytest.raises(DaemonUnreachable):
            await anext(watch)

    run(live())
    with pytest.raises(DaemonUnreachable):
        next(SecretsClient(str(socket_path)).watch())


def test_a_thread_that_waits_for_a_change_is_let_go(daemon: DaemonProcess) -> None:
    """`close` ends the blocking watch from another thread, whether it listens or waits."""
    with SecretsClient(str(daemon.socket_path), client_id="admin") as client:
        for before in (lambda: None, daemon.stop):
            watch = client.watch()
            next(watch)
            before()
            ended = threading.Event()
            threading.Thread(target=_drain, args=(watch, ended)).start()
            assert not ended.wait(0.05)
            watch.close()
            assert ended.wait(PATIENCE)


def _drain(watch: Watch, ended: threading.Event) -> None:
    for _ in watch:
        pass
    ended.set()


def test_what_is_no_daemon_is_called_so(fake: FakeDaemon, socket_path: Path) -> None:
    """A reply that is none ends the connection, and the next question makes another."""
    fake.hold(p="x")
    fake.answers.append(lambda _: b"\0\0\0\2{}")

    async def live() -> None:
        async with AsyncSecretsClient(str(socket_path)) as client:
            with pytest.raises(DaemonUnreachable, match="is not the daemon"):
                await client.get("p")
            assert await client.get("p") == "x"

    run(live())
