"""`jarvis-secretsd init`: who becomes admin, whose the files are, and that none is overwritten."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jarvis_secretsd.cli.operator import DaemonExit
from jarvis_secretsd.daemon import files
from jarvis_secretsd.daemon.policyfile import load_policy
from jarvis_secretsd.domain.policy import Client
from jarvis_secretsd.errors import StorageFull
from jarvis_secretsd.values import ClientId, Permission
from tests.cli.household import PROGRAM, Household, new_household
from tests.users import as_user

DAEMON_UID = 61_001
PERSON_UID = 61_002


@pytest.fixture
def house(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Household]:
    """A household without files, in a directory that every user may enter."""
    home = Path(tempfile.mkdtemp(prefix="jarvis-"))
    home.chmod(0o755)
    yield new_household(home, capfd, monkeypatch)
    shutil.rmtree(home)


def admin_of(house: Household) -> Client:
    """The admin in the policy that was written."""
    text = house.policy_path.read_bytes()
    return load_policy(text, source="policy.yaml", own_uid=0).clients[ClientId("admin")]


def mode_of(path: Path) -> str:
    """Owner, group and mode of a file."""
    found = path.stat()
    return f"{found.st_uid}:{found.st_gid} {stat.S_IMODE(found.st_mode):04o}"


def test_what_init_writes_passes_check(house: Household) -> None:
    """The files that were written load, and `check` finds no error in them."""
    assert house.init().status == DaemonExit.OK
    ended = house.command("check")
    assert ended.status == DaemonExit.OK, ended.lines
    assert ended.lines[-1].startswith("fine: 0 errors")


def test_whoever_runs_it_is_admin_with_all_rights(house: Household) -> None:
    """The policy's admin is bound to the user of the process, and may do everything."""
    house.init()
    admin = admin_of(house)
    assert admin.uids == {os.geteuid()}
    assert admin.grants[0].permissions == frozenset(Permission)


def test_it_says_what_it_made_and_what_comes_next(house: Household) -> None:
    """Each thing that was made is named, and the next commands carry --config."""
    out = house.init().out.decode()
    for path in (house.config_path, house.policy_path, house.state, house.socket.parent):
        assert str(path) in out
    assert f"\n  jarvis-secretsd --config {house.config_path} check\n" in out
    assert f"\n  jarvis-secretsd --config {house.config_path}\n" in out
    assert f"\n  export JARVIS_SECRETS_SOCKET={house.socket}\n" in out
    assert "\n  export JARVIS_CLIENT_ID=admin\n" in out


def test_config_is_taken_on_either_side(house: Household) -> None:
    """`--config` before the command's name does what it does after it."""
    before = house.init_options[:2]
    assert house.run(*before, "init", *house.init_options[2:]).status == DaemonExit.OK
    assert house.run("check", *before).status == DaemonExit.OK


@pytest.mark.parametrize("there", ["policy.yaml", "config.toml"])
def test_nothing_is_overwritten(house: Household, there: str) -> None:
    """With one of the files there nothing is written at all, and that file is named."""
    house.config_path.parent.mkdir()
    path = house.config_path.with_name(there)
    path.write_text("mine")
    ended = house.init()
    assert ended.status == DaemonExit.MUST_MEND
    assert f"{path} is there already" in ended.err
    assert path.read_text() == "mine"
    assert [each.name for each in house.home.iterdir()] == ["etc"]
    assert list(house.config_path.parent.iterdir()) == [path]


def test_both_files_that_are_there_are_named(house: Household) -> None:
    """A second `init` names the configuration and the policy."""
    house.init()
    err = house.init().err
    assert str(house.config_path) in err
    assert str(house.policy_path) in err


def test_a_dangling_link_is_not_written_through(house: Household) -> None:
    """A link at the configuration's path counts as there, wherever it leads."""
    house.config_path.parent.mkdir()
    house.config_path.symlink_to(house.home / "elsewhere")
    assert house.init().status == DaemonExit.MUST_MEND
    assert not (house.home / "elsewhere").exists()


