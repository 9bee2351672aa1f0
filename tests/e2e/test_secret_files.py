"""`jarvis-secrets files` with a real daemon: rotation, restarts, rights, other users, mounts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.folder import MARK
from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.values import SecretName
from tests.cli.terminal import PROGRAM
from tests.daemon_process import DaemonProcess
from tests.e2e.tools import needs
from tests.postgres_server import NOBODY_SPECIAL, needs_server, running
from tests.users import as_user
from tests.waiting import wait_until

LIMIT = 20.0
OWNER, STRANGER = 64001, 64002

POLICY = """\
clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
  app: {{users: ["{uid}", "64001"], allow: [{allow}]}}
"""

Environ = Mapping[str, str]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory that every user may pass."""
    path = Path(tempfile.mkdtemp(prefix="jarvis-", dir="/dev/shm"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """A daemon with a client `app` that may read what is below db/, and a token."""
    one = make_daemon(policy=policy("db/*, token"))
    one.start()
    with admin(one) as client:
        client.put("db/main", "one\n")
        client.put("db/spare", b"\0\xff")
        client.put("token", "t")
        client.put("other", "never")
    return one


@pytest.fixture
def environ(daemon: DaemonProcess) -> dict[str, str]:
    """Who `app` is, and where its daemon listens."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": "app",
    }


def policy(allow: str) -> str:
    """What `app` may read."""
    return POLICY.format(uid=os.geteuid(), allow=allow)


def admin(daemon: DaemonProcess) -> SecretsClient:
    """Who stores and deletes."""
    return SecretsClient(str(daemon.socket_path), client_id="admin", cache_ttl=0, wait=LIMIT)


def once(environ: Environ, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    """`files --once` with these arguments."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*PROGRAM, "files", "--once", *arguments],
        env=environ, capture_output=True, text=True, check=False, timeout=LIMIT, **more,
    )  # fmt: skip


class Keeper:
    """`files` in the background, with what it says and what it tells the service manager."""

    def __init__(self, environ: Environ, path: Path, *arguments: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address := f"\0jarvis-files-{os.getpid()}-{time.monotonic_ns()}")
        self._socket.settimeout(LIMIT)
        self.process = subprocess.Popen(
            [*PROGRAM, "files", "--dir", str(path), *arguments],
            env={**environ, "NOTIFY_SOCKET": f"@{address[1:]}"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def notified(self) -> str:
        """The next that the service manager is told."""
        return self._socket.recv(4096).decode()

    def told(self) -> str:
        """The next remark."""
        assert self.process.stderr
        return self.process.stderr.readline().removeprefix("jarvis-secrets: ").rstrip("\n")

    def files(self) -> dict[str, bytes]:
        """What is in the directory."""
        return held(self.path)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it with this signal; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT)

    def close(self) -> None:
        """Nothing stays of it but the files."""
        self.process.kill()
        self.process.communicate(timeout=LIMIT)
        self._socket.close()


@contextmanager
def kept(environ: Environ, path: Path, *arguments: str) -> Iterator[Keeper]:
    """The directory is kept meanwhile; every file is there at the beginning."""
    keeper = Keeper(environ, path, *arguments)
    try:
        assert keeper.notified().startswith("READY=1\n")
        keeper.told()
        yield keeper
    finally:
        keeper.close()


def held(path: Path) -> dict[str, bytes]:
    """What is in a directory, without the mark."""
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != MARK}


def test_a_directory_has_what_may_be_read(environ: Environ, memory: Path) -> None:
    """Each secret byte for byte, nothing that the client may not read; what it holds is told."""
    done = once(environ, "--dir", str(memory / "of"))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (f"jarvis-secrets: {memory}/of holds 3 files: db_main and 2 more\n")
    assert held(memory / "of") == {"db_main": b"one\n", "db_spare": b"\0\xff", "token": b"t"}


def test_changes_arrive_by_themselves(
    daemon: DaemonProcess, environ: Environ, memory: Path
) -> None:
    """A new value, a deletion, a restore; each is told, with what a mounted file doesn't see."""
    with admin(daemon) as client, kept(environ, memory / "of", "P=db/main", "token") as keeper:
        assert keeper.files() == {"P": b"one\n", "token": b"t"}
        client.put("db/spare", "of no interest")
        client.put("db/main", "two")
        assert keeper.told() == (
            "changed P; a container that mounts a file alone, and not its directory, has the old "
            "one until it is restarted"
        )
        assert keeper.files() == {"P": b"two", "token": b"t"}
        client.ask(m.Delete(SecretName("db/main")), m.Deleted)
        assert keeper.told() == "removed P: deleted, or not to be read any more"
        assert keeper.files() == {"token": b"t"}
        client.ask(m.Restore(SecretName("db/main")), m.Stored)
        assert keeper.told() == "added P"
        assert keeper.files() == {"P": b"two", "token": b"t"}


def test_what_a_pattern_chooses_may_come_later(
    daemon: DaemonProcess, environ: Environ, memory: Path
) -> None:
    """But never in the place of another secret's file."""
    with admin(daemon) as client, kept(environ, memory / "of", "--only", "db*") as keeper:
        client.put("db/new", "n")
        assert keeper.told() == "added db_new"
        daemon.write_policy(policy("db*"))
        daemon.reload()
        client.put("db_main", "a stranger's")
        assert keeper.told().startswith("db/main and db_main would both be the file db_main; ")
        assert keeper.files() == {"db_main": b"one\n", "db_new": b"n", "db_spare": b"\0\xff"}
        client.put("db/main", "two")
        wait_until(lambda: keeper.files()["db_main"] == b"two")


def test_lost_rights_take_the_files_away(
    daemon: DaemonProcess, environ: Environ, memory: Path
) -> None:
    """One of them, then all; when they come back, so do the files, and each is told."""

    def allow(names: str) -> None:
        daemon.write_policy(policy(names))
        daemon.reload()

    with kept(environ, memory / "of") as keeper:
        allow("token")
        assert keeper.told().startswith("removed db_main and db_spare: ")
        assert keeper.files() == {"token": b"t"}
        allow("")
        assert keeper.told().startswith("removed token: ")
        assert keeper.files() == {}
        assert keeper.told().startswith("can't follow changes, but tries on: the policy does not")
        allow("db/*, token")
        assert keeper.told() == "added db_main and 2 more"
        assert keeper.told() == "follows changes again"
        assert keeper.files() == {"db_main": b"one\n", "db_spare": b"\0\xff", "token": b"t"}


def test_the_daemon_may_come_later(daemon: DaemonProcess, environ: Environ, memory: Path) -> None:
    """It is waited for, and nothing is said to be ready before; files of before stay meanwhile."""
    once(environ, "--dir", str(memory / "of"))
    daemon.stop()
    keeper = Keeper(environ, memory / "of")
    try:
        assert "can't reach the daemon" in keeper.told()
        assert keeper.notified().startswith(
            "STATUS=can't follow changes, but tries on: can't reach"
        )
        assert keeper.files().keys() == {"db_main", "db_spare", "token"}
        daemon.start()
        assert keeper.notified() == f"READY=1\nSTATUS={memory}/of holds 3 files: db_main and 2 more"
    finally:
        keeper.close()


@pytest.mark.parametrize("end", [DaemonProcess.stop, DaemonProcess.kill], ids=["stop", "kill"])
def test_it_outlives_the_daemon(
    daemon: DaemonProcess, environ: Environ, memory: Path, end: Callable[[DaemonProcess], int]
) -> None:
    """All files stay while it is away; what is new afterwards arrives."""
    with kept(environ, memory / "of") as keeper:
        end(daemon)
        time.sleep(0.2)
        assert keeper.files() == {"db_main": b"one\n", "db_spare": b"\0\xff", "token": b"t"}
        daemon.start()
        with admin(daemon) as client:
            client.put("token", "new")
        wait_until(lambda: keeper.files()["token"] == b"new")


def test_files_stay_when_it_ends_and_are_the_same_when_it_starts(
    environ: Environ, memory: Path
) -> None:
    """Ended by the service manager it ends well; what didn't change keeps its inode."""
    with kept(environ, memory / "of") as keeper:
        assert keeper.end() == 0
    before = _written(memory / "of")
    assert before.keys() == {MARK, "db_main", "db_spare", "token"}
    with kept(environ, memory / "of", "--skip", "db/spare"):
        after = _written(memory / "of")
    del before["db_spare"]
    assert after == before


def _written(directory: Path) -> dict[str, tuple[int, int]]:
    """Which file each is, and when it was changed last; that it was read since changes nothing."""
    found = {path.name: path.stat() for path in directory.iterdir()}
    return {name: (there.st_ino, there.st_ctime_ns) for name, there in found.items()}


def test_ctrl_c_ends_it_as_it_ends_others(environ: Environ, memory: Path) -> None:
    """With 130, and without a traceback."""
    with kept(environ, memory / "of") as keeper:
        assert keeper.end(signal.SIGINT) == 130
        assert keeper.process.stderr
        assert keeper.process.stderr.read().strip() == ""


def test_what_cant_be_had_at_first_stops_it(environ: Environ, memory: Path) -> None:
    """Who misspells a name, or has no rights, is told so, and no file is written."""
    for arguments, client, status in (
        (("db/mian",), "app", 3),
        (("--only", "web/*"), "app", 3),
        ((), "nobody", 4),
    ):
        for more in ((), ("--once",)):
            done = subprocess.run(
                [*PROGRAM, "files", "--dir", str(memory / "of"), *more, *arguments],
                env={**environ, "JARVIS_CLIENT_ID": client},
                capture_output=True, text=True, check=False, timeout=LIMIT,
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (status, "")
            assert len(done.stderr.splitlines()) == 1
            assert held(memory / "of") == {}


def test_every_read_is_in_the_audit_log(
    daemon: DaemonProcess, environ: Environ, memory: Path
) -> None:
    """The watch once, and each value when it is fetched."""
    once(environ, "--dir", str(memory / "of"), "token")
    log = daemon.audit_path.read_text().splitlines()
    lines = [line for line in log if '"client":"app"' in line]
    assert ['"op":"watch"' in lines[0], '"op":"get"' in lines[1], len(lines)] == [True, True, 2]
    assert '"name":"token"' in lines[1]


@pytest.mark.root("makes a PID namespace")
@needs("unshare")
def test_it_ends_also_as_the_first_process(environ: Environ, memory: Path) -> None:
    """Of a container, say, where the kernel gives no signal an action of its own."""
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *PROGRAM, "files", "--dir",
         str(memory / "of"), "token"],
        env=environ, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        assert "holds 1 file: token" in process.stderr.readline()
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        assert process.wait(LIMIT) == 0


@pytest.mark.root("gives files to another user")
@needs("cat", "ls", "rm")
def test_the_owner_reads_them_and_can_do_nothing_else(environ: Environ, memory: Path) -> None:
    """Nor can anybody else: no stranger reads one, and nobody lists or changes the directory."""
    path = memory / "of"
    done = once(environ, "--dir", str(path), "--owner", str(OWNER), "token")
    assert done.returncode == 0, done.stderr
    file = str(path / "token")

    def tried(uid: int, *command: str) -> tuple[int, str]:
        found = subprocess.run(command, capture_output=True, text=True, check=False, **as_user(uid))
        return found.returncode, found.stdout

    assert tried(OWNER, "cat", file) == (0, "t")
    assert tried(STRANGER, "cat", file) == (1, "")
    for uid in (OWNER, STRANGER):
        assert tried(uid, "ls", str(path))[1] == ""
        assert tried(uid, "rm", "-f", file)[0] == 1
        assert tried(uid, "sh", "-c", f"echo x >{file}")[0] != 0
        assert tried(uid, "sh", "-c", f"echo x >{path}/planted")[0] != 0
    grouped = once(
        environ, "--dir", str(path), "--owner", f"root:{OWNER}", "--mode", "440", "token"
    )
    assert grouped.returncode == 0, grouped.stderr
    assert tried(OWNER, "cat", file) == (0, "t")
    assert tried(STRANGER, "cat", file) == (1, "")


@pytest.mark.root("acts as a user who may give nothing away")
def test_who_may_not_give_files_away_is_told_so(environ: Environ, memory: Path) -> None:
    """Nothing is written, and the message names the capability; without --owner it works."""
    path = memory / "of"
    path.mkdir()
    os.chown(path, OWNER, OWNER)
    done = once(environ, "--dir", str(path), "--owner", "999", "token", **as_user(OWNER))
    assert done.returncode == 1
    assert "can't give a file to uid 999: that takes root (CAP_CHOWN)" in done.stderr
    assert held(path) == {}
    assert once(environ, "--dir", str(path), "token", **as_user(OWNER)).returncode == 0
    assert held(path) == {"token": b"t"}


@pytest.mark.root("acts as a user who set a trap")
def test_a_directory_that_somebody_else_could_exchange_is_refused(
    environ: Environ, memory: Path
) -> None:
    """One that is his, one below it, and a link that he made."""
    trap = memory / "his"
    trap.mkdir()
    os.chown(trap, STRANGER, STRANGER)
    link = memory / "link"
    link.symlink_to(memory)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    for path in (trap, trap / "of", link / "of"):
        done = once(environ, "--dir", str(path), "token")
        assert done.returncode == 1
        assert str(STRANGER) in done.stderr
    assert [*trap.iterdir()] == []


@pytest.mark.root("mounts as a container's engine does")
@needs("unshare", "mount", "cat")
def test_who_mounts_the_directory_sees_a_rotation_and_who_mounts_a_file_does_not(
    daemon: DaemonProcess, environ: Environ, memory: Path
) -> None:
    """The old file lives on where it was mounted alone, until it is mounted anew."""
    (memory / "dir").mkdir()
    (memory / "file").touch()
    with admin(daemon) as client, kept(environ, memory / "of", "token") as keeper:
        script = (
            "mount --bind of dir; mount --bind of/token file; echo mounted; read _;"
            "cat dir/token file; echo; umount file; mount --bind of/token file; cat file"
        )
        with subprocess.Popen(
            ["unshare", "--mount", "sh", "-euc", script],
            cwd=memory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as container:  # fmt: skip
            assert container.stdout
            assert container.stdout.readline() == "mounted\n"
            client.put("token", "T")
            assert keeper.told().startswith("changed token; ")
            shown, _ = container.communicate("\n", LIMIT)
        assert shown == "Tt\nT"


@needs_server
def test_postgresql_is_made_with_a_password_of_a_file(
    daemon: DaemonProcess, environ: Environ, memory: Path
) -> None:
    """initdb reads it as the user who runs the server; psql gets in with what the daemon gives."""
    is_root = os.geteuid() == 0
    owner = ("--owner", f"{NOBODY_SPECIAL}:{NOBODY_SPECIAL}") if is_root else ()
    with admin(daemon) as client:
        client.put("db/main", password := "pa'ss wörd $1")
    with (
        kept(environ, memory / "of", *owner, "POSTGRES_PASSWORD=db/main") as keeper,
        running("app", keeper.path / "POSTGRES_PASSWORD") as server,
    ):
        assert (keeper.path / "POSTGRES_PASSWORD").stat().st_uid == (
            NOBODY_SPECIAL if is_root else os.geteuid()
        )
        assert server.takes(password)
        assert not server.takes("wrong")
        server.directory.chmod(0o755)
        login = f"postgresql://app@/postgres?host={server.directory}"
        done = subprocess.run(
            [*PROGRAM, "run", "--as", "PGPASSWORD=db/main", "--",
             "psql", "-wXAtc", "select current_user", login],
            env=environ, capture_output=True, text=True, check=False, timeout=LIMIT,
            **(as_user(OWNER) if is_root else {}),
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("app\n", "")
