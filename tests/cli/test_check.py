"""`jarvis-secretsd check`: each problem that it can find, made exactly; and that it only looks."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from jarvis_secretsd.cli.operator import DaemonExit
from jarvis_secretsd.daemon.keys import AuditSigner, new_master_key, public_to_pem
from jarvis_secretsd.daemon.lock import VaultLock
from jarvis_secretsd.daemon.startup import open_state
from jarvis_secretsd.values import MAX_VALUE_BYTES
from tests.cli.household import NOW, Household, listing, put

OTHER_UID = 61_003
DAEMON_UID = 61_001

Break = Callable[[Household], object]


def errors(house: Household) -> list[str]:
    """The errors that `check` finds; its status must agree with them."""
    ended = house.command("check")
    found = [line.removeprefix("error: ") for line in ended.lines if line.startswith("error: ")]
    assert ended.status == (DaemonExit.MUST_MEND if found else DaemonExit.OK)
    return found


def warnings(house: Household) -> list[str]:
    """The warnings of a household without errors."""
    ended = house.command("check")
    assert ended.status == DaemonExit.OK, ended.lines
    found = [line.removeprefix("warning: ") for line in ended.lines if line.startswith("warning: ")]
    return [text for text in found if "root container" not in text]  # whoever runs the tests


def add_client(house: Household, text: str) -> None:
    """Add lines to the policy."""
    with house.policy_path.open("a") as policy:
        policy.write(text)


def set_server(house: Household, **settings: str) -> None:
    """Write settings of [server] in front of the others."""
    added = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    for key in settings:
        for line in house.config_path.read_text().splitlines(keepends=True):
            if line.startswith(f"{key} = "):
                house.edit(house.config_path, line, "")
    house.edit(house.config_path, "[server]\n", f"[server]\n{added}")


def test_a_sound_household_is_fine(house: Household) -> None:
    """Nothing is wrong: status 0, and the key beside the vault is warned of, nothing else."""
    assert errors(house) == []
    (only,) = warnings(house)
    assert "lies beside the vault" in only


def test_before_the_first_start_it_is_fine(house: Household) -> None:
    """All files of the vault absent is a first start to come, and no error."""
    shutil.rmtree(house.state)
    house.state.mkdir(mode=0o700)
    assert errors(house) == []
    assert any("first start" in line for line in house.command("check").lines)


def break_config(house: Household) -> None:
    house.edit(house.config_path, "[paths]", "[pathz]")


def break_policy(house: Household) -> None:
    house.edit(house.policy_path, "permissions: [all]", "permissions: [al]")


def other_key(house: Household) -> None:
    (house.state / "master.key").write_bytes(new_master_key())


def other_public_key(house: Household) -> None:
    pem = public_to_pem(AuditSigner.generate().public_key)
    (house.state / "audit.sign.pub").write_bytes(pem)


def foreign_heads(house: Household) -> None:
    path = house.state / "vault.heads"
    data = path.read_bytes()
    assert b'"audit_seq":' in data
    path.write_bytes(data.replace(b'"audit_seq":', b'"audit_seq":1'))


def loose_lock(house: Household) -> None:
    lock = house.state / "vault.lock"
    lock.touch()
    lock.chmod(0o644)


def address_of_another_machine(house: Household) -> None:
    house.edit(house.config_path, "[security]", "[security]\ndeny_network_remote = false")
    set_server(house, bind_addr="203.0.113.7:8081")


def log_in_a_directory_of_root(house: Household) -> None:
    (house.home / "log").mkdir(mode=0o755)
    for name in ("audit.jsonl", "audit.sign.key", "audit.sign.pub"):
        (house.state / name).rename(house.home / "log" / name)
    house.edit(house.config_path, "state/audit", "log/audit")


def remove(name: str) -> Break:
    return lambda house: (house.state / name).unlink()


def loosen(name: str) -> Break:
    return lambda house: (house.state / name).chmod(0o644)


def garble(name: str) -> Break:
    return lambda house: (house.state / name).write_bytes(b"garbled\n")


BROKEN: dict[str, tuple[Break, str]] = {
    "no configuration": (lambda h: h.config_path.unlink(), "there is no configuration at"),
    "mistyped section": (break_config, "pathz"),
    "no TOML": (lambda h: h.config_path.write_text("[server"), "config.toml: "),
    "config writable": (lambda h: h.config_path.chmod(0o666), "chmod go-w"),
    "settings against each other": (
        lambda h: set_server(h, bind_addr="0.0.0.0:8081"),
        "server.bind_addr: other machines may reach",
    ),
    "no policy": (lambda h: h.policy_path.unlink(), "there is no policy at"),
    "faulty policy": (break_policy, "policy.yaml:"),
    "policy writable": (lambda h: h.policy_path.chmod(0o666), "chmod go-w"),
    "no state directory": (lambda h: shutil.rmtree(h.state), "install -d -m 0700"),
    "state writable by others": (lambda h: h.state.chmod(0o777), "that others can write to"),
    "no directory of the key": (
        lambda h: h.edit(h.config_path, "state/master.key", "nowhere/master.key"),
        "nowhere/master.key: its directory isn't there",
    ),
    "no vault": (remove("vault.json"), "there is no vault at"),
    "vault loose": (loosen("vault.json"), "vault.json has mode 0644"),
    "vault garbled": (garble("vault.json"), "vault.json"),
    "no key": (remove("master.key"), "master.key is missing"),
    "key loose": (loosen("master.key"), "master.key has mode 0644"),
    "key garbled": (garble("master.key"), "no master key"),
    "another key": (other_key, "opened none"),
    "no heads": (remove("vault.heads"), "vault.heads is missing"),
    "heads loose": (loosen("vault.heads"), "vault.heads has mode 0644"),
    "heads altered": (foreign_heads, "vault.heads was damaged"),
    "no log": (remove("audit.jsonl"), "audit.jsonl is missing"),
    "log loose": (loosen("audit.jsonl"), "audit.jsonl has mode 0644"),
    "no signing key": (remove("audit.sign.key"), "audit.sign.key, which signs"),
    "signing key loose": (loosen("audit.sign.key"), "audit.sign.key has mode 0644"),
    "signing key garbled": (garble("audit.sign.key"), "no unencrypted Ed25519"),
    "no public key": (remove("audit.sign.pub"), "openssl pkey"),
    "public key garbled": (garble("audit.sign.pub"), "is not an Ed25519 public key"),
    "another public key": (other_public_key, "is not the public half"),
    "lock loose": (loose_lock, "vault.lock has mode 0644"),
    "no socket directory": (lambda h: h.socket.parent.rmdir(), "install -d -m 0755"),
    "socket directory loose": (lambda h: h.socket.parent.chmod(0o777), "others can write to"),
    "no socket in its place": (lambda h: h.socket.touch(), "is not a socket"),
    "no such group": (
        lambda h: set_server(h, socket_group="no-such-group"),
        "groupadd no-such-group",
    ),
    "no such address": (address_of_another_machine, "is no address of this machine"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found(house: Household, name: str) -> None:
    """This one problem gives one error, which says what and where, and the status of errors."""
    make, told = BROKEN[name]
    make(house)
    (only,) = errors(house)
    assert told in only


def test_problems_of_all_parts_come_at_once(house: Household) -> None:
    """A fault in the configuration hides none in the policy, the files, or the socket."""
    house.edit(house.config_path, "[security]", "[limits]\nidle_secs = 0\n[security]")
    break_policy(house)
    loosen("vault.json")(house)
    loosen("audit.sign.key")(house)
    house.socket.parent.rmdir()
    found = "\n".join(errors(house))
    for told in ("limits.idle_secs", "policy.yaml:", "vault.json", "audit.sign.key", "install -d"):
        assert told in found


def test_a_faulty_section_takes_no_defaults_for_what_was_meant(house: Household) -> None:
    """Where [paths] is faulty the usual places aren't looked at, and it says that it didn't."""
    house.edit(house.config_path, "vault_path = ", "vault_pathh = ")
    (only,) = errors(house)
    assert "vault_pathh" in only
    assert "can't be told" in house.command("check").lines[0]
    assert any("not looked at: paths" in line for line in house.command("check").lines)


def test_a_port_that_is_taken_is_found(house: Household) -> None:
    """Another program on the TCP port is an error that says how to find it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        set_server(house, bind_addr=f"127.0.0.1:{port}")
        (only,) = errors(house)
    assert f"sport = :{port}" in only
    assert errors(house) == []


