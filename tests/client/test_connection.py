"""What the client does when the daemon restarts, stalls, refuses, or isn't one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import ConnectionLost, DaemonUnreachable, SecretsClient
from jarvis_secretsd.values import SecretName
from tests.client.fake_daemon import FakeDaemon, Stall, serving, serving_tcp


def _hang_up(_: m.Request) -> None:
    return None


def test_a_restarted_daemon_is_found_again(socket_path: Path) -> None:
    """A daemon that was replaced between two questions is asked the second one, a put too."""
    client = SecretsClient(str(socket_path), cache_ttl=0)
    with serving(FakeDaemon(), socket_path) as first:
        first.hold(p="1")
        assert client.get("p") == "1"
    with serving(FakeDaemon(), socket_path) as second:
        client.put("p", "2")
        assert client.get("p") == "2"
        assert second.connections == 1
        client.close()


def test_a_read_is_asked_twice_where_the_connection_ends(
    fake: FakeDaemon, client: SecretsClient
) -> None:
    """A question that changes nothing is repeated once, over a new connection."""
    fake.hold(p="x")
    fake.answers.append(_hang_up)
    assert client.get("p") == "x"
    assert fake.connections == 2
    client.forget()
    fake.answers += [_hang_up, _hang_up]
    with pytest.raises(ConnectionLost):
        client.get("p")


def test_a_write_is_never_repeated(fake: FakeDaemon, client: SecretsClient) -> None:
    """A put whose answer was lost may have been stored, so the caller decides what to do."""
    fake.answers.append(_hang_up)
    with pytest.raises(ConnectionLost, match="without an answer"):
        client.put("p", "x")
    assert len(fake.asked) == 1
    client.put("p", "x")


def test_one_write_among_reads_is_never_repeated(fake: FakeDaemon, client: SecretsClient) -> None:
    """A batch with a single write in it is not asked twice."""
    fake.answers.append(_hang_up)
    operations = [m.Get(SecretName("p")), m.Rotate()]
    with pytest.raises(ConnectionLost):
        client.ask_all(operations, m.Result)
    assert len(fake.asked) == 1


def test_a_silent_daemon_costs_the_timeout(fake: FakeDaemon, socket_path: Path) -> None:
    """No answer in time is an error, and a late answer isn't taken for the next question's."""
    fake.hold(p="late", q="right")
    stall = Stall(fake)
    fake.answers.append(stall)
    with SecretsClient(str(socket_path), timeout=0.05) as client:
        start = time.monotonic()
        with pytest.raises(DaemonUnreachable, match=r"no answer within 0\.05 s"):
            client.get("p")
        assert time.monotonic() - start < 2
        stall.go_on.set()
        assert client.get("q") == "right"


def test_bytes_in_drops_do_not_stretch_the_timeout(fake: FakeDaemon, socket_path: Path) -> None:
    """The timeout is for the whole answer, however many pieces it comes in."""
    fake.answers.append(lambda _: b"\0\0\0\xff" + b" ")
    with (
        SecretsClient(str(socket_path), timeout=0.05) as client,
        pytest.raises(DaemonUnreachable, match="no answer"),
    ):
        client.get("p")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\x02{}",
        b"\0\0\0\x04true",
        b"\0\0\0\x1a" + b'{"ok":true,"result":{"a":1',
    ],
)
def test_what_is_no_daemon_is_called_so(
    fake: FakeDaemon, client: SecretsClient, answer: bytes
) -> None:
    """An answer that is none of the daemon's is an error that names the address, no traceback."""
    fake.answers.append(lambda _: answer)
    with pytest.raises(DaemonUnreachable, match="is not the daemon") as caught:
        client.get("p")
    assert str(client._access.address) in caught.value.message


