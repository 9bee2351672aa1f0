"""The daemon as a service: what systemd sees of it, what it does to it, and what it keeps away."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.systemd.host import (
    ASK,
    ASK_TCP,
    CONFIG,
    ETC_UNITS,
    POLICY,
    POLICY_TEXT,
    PORT,
    REFUSED,
    SERVICE,
    SOCKET,
    STATE,
    TCP_SOCKET,
    TREE,
    UNITS,
    UNIX_SOCKET,
    Host,
)

pytestmark = pytest.mark.systemd("runs the daemon as a service")

UNIT = TREE / "systemd" / SERVICE
MAX_EXPOSURE = 1.5

CONSUMER = """\
[Service]
Type=oneshot
User=web
ExecStart=/usr/local/bin/jarvis-secrets run -- /bin/sh -c 'echo "got $WEB_PASSWORD" >&2'
"""

HOOK = """\
#!/usr/bin/python3
import json, os, sys
told = {"environ": dict(os.environ), "descriptors": os.listdir("/proc/self/fd"), "uid": os.getuid()}
with open("/var/lib/jarvis-secretsd/hook.json", "w") as file:
    json.dump(told, file)

"""


def test_every_unit_is_one_that_systemd_understands(installed: Host) -> None:
    """Of each unit that is shipped, systemd-analyze has nothing to say."""
    assert {SERVICE, UNIX_SOCKET, TCP_SOCKET, REFUSED} <= {*UNITS}
    ended = installed.run("systemd-analyze", "verify", "--man=no", *UNITS, ok=None)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_service_is_exposed_to_little_and_says_why(installed: Host) -> None:
    """At most 1.5 of 10 by systemd's measure, and a comment names what each tenth is for."""
    ended = installed.run("systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", ended.stdout)
    assert found and float(found[1]) <= MAX_EXPOSURE, ended.stdout
    comments = "".join(line for line in UNIT.read_text().splitlines() if line.startswith("#"))
    open_doors = re.findall(r"^✗ (\w+)=", ended.stdout, re.MULTILINE)
    assert open_doors
    assert [door for door in open_doors if f"{door}=" not in comments] == []


def test_it_runs_as_its_own_user_without_any_capability(host: Host) -> None:
    """What serves is jarvis, with no capability to use or to gain."""
    status = Path(f"/proc/{host.pid}/status").read_text()
    uid = stat_of(STATE).st_uid
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    assert re.findall(r"^Cap\w+:\t(\w+)", status, re.MULTILINE) == ["0" * 16] * 5
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status


def test_only_the_daemon_may_listen_where_its_clients_look(host: Host) -> None:
    """Anyone may connect; nobody but root and the daemon's user may put anything beside it."""
    assert stat.S_IMODE(stat_of(SOCKET).st_mode) == 0o666
    assert stat.S_IMODE(stat_of(SOCKET.parent).st_mode) == 0o755
    assert stat_of(SOCKET.parent).st_uid == stat_of(STATE).st_uid
    assert (
        "Permission denied"
        in host.run("touch", f"{SOCKET.parent}/mine", user="other", ok=False).stderr
    )


def test_tcp_is_there_only_for_who_enables_it(host: Host) -> None:
    """Without its unit no port is open; enabled, it comes with a restart and is held from then."""
    assert not is_listening(PORT)
    host.systemctl("enable", TCP_SOCKET)
    host.systemctl("restart", SERVICE)
    assert is_listening(PORT)
    host.systemctl("stop", SERVICE)
    assert is_listening(PORT)


def test_a_boot_makes_the_sockets_directory_again(host: Host) -> None:
    """/run is empty after a boot; tmpfiles.d makes the directory before any socket is made."""
    host.systemctl("stop", UNIX_SOCKET)
    shutil.rmtree(SOCKET.parent)
    host.run("systemd-tmpfiles", "--create", "--boot", "jarvis-secretsd.conf")
    assert stat_of(SOCKET.parent).st_uid == stat_of(STATE).st_uid
    host.systemctl("start", UNIX_SOCKET)
    assert "ok" in host.secrets("status")


def test_the_status_line_follows_what_is(host: Host) -> None:
    """`systemctl status` says how many secrets are served, and follows within seconds."""
    assert host.status == "serving 0 secrets"
    host.put("a", "1")
    host.put("b", "2")
    host.until(lambda: host.status == "serving 2 secrets")