def test_the_port_of_a_running_daemon_is_its_own(house: Household) -> None:
    """While the vault is locked the port isn't tried, and the first line says that it runs."""
    lock = VaultLock(house.config.paths.lock_path)
    try:
        with socket.create_server(("127.0.0.1", 0)) as own:
            set_server(house, bind_addr=f"127.0.0.1:{own.getsockname()[1]}")
            assert errors(house) == []
            assert "the daemon is running" in house.command("check").lines[0]
    finally:
        lock.release()
    assert "not running" in house.command("check").lines[0]


def test_a_rotated_log_is_no_missing_log(house: Household) -> None:
    """Between logrotate's rename and the next write there is no file at the path."""
    log = house.state / "audit.jsonl"
    log.rename(log.with_name("audit.jsonl.1"))
    assert errors(house) == []


def test_a_vault_without_recovery_code_is_warned_of(house: Household) -> None:
    """The warning names the command that adds one."""
    shutil.rmtree(house.state)
    house.state.mkdir(mode=0o700)
    house.found(recovery=False)
    assert any("key add recovery" in text for text in warnings(house))


def test_a_key_elsewhere_is_not_warned_of(house: Household) -> None:
    """A master key that doesn't lie beside the vault is what the warning asks for."""
    (house.home / "keys").mkdir(mode=0o700)
    (house.state / "master.key").rename(house.home / "keys" / "master.key")
    house.edit(house.config_path, "state/master.key", "keys/master.key")
    assert warnings(house) == []