def test_a_last_word_is_heard(tmp_path: Path) -> None:
    """Who refuses a connection before reading may still say why, and the caller is told."""
    path = tmp_path / "s"
    word = b'{"ok":false,"error":{"code":"rate_limited","message":"too many connections"}}'

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.sendall(len(word).to_bytes(4, "big") + word)
        connection.shutdown(socket.SHUT_RD)
        connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        client = SecretsClient(str(path), timeout=2)
        with pytest.raises(Exception, match="too many connections"):
            client.put("p", "x" * 200_000)
        thread.join()
        client.close()


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No socket, and no listener behind a socket, are two different messages."""
    path = tmp_path / "s"
    with pytest.raises(DaemonUnreachable, match=f"{path}: there is no such socket"):
        SecretsClient(str(path)).get("p")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(DaemonUnreachable, match="nothing listens there"):
        SecretsClient(str(path)).get("p")
    with pytest.raises(DaemonUnreachable, match="AF_UNIX path too long"):
        SecretsClient("/" + "x" * 200).get("p")


def test_a_full_backlog_is_waited_for(tmp_path: Path) -> None:
    """A daemon that accepts nothing is waited for as long as the timeout, then named."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(path))
        listener.listen(0)
        other.connect(str(path))
        start = time.monotonic()
        with pytest.raises(DaemonUnreachable, match="it takes no connection"):
            SecretsClient(str(path), timeout=0.1).get("p")
        assert 0.09 < time.monotonic() - start < 2


@pytest.mark.root("only another user can be kept from a socket")
def test_a_socket_that_may_not_be_opened_names_its_group(tmp_path: Path) -> None:
    """Who lacks the group is told which, and how to join it; a closed directory is named too."""
    path = tmp_path / "s"
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    ask = f"from jarvis_secretsd.client import SecretsClient; SecretsClient({str(path)!r}).get('p')"
    with serving(FakeDaemon(), path):
        path.chmod(0o660)
        assert f"{path} is root:root 0660, and nobody may not connect" in _as_nobody(ask)
        assert "usermod -aG root nobody" in _as_nobody(ask)
        assert "and 4242 may not connect to it" in (text := _as_nobody(ask, uid=4242))
        assert "join the group (usermod -aG root 4242)" in text
        tmp_path.chmod(0o700)
        text = _as_nobody(ask)
        assert f"{tmp_path} is root:root 0700" in text
        assert "its group may not either" in text


def _as_nobody(program: str, uid: int = 65534) -> str:
    """What the program says to a user of no group; by default the one called `nobody`."""
    return subprocess.run(
        [sys.executable, "-c", program],
        user=uid,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    ).stderr


def test_tcp_speaks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a loopback URL the client asks the daemon itself, whatever proxy is set."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving_tcp(FakeDaemon()) as (fake, url), SecretsClient(url=url) as client:
        client.put("p", "x" * 100_000)
        assert client.get_bytes("p") == b"x" * 100_000
        assert fake.connections == 1


def _in_child(act: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if act() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_has_a_connection_of_its_own(
    fake: FakeDaemon, client: SecretsClient
) -> None:
    """Parent and child ask at the same time and get their own answers."""
    fake.hold(a="1", b="2")
    assert client.get("a") == "1"
    assert _in_child(lambda: client.get("b") == "2")
    client.forget()
    assert client.get("a") == "1"
    assert fake.connections == 2


def test_a_child_forked_while_a_thread_asks_is_not_locked_out(
    fake: FakeDaemon, client: SecretsClient
) -> None:
    """A lock that some thread of the parent holds at the fork doesn't hold in the child."""
    fake.hold(a="1", b="2")
    stall = Stall(fake)
    fake.answers.append(stall)
    thread = threading.Thread(target=client.get, args=("a",))
    thread.start()
    stall.asked.wait(5)
    try:
        assert _in_child(lambda: client.get("b") == "2")
    finally:
        stall.go_on.set()
        thread.join()


def test_the_connection_does_not_outlive_an_exec(client: SecretsClient, fake: FakeDaemon) -> None:
    """A program that is started inherits no descriptor of the client."""
    client.call(m.Health())
    listing = "import os; print(len([f for f in os.listdir('/proc/self/fd')]))"
    with_connection = subprocess.check_output([sys.executable, "-c", listing], close_fds=False)
    client.close()
    without = subprocess.check_output([sys.executable, "-c", listing], close_fds=False)
    assert with_connection == without
    assert fake.asked