def test_a_failure_half_way_leaves_nothing(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last file can't be written, those before it are taken back."""
    create = files.create_private

    def full(path: Path, data: bytes) -> None:
        if path == house.config_path:
            raise StorageFull(f"{path}: full")
        create(path, data)

    monkeypatch.setattr(files, "create_private", full)
    assert house.init().status == DaemonExit.FAILURE
    assert list(house.home.iterdir()) == []


def test_what_was_there_before_a_failure_stays(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what this run made is taken back."""
    house.state.mkdir(mode=0o700)

    def full(path: Path, _data: bytes) -> None:
        raise StorageFull(f"{path}: full")

    monkeypatch.setattr(files, "create_private", full)
    house.init()
    assert list(house.home.iterdir()) == [house.state]


def test_tcp_is_written_into_the_configuration(house: Household) -> None:
    """`--tcp` is where the daemon will listen too."""
    house.init("--tcp", "127.0.0.1:8081")
    assert str(house.config.server.tcp) == "127.0.0.1:8081"


@pytest.mark.parametrize("address", ["localhost:8081", "0.0.0.0:8081", "8081", 'x"\n[paths]'])
def test_an_address_that_cannot_be_is_refused_before_anything_is_made(
    house: Household, address: str
) -> None:
    """What wouldn't load is never written."""
    assert house.init("--tcp", address).status == DaemonExit.MUST_MEND
    assert list(house.home.iterdir()) == []


def test_a_user_that_is_not_there_comes_with_the_command_that_makes_it(house: Household) -> None:
    """An unknown --user is refused, and the refusal names useradd."""
    ended = house.init("--user", "no-such-user")
    assert ended.status == DaemonExit.MUST_MEND
    assert "useradd" in ended.err
    assert list(house.home.iterdir()) == []


@pytest.mark.parametrize("said", ["enzo-nobody-knows", "-1", "0x3e8", "99999999999"])
def test_a_sudo_that_names_nobody_does_not_make_root_admin(
    house: Household, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """A SUDO_UID that is no user is refused; nobody is guessed."""
    monkeypatch.setenv("SUDO_UID", said)
    ended = house.init()
    assert ended.status == DaemonExit.MUST_MEND
    assert "SUDO_UID" in ended.err
    assert list(house.home.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_with_a_way_out(house: Household) -> None:
    """Below a file nothing can be made, and the refusal says so without a traceback."""
    (house.home / "etc").write_text("a file")
    assert house.init().status == DaemonExit.MUST_MEND
    assert [each.name for each in house.home.iterdir()] == ["etc"]


@pytest.mark.root
def test_under_sudo_the_admin_is_the_person(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root by sudo(8): the person is admin and runs the daemon, which can read root's files."""
    monkeypatch.setenv("SUDO_UID", str(PERSON_UID))
    monkeypatch.setenv("SUDO_USER", "root")
    ended = house.init()
    assert b"sudo -u" not in ended.out, "the person starts it in a shell of their own"
    assert admin_of(house).uids == {PERSON_UID}
    assert "root container" not in ended.err
    assert mode_of(house.config_path) == f"0:{PERSON_UID} 0640"
    assert mode_of(house.policy_path) == f"0:{PERSON_UID} 0640"
    assert mode_of(house.config_path.parent) == "0:0 0755"
    assert mode_of(house.state) == f"{PERSON_UID}:{PERSON_UID} 0700"
    assert mode_of(house.socket.parent) == f"{PERSON_UID}:{PERSON_UID} 0755"


@pytest.mark.root
def test_the_name_of_sudo_alone_is_enough(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SUDO_USER without SUDO_UID names the admin, as a name."""
    monkeypatch.setenv("SUDO_USER", "daemon")
    house.init()
    assert "users: [daemon]" in house.policy_path.read_text()


@pytest.mark.root
def test_root_itself_is_told_what_its_being_admin_means(house: Household) -> None:
    """Only a root that nobody became by sudo is admin, with the warning about containers."""
    ended = house.init()
    assert admin_of(house).uids == {0}
    assert "Every container" in ended.err


@pytest.mark.root
def test_a_daemon_of_another_user_finds_everything_its_own(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --user everything is that user's, `check` looks as that user, and bars nobody."""
    monkeypatch.setenv("SUDO_UID", str(PERSON_UID))
    assert house.init("--user", str(DAEMON_UID)).status == DaemonExit.OK
    assert mode_of(house.state) == f"{DAEMON_UID}:{DAEMON_UID} 0700"
    ended = house.command("check")
    assert ended.status == DaemonExit.OK, ended.lines
    assert ended.lines[0].startswith(f"checked as {DAEMON_UID};")
    assert not any("can't" in line for line in ended.lines)


@pytest.mark.root
def test_a_daemon_starts_on_what_init_wrote(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its own user it makes its vault and listens, and the person may connect and is admin."""
    monkeypatch.setenv("SUDO_UID", str(PERSON_UID))
    house.init("--user", str(DAEMON_UID))
    command = [*PROGRAM, "--config", str(house.config_path)]
    ask = "from jarvis_secretsd.cli.user import main; main()"
    environment = {"JARVIS_SECRETS_SOCKET": str(house.socket), "JARVIS_CLIENT_ID": "admin"}
    with subprocess.Popen(
        command, cwd="/", stderr=subprocess.PIPE, **as_user(DAEMON_UID)
    ) as daemon:
        assert daemon.stderr is not None
        while b"listening" not in (line := daemon.stderr.readline()):
            assert line, "the daemon ended"
        assert "the daemon is running" in house.command("check").lines[0]
        asked = subprocess.run(
            [sys.executable, "-c", ask, "can", "read", "any_name"],
            check=False,
            capture_output=True,
            env=environment,
            cwd="/",
            **as_user(PERSON_UID),
        )
        daemon.terminate()
        daemon.stderr.read()
    assert asked.returncode == 0, asked.stderr
    assert daemon.returncode == 0


@pytest.mark.root
def test_a_state_directory_of_somebody_else_is_refused(house: Household) -> None:
    """A directory that the daemon couldn't use is refused with the chown that mends it."""
    house.state.mkdir(mode=0o700)
    ended = house.init("--user", str(DAEMON_UID))
    assert ended.status == DaemonExit.MUST_MEND
    assert f"chown {DAEMON_UID} {house.state}" in ended.err
    assert list(house.home.iterdir()) == [house.state]


@pytest.mark.root
def test_root_does_not_write_where_others_could_exchange_the_way(house: Household) -> None:
    """A configuration below a directory of another user isn't root's to write."""
    house.config_path.parent.mkdir()
    os.chown(house.config_path.parent, PERSON_UID, PERSON_UID)
    assert house.init().status == DaemonExit.MUST_MEND
    assert list(house.config_path.parent.iterdir()) == []


@pytest.mark.root
def test_a_state_below_a_directory_of_the_daemons_user_is_made_for_it(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/opt/jarvis`, owned by the person, gets a state directory of theirs under sudo."""
    monkeypatch.setenv("SUDO_UID", str(PERSON_UID))
    above = house.home / "opt"
    above.mkdir()
    os.chown(above, PERSON_UID, PERSON_UID)
    house.state = above / "secrets"
    assert house.init().status == DaemonExit.OK
    assert mode_of(house.state) == f"{PERSON_UID}:{PERSON_UID} 0700"


def as_ordinary_user(house: Household, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `init` as a user of nothing but a home."""
    home = house.home / "home"
    home.mkdir(exist_ok=True)
    os.chown(home, PERSON_UID, PERSON_UID)
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
    return subprocess.run(
        [*PROGRAM, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
        **as_user(PERSON_UID),
    )


@pytest.mark.root
def test_an_ordinary_user_is_told_about_sudo_and_config(house: Household) -> None:
    """Without a right to /etc the way out is named, and nothing is made."""
    ended = as_ordinary_user(house, "init")
    assert ended.returncode == DaemonExit.MUST_MEND
    assert "--config" in ended.stderr
    assert "sudo" in ended.stderr
    assert list((house.home / "home").iterdir()) == []


@pytest.mark.root
def test_an_ordinary_user_gets_everything_at_home(house: Household) -> None:
    """State below ~/.local/state, the socket below XDG_RUNTIME_DIR, all for the user alone."""
    home = house.home / "home"
    ended = as_ordinary_user(house, "init", "--config", str(home / "cfg" / "config.toml"))
    assert ended.returncode == DaemonExit.OK, ended.stderr
    owner = f"{PERSON_UID}:{PERSON_UID}"
    assert mode_of(home / ".local" / "state" / "jarvis-secretsd") == f"{owner} 0700"
    assert mode_of(home / "run" / "jarvis") == f"{owner} 0700"
    assert mode_of(home / "cfg" / "policy.yaml") == f"{owner} 0600"


@pytest.mark.root
def test_an_ordinary_user_cannot_make_files_for_another(house: Household) -> None:
    """--user is root's to use."""
    ended = as_ordinary_user(house, "init", "--user", "daemon")
    assert ended.returncode == DaemonExit.MUST_MEND
    assert "only root" in ended.stderr


@pytest.mark.root
def test_another_users_daemon_is_started_by_a_command_that_sudo_finds(house: Household) -> None:
    """Of a venv, which is on no PATH of sudo's, the whole path is printed."""
    said = house.init("--user", "daemon").out.decode()
    assert f"sudo -u daemon {sys.prefix}/bin/jarvis-secretsd" in said