def test_a_passphrase_is_not_asked_for(house: Household) -> None:
    """With a passphrase only what can be told without it is checked, and it says so."""
    house.edit(house.config_path, "[security]", '[crypto]\nunlock = "passphrase"\n[security]')
    ended = house.command("check")
    assert ended.status == DaemonExit.OK
    assert any("passphrase" in line for line in ended.lines if line.startswith("note: "))


def test_odd_lines_of_the_policy_are_warned_of(house: Household) -> None:
    """A client that binds nobody is a warning with the line to add."""
    add_client(house, "  lonely:\n    allow: [x]\n")
    assert any("clients.lonely" in text and "users:" in text for text in warnings(house))


def test_credentials_that_are_too_large_together_are_warned_of(house: Household) -> None:
    """systemd gives a unit 1 MiB of them in all; which it is, only the vault's values show."""
    names = [f"large{number}" for number in range(4)]
    add_client(house, f"  web:\n    units: [web.service]\n    allow: [{', '.join(names)}]\n")
    assert not any("web.service" in text for text in warnings(house))
    with closing(open_state(house.config.paths, house.master(), NOW)) as state:
        for name in names:
            put(state, name, b"x" * MAX_VALUE_BYTES)
    (only,) = (text for text in warnings(house) if "web.service" in text)
    assert "have 1,048,600 bytes together, and systemd takes 1,048,576" in only


def test_a_user_whom_the_sockets_mode_keeps_out_is_warned_of(house: Household) -> None:
    """A bound user that may not open the socket comes with the setting that lets it."""
    add_client(house, f'  backend:\n    users: ["{OTHER_UID}"]\n    allow: [x]\n')
    set_server(house, socket_mode="0666")
    house.socket.parent.chmod(0o755)
    assert not any("clients.backend" in text for text in warnings(house))
    set_server(house, socket_mode="0600")
    (only,) = (text for text in warnings(house) if "clients.backend" in text)
    assert "socket_mode" in only
    assert str(OTHER_UID) in only


def test_a_user_of_the_host_is_let_in_by_usermod(house: Household) -> None:
    """Where the socket's group may open it, the remedy is the command that adds the user to it."""
    add_client(house, "  backend:\n    users: [daemon]\n    allow: [x]\n")
    set_server(house, socket_mode="0660")
    house.socket.parent.chmod(0o2755)
    gid = next((gid for gid in os.getgroups() if gid), 60_123)
    if os.geteuid() == 0:
        os.chown(house.socket.parent, -1, gid)
        house.socket.parent.chmod(0o2755)
    (only,) = (text for text in warnings(house) if "clients.backend" in text)
    assert "usermod -aG" in only
    assert only.endswith("daemon, and restart its programs")


def test_a_directory_that_bars_the_way_is_named(house: Household) -> None:
    """A user that can't enter a directory before the socket is told which, whatever its mode."""
    add_client(house, f'  backend:\n    users: ["{OTHER_UID}"]\n    allow: [x]\n')
    set_server(house, socket_mode="0666")
    house.socket.parent.chmod(0o700)
    (only,) = (text for text in warnings(house) if "clients.backend" in text)
    assert f"chmod o+x {house.socket.parent}" in only