@pytest.fixture
def small_disk(host: Host) -> Iterator[Path]:
    """The state's disk holds 4 MiB, and a file on it fills what is left of that."""
    host.systemctl("stop", UNIX_SOCKET)
    host.run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(STATE))
    host.systemctl("start", SERVICE)
    yield STATE / "fill"
    host.systemctl("stop", UNIX_SOCKET)
    host.run("umount", str(STATE))


def test_a_full_disk_is_in_the_status_line(host: Host, small_disk: Path) -> None:
    """While the disk refuses, the line says why nothing is served, and then that all is well."""
    host.put("a", "1")
    host.run("dd", "if=/dev/zero", f"of={small_disk}", "bs=64k", ok=False)
    host.until(lambda: "storage_full" in host.secrets("get", "a", ok=None) + host.status)
    host.until(lambda: host.status == "nothing is served: storage_full")
    small_disk.unlink()
    host.until(lambda: host.status == "serving 1 secrets")
    assert host.secrets("get", "a") == "1"


def test_a_reload_puts_a_policy_in_force(host: Host) -> None:
    """`systemctl reload` lets in who the new policy knows; the process stays."""
    before = host.pid
    assert "denied" in host.secrets("list", client="new", user="other", ok=False)
    POLICY.write_text(POLICY_TEXT + "  new: {users: [other], allow: [x]}\n")
    host.systemctl("reload", SERVICE)
    host.until(lambda: "denied" not in host.secrets("list", client="new", user="other", ok=None))
    assert host.pid == before
    assert host.show("ActiveState") == "active"


def test_a_broken_policy_changes_nothing_and_is_in_the_status_line(host: Host) -> None:
    """After a reload that failed the old policy is in force, and the line says so until mended."""
    host.put("web_password", "w")
    POLICY.write_text(POLICY_TEXT + "  broken: {user: [other]}\n")
    host.systemctl("reload", SERVICE)
    host.until(lambda: "policy not reloaded: the policy in force stays: " in host.status)
    assert "policy.yaml" in host.status
    assert host.status.startswith("serving 1 secrets; ")
    assert host.secrets("get", "web_password", client="web", user="web") == "w"
    assert host.show("ActiveState") == "active"
    POLICY.write_text(POLICY_TEXT)
    host.systemctl("reload", SERVICE)
    host.until(lambda: host.status == "serving 1 secrets")


def test_a_loop_that_hangs_is_killed_and_one_that_idles_is_not(host: Host) -> None:
    """The watchdog is fed by the loop: asleep without any work it stays, stopped it is replaced."""
    host.drop_in("[Service]\nWatchdogSec=1\nRestartSec=0\n")
    host.systemctl("restart", SERVICE)
    idle = host.pid
    time.sleep(2.5)
    assert host.pid == idle
    assert host.show("NRestarts") == "0"
    os.kill(idle, signal.SIGSTOP)
    host.until(lambda: host.pid not in (0, idle) and host.show("ActiveState") == "active")
    assert "Watchdog timeout" in host.journal()
    assert "ok" in host.secrets("status")


def test_a_crash_is_mended_by_itself(host: Host) -> None:
    """After SIGKILL it is started again, with all that was stored, on the same socket."""
    host.put("a", "1")
    before, place = host.pid, stat_of(SOCKET).st_ino
    os.kill(before, signal.SIGKILL)
    assert host.secrets("get", "a") == "1"
    assert host.pid != before
    assert stat_of(SOCKET).st_ino == place


def test_a_vault_that_was_turned_back_is_refused_once(host: Host) -> None:
    """Exit status 79 isn't restarted, whoever knocks: the sockets close until somebody mends it."""
    host.put("a", "1")
    host.systemctl("stop", UNIX_SOCKET)
    vault = STATE / "vault.json"
    shutil.copy2(vault, STATE / "old")
    host.systemctl("start", SERVICE)
    host.put("a", "2")
    host.systemctl("stop", UNIX_SOCKET)
    shutil.copy2(vault, STATE / "new")
    shutil.copy2(STATE / "old", vault)
    shutil.chown(vault, "jarvis", "jarvis")
    host.systemctl("start", UNIX_SOCKET)

    assert "web_password" not in host.secrets("get", "a", ok=False)  # knocks, and starts it
    host.until(lambda: host.show("ActiveState") == "failed")
    host.until(lambda: host.show("ActiveState", UNIX_SOCKET) == "inactive")
    for _ in range(3):
        host.secrets("get", "a", ok=False)
    time.sleep(2.5)  # longer than RestartSec=
    assert host.show("ExecMainStatus") == "79"
    assert host.journal().count("Main process exited") == 1
    assert "accept-state" in host.status

    shutil.copy2(STATE / "new", vault)
    shutil.chown(vault, "jarvis", "jarvis")
    host.systemctl("start", SERVICE)
    assert host.secrets("get", "a") == "2"
    assert host.show("ActiveState", UNIX_SOCKET) == "active"
    assert host.show("ActiveState", REFUSED) == "inactive"