def test_json_holds_what_the_lines_say(house: Household) -> None:
    """`--json` prints one object with errors and warnings, and has the same status."""
    loosen("vault.json")(house)
    ended = house.command("check", "--json")
    found = json.loads(ended.out)
    assert ended.status == DaemonExit.MUST_MEND
    assert found["errors"] == errors(house)
    assert found["uid"] == os.geteuid()


def test_looking_changes_nothing(house: Household) -> None:
    """No file is made, written, or has another mode; no lock file appears."""
    before = listing(house.home)
    house.command("check")
    assert listing(house.home) == before


def test_a_daemon_for_oneself_can_be_checked_too(
    house: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--dev check` looks at what --dev stands for."""
    monkeypatch.setenv("XDG_STATE_HOME", str(house.home / "dev"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(house.home))
    ended = house.run("--dev", "check")
    assert ended.status == DaemonExit.MUST_MEND
    assert str(house.home / "dev" / "jarvis-secretsd") in ended.out.decode()


@pytest.fixture
def served(house: Household) -> Household:
    """The same household, whose daemon is another user's."""
    for path in (house.state, house.socket.parent, *house.state.iterdir()):
        os.chown(path, DAEMON_UID, DAEMON_UID)
    for path in (house.config_path, house.policy_path):
        os.chown(path, 0, DAEMON_UID)
    return house


@pytest.mark.root
def test_root_looks_as_the_owner_of_the_state(served: Household) -> None:
    """What is in order for the daemon's user is in order, and the first line says who looked."""
    assert errors(served) == []
    assert served.command("check").lines[0].startswith(f"checked as {DAEMON_UID};")
    assert os.geteuid() == 0


ROOT_BROKEN: dict[str, tuple[Break, str]] = {
    "config unreadable": (lambda h: h.config_path.chmod(0o600), "config.toml: Permission denied"),
    "policy unreadable": (lambda h: h.policy_path.chmod(0o600), "policy.yaml: Permission denied"),
    "vault of root": (lambda h: os.chown(h.state / "vault.json", 0, 0), "vault.json"),
    "log in a directory of root": (log_in_a_directory_of_root, "belongs to uid 0"),
    "state not writable": (lambda h: h.state.chmod(0o500), "chmod u+rwx"),
    "socket directory of root": (
        lambda h: os.chown(h.socket.parent, 0, 0),
        "can't make its socket there",
    ),
    "group of others": (lambda h: set_server(h, socket_group="adm"), "usermod -aG adm"),
}


@pytest.mark.root
@pytest.mark.parametrize("name", ROOT_BROKEN)
def test_what_only_the_daemons_user_trips_over_is_found(served: Household, name: str) -> None:
    """Root would pass all of these; the daemon wouldn't, so `check` doesn't."""
    make, told = ROOT_BROKEN[name]
    make(served)
    assert any(told in text for text in errors(served))


@pytest.mark.root
@pytest.mark.parametrize(("owner", "is_error"), [(OTHER_UID, True), (0, False)])
def test_somebody_elses_socket_is_found(served: Household, owner: int, is_error: bool) -> None:
    """Another user's socket stops a start; root's where nobody listens is a warning."""
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(str(served.socket))
        os.chown(served.socket, owner, owner)
        found = errors(served) if is_error else warnings(served)
    assert any("rm " in text and str(served.socket) in text for text in found)


@pytest.mark.root
def test_a_socket_of_root_where_somebody_listens_is_systemds(served: Household) -> None:
    """Under a socket unit everything is in order, and nobody is told to remove a thing."""
    with socket.socket(socket.AF_UNIX) as unit:
        unit.bind(str(served.socket))
        unit.listen()
        os.chown(served.socket, 0, 0)
        assert not any(str(served.socket) in text for text in warnings(served))


@pytest.mark.root
def test_root_verifies_the_log_with_the_heads_of_the_daemons_user(served: Household) -> None:
    """What only the heads know, a missing end, isn't missed since the files are another's."""
    ended = served.command("audit", "verify")
    assert ended.status == 0
    assert any(line.startswith("compared: the heads file") for line in ended.lines), ended.lines


@pytest.mark.root
def test_a_low_port_is_a_warning(served: Household) -> None:
    """A port below 1024 takes a capability that `check` can't see, so it only warns."""
    set_server(served, bind_addr="127.0.0.1:81")
    assert any("CAP_NET_BIND_SERVICE" in text for text in warnings(served))