def test_a_broken_policy_at_a_start_is_not_tried_again(host: Host) -> None:
    """Exit status 78: something must be mended first, and the status line says what."""
    POLICY.write_text("clients: {}\nclients: {}\n")
    host.systemctl("restart", SERVICE, ok=False)
    assert host.show("ExecMainStatus") == "78"
    time.sleep(2.5)  # longer than RestartSec=
    assert host.show("ActiveState") == "failed"
    assert host.journal().count("Main process exited") == 1
    assert host.status.startswith("ended: policy.yaml")


def test_a_vault_that_a_command_holds_is_waited_for(host: Host) -> None:
    """Exit status 75 passes by itself: when the command has ended the service comes up."""
    host.drop_in("[Service]\nRestartSec=200ms\n")
    host.systemctl("stop", UNIX_SOCKET)
    lock = STATE / "vault.lock"
    with subprocess.Popen(["flock", str(lock), "sleep", "60"], start_new_session=True) as holder:
        host.systemctl("start", SERVICE, ok=False)
        host.until(lambda: int(host.show("NRestarts")) >= 1)
        os.killpg(holder.pid, signal.SIGKILL)
    host.until(lambda: host.show("ActiveState") == "active")
    assert "status=75" in host.journal()


def test_a_hook_inherits_nothing_of_the_manager(host: Host) -> None:
    """No variable and no descriptor of systemd's reaches a hook, which runs as the daemon does."""
    hook = Path("/usr/local/bin/test-hook")
    hook.write_text(HOOK)
    hook.chmod(0o755)
    host.drop_in("[Service]\nWatchdogSec=5\nLoadCredential=extra:/etc/hostname\n")
    CONFIG.write_text(CONFIG.read_text() + f'\n[[hooks]]\npattern = "far"\ncommand = ["{hook}"]\n')
    host.systemctl("enable", TCP_SOCKET)
    host.systemctl("restart", SERVICE)
    environ = Path(f"/proc/{host.pid}/environ").read_text()
    for name in ("LISTEN_FDS=", "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "CREDENTIALS_DIRECTORY="):
        assert name in environ
    host.put("far", "1")
    host.secrets("rotate", "far", "--wait")
    told = json.loads((STATE / "hook.json").read_text())
    assert {*told["environ"]} - {"LC_CTYPE"} == {"PATH", "LANG", "HOME", "JARVIS_HOOK"}
    assert len(told["descriptors"]) == 4  # three, and the one that lists them
    assert told["uid"] == stat_of(STATE).st_uid


def test_the_kernel_names_callers_on_both_sockets(host: Host) -> None:
    """Behind all hardening users are still told apart, on the Unix socket and over TCP."""
    host.systemctl("enable", TCP_SOCKET)
    host.systemctl("restart", SERVICE)
    host.put("web_password", "w")
    for over in (ASK, ASK_TCP):
        ask = partial(host.secrets, "get", "web_password", client="web", over=over)
        assert ask(user="web") == "w"
        refused = ask(user="other", ok=False)
        assert "denied" in refused
    assert '"transport":"tcp"' in (STATE / "audit.jsonl").read_text()


def test_a_master_key_sealed_to_the_machine_opens_the_vault(host: Host) -> None:
    """As the unit says it: the key as an encrypted credential, and no key file is left."""
    host.put("a", "1")
    host.systemctl("stop", UNIX_SOCKET)
    for line in credential_commands():
        host.run(
            "sh",
            "-ec",
            line.replace(
                "sudo -u jarvis", "setpriv --reuid jarvis --regid jarvis --init-groups --reset-env"
            ),
        )
    (STATE / "master.key").unlink()
    text = CONFIG.read_text()
    CONFIG.write_text(text + '\n[crypto]\nunlock = "credential"\n')
    host.systemctl("start", SERVICE)
    assert host.secrets("get", "a") == "1"
    host.systemctl("restart", SERVICE)
    assert host.secrets("get", "a") == "1"
    assert [*STATE.glob("*.key")] == [STATE / "audit.sign.key"]
    shutil.rmtree("/etc/credstore.encrypted")
    host.systemctl("restart", SERVICE, ok=False)
    assert "the systemd credential jarvis-master-key isn't there" in host.status


def test_a_passphrase_opens_the_vault_behind_the_hardening(host: Host) -> None:
    """argon2id has the memory that it takes, also where no memory may be made executable."""
    host.systemctl("stop", UNIX_SOCKET)
    shutil.rmtree(STATE)
    place = Path("/etc/passphrase")
    place.write_text("a long enough passphrase of the test\n")
    place.chmod(0o600)
    host.drop_in(f"[Service]\nLoadCredential=jarvis-passphrase:{place}\n")
    CONFIG.write_text(CONFIG.read_text() + '\n[crypto]\nunlock = "passphrase"\n')
    host.systemctl("start", SERVICE)
    host.put("a", "1")
    host.systemctl("restart", SERVICE)
    assert host.secrets("get", "a") == "1"


def test_who_starts_before_the_daemon_waits_by_itself(host: Host) -> None:
    """A consumer with the example's drop-in gets its secret though the daemon didn't run yet."""
    host.put("web_password", "w")
    (ETC_UNITS / "web.service").write_text(CONSUMER)
    drop_in = TREE / "systemd/examples/web.service.d/secrets.conf"
    host.drop_in(drop_in.read_text(), "web.service", drop_in.name)
    host.systemctl("stop", UNIX_SOCKET)
    assert not SOCKET.exists()
    host.systemctl("start", "web.service")
    assert "got w" in host.journal("web.service")
    assert host.show("ActiveState") == "active"


def test_what_init_and_the_units_say_agrees(installed: Host) -> None:
    """Where the units are installed `init` names the commands that start them, and they do."""
    installed.reset()
    said = installed.run("jarvis-secretsd", "init", "--user", "jarvis").stdout
    assert "  sudo jarvis-secretsd key add recovery\n" in said
    assert "  sudo systemctl enable --now jarvis-secretsd\n" in said
    assert "/run is empty" not in said
    installed.systemctl("enable", "--now", "jarvis-secretsd")
    assert installed.show("ActiveState", UNIX_SOCKET) == "active"
    assert installed.systemctl("is-enabled", UNIX_SOCKET).strip() == "enabled"
    installed.reset()


def test_an_installation_can_be_packed_and_taken_away(installed: Host, tmp_path: Path) -> None:
    """With DESTDIR all lies below it and knows nothing of it; `uninstall` leaves no file."""
    stage = tmp_path / "stage"
    where = [f"DESTDIR={stage}", "PREFIX=/usr", "VENVDIR=/usr/lib/jarvis"]
    subprocess.run(["make", "-C", TREE, "install", *where], check=True, capture_output=True)
    command = stage / "usr/bin/jarvis-secretsd"
    assert os.readlink(command) == "/usr/lib/jarvis/bin/jarvis-secretsd"
    script = (stage / "usr/lib/jarvis/bin/jarvis-secretsd").read_text()
    assert script.startswith("#!/usr/lib/jarvis/bin/python3\n")
    unit = (stage / "usr/lib/systemd/system" / SERVICE).read_text()
    assert "ExecStart=/usr/bin/jarvis-secretsd\n" in unit
    for folder in ("bin", "lib"):
        told = installed.run("grep", "-rlI", str(stage), str(stage / "usr" / folder), ok=None)
        assert told.stdout == ""
    subprocess.run(["make", "-C", TREE, "uninstall", *where], check=True, capture_output=True)
    assert [path for path in stage.rglob("*") if not path.is_dir()] == []
    assert Path("/usr/local/bin/jarvis-secretsd").exists()


def credential_commands() -> list[str]:
    """The commands in the unit's comment about the master key."""
    block = UNIT.read_text().partition("with the daemon stopped:\n")[2].partition("shred")
    lines = (block[0] + block[1] + block[2].partition("\n")[0]).replace("\\\n#", "")
    return [line.lstrip("# ") for line in lines.splitlines()]


def is_listening(port: int) -> bool:
    """Does a socket of this host listen there? The fourth field of a row is its state."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows[1:])


def stat_of(path: Path) -> os.stat_result:
    return os.lstat(path)
