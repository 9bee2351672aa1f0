"""`units:` of the policy against a real systemd, and what users try to pass for a unit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.consumers import TAKEN, Consumers, UserManager, logged_in
from tests.systemd.host import PORT, SERVICE, SOCKET, TCP_SOCKET

pytestmark = pytest.mark.systemd("runs programs as units")

BACKEND = "backend: {users: [web], units: [backend.service], allow: [plain]}"
OTHER_BACKEND = BACKEND.replace("[web]", "[other]")
GET = "/usr/local/bin/jarvis-secrets get plain"
ASKS = (
    f"Environment=JARVIS_CLIENT_ID=backend JARVIS_SECRETS_SOCKET={SOCKET} HOME=/\n"
    f"Type=oneshot\nExecStart=/bin/sh -c '{GET} >{TAKEN}/got'\n"
)
AS_WEB = "User=web\n"


def tree() -> Path:
    """Where the unified hierarchy of cgroups is mounted."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"), Path("/"))


GROUPED = f"""\
import os, subprocess, sys
own = open("/proc/self/cgroup").read().strip().rpartition("::")[2]
group = "{tree()}" + own + "/" + sys.argv[1]
os.makedirs(group)
open(group + "/cgroup.procs", "w").write(str(os.getpid()))
print(open("/proc/self/cgroup").read())
as_whom = {{}} if os.geteuid() else {{"user": "web", "group": "web", "extra_groups": []}}
sys.exit(subprocess.call("{GET} >{TAKEN}/got", shell=True, **as_whom))
"""
"""Makes a cgroup below its own, enters it, and asks from there."""

LEAVES = f"""\
import json, os, socket, sys, time
near = socket.socket(socket.AF_UNIX)
near.connect("{SOCKET}")
if os.fork():
    os._exit(0)
time.sleep(0.3)
body = json.dumps(dict(op="get", name="plain", client="backend")).encode()
near.sendall(len(body).to_bytes(4, "big") + body)
open("{TAKEN}/answer", "wb").write(near.recv(4096))
"""
"""The process that connected is gone when its child asks over the connection."""


@pytest.fixture
def units(served: Consumers) -> Iterator[Consumers]:
    """`backend` is the user web in backend.service, and may read one secret."""
    served.begin()
    served.policy(BACKEND)
    yield served
    served.clear()


@pytest.fixture
def user(units: Consumers) -> Iterator[UserManager]:
    """The user `other` is logged in, and may be `backend` in that unit."""
    units.policy(OTHER_BACKEND)
    with logged_in(units.host, "other") as manager:
        yield manager


def got() -> bool:
    return (TAKEN / "got").exists() and (TAKEN / "got").read_bytes() == b"s3cret"


def refused_in(units: Consumers, unit: str | None) -> bool:
    """Was the last one who asked refused, as a program of this unit?"""
    last = units.entries(op="get")[-1]
    return not got() and (last["outcome"], last.get("unit")) == ("denied", unit)


def test_a_program_of_the_unit_gets_its_secret(units: Consumers) -> None:
    """The user and the unit fit; the audit log says which unit it was."""
    units.run("backend.service", AS_WEB + ASKS)
    assert got()
    (entry,) = units.entries(op="get")
    assert entry.items() >= {"unit": "backend.service", "transport": "unix"}.items()


def test_what_the_unit_starts_belongs_to_it(units: Consumers) -> None:
    """A child in a cgroup of its own below the unit's is the unit still, whatever it is called."""
    script = TAKEN / "script"
    script.write_text(GROUPED)
    asks = ASKS.replace(f"/bin/sh -c '{GET} >{TAKEN}/got'", f"/usr/bin/python3 {script} x.service")
    units.run("backend.service", f"{AS_WEB}Delegate=yes\n{asks}")
    assert got()


def test_a_unit_in_a_slice_of_the_system_s_is_known(units: Consumers) -> None:
    """As instances of a template are; one in a slice beside it is not."""
    units.run("backend.service", f"{AS_WEB}Slice=system-backend.slice\n{ASKS}")
    assert got()
    (TAKEN / "got").unlink()
    units.run("backend.service", f"{AS_WEB}Slice=apart.slice\n{ASKS}", ok=False)
    assert refused_in(units, None)


def test_a_unit_whose_name_the_kernel_keeps_for_itself_is_known(units: Consumers) -> None:
    """systemd calls the cgroup of `cpu.service` `_cpu.service`."""
    units.policy(BACKEND.replace("backend.service", "cpu.service"))
    units.run("cpu.service", AS_WEB + ASKS)
    assert got()


def test_the_same_user_elsewhere_is_not_the_unit(units: Consumers) -> None:
    """Neither in another unit, nor by `setpriv`, nor does the right unit help another user."""
    units.run("other.service", AS_WEB + ASKS, ok=False)
    assert refused_in(units, "other.service")
    units.host.secrets("get", "plain", client="backend", user="web", ok=False)
    assert not got()
    units.run("backend.service", "User=other\n" + ASKS, ok=False)
    assert not got()


def test_a_user_s_unit_of_that_name_is_not_it(units: Consumers, user: UserManager) -> None:
    """backend.service of a user's own manager lies below user.slice."""
    user.run("backend.service", ASKS, ok=False)
    assert refused_in(units, None)


def test_a_cgroup_of_that_name_is_not_it(units: Consumers) -> None:
    """Who was handed a part of the tree can make any name in it; its unit stays what it is."""
    units.policy(OTHER_BACKEND)
    script = TAKEN / "script"
    for place in ("backend.service", "system.slice/backend.service"):
        script.write_text(GROUPED)
        asks = ASKS.replace(
            f"/bin/sh -c '{GET} >{TAKEN}/got'", f"/usr/bin/python3 {script} {place}"
        )
        units.run("helper.service", f"User=other\nDelegate=yes\n{asks}", ok=False)
        assert f"/system.slice/helper.service/{place}" in units.host.journal("helper.service")
        assert refused_in(units, "helper.service")


def test_a_user_can_t_enter_the_unit_s_cgroup(units: Consumers, user: UserManager) -> None:
    """The kernel refuses the move, and systemd a unit of that name from a user."""
    units.policy(OTHER_BACKEND)
    units.run("backend.service", "ExecStart=/bin/sleep infinity\n")
    group = tree() / "system.slice/backend.service/cgroup.procs"
    move = units.host.run("sh", "-c", f"echo $$ >{group}", user="other", ok=False)
    assert "Permission denied" in move.stderr
    for unit in ("backend.service", "system-x.slice"):
        start = ("systemd-run", "--no-ask-password", f"--unit={unit}", "true")
        units.host.run(*start, user="other", ok=False)


def test_a_container_s_own_system_slice_is_not_the_host_s(units: Consumers) -> None:
    """What runs in a scope, as containers do, is in no unit, whatever cgroups are in there."""
    script = TAKEN / "script"
    script.write_text(GROUPED)
    environ = {"JARVIS_CLIENT_ID": "backend", "JARVIS_SECRETS_SOCKET": str(SOCKET), "HOME": "/"}
    scope = ("systemd-run", "--scope", "--quiet", "--slice=system.slice", "--property=Delegate=yes")
    command = ("/usr/bin/python3", str(script), "system.slice/backend.service")
    units.host.run(*scope, *command, environ=environ, ok=False)
    assert refused_in(units, None)


def test_who_connected_and_is_gone_is_in_no_unit(units: Consumers) -> None:
    """Its number may be another's by now; whoever goes on with the connection is refused."""
    script = TAKEN / "script"
    script.write_text(LEAVES)
    units.run("backend.service", f"{AS_WEB}Type=forking\nExecStart=/usr/bin/python3 {script}\n")
    units.host.until((TAKEN / "answer").exists)
    units.host.until(lambda: len((TAKEN / "answer").read_bytes()) > 0)
    assert b'"denied"' in (TAKEN / "answer").read_bytes()
    assert refused_in(units, None)


def test_a_policy_without_units_asks_for_none(units: Consumers) -> None:
    """What costs a read of /proc is done only where a line needs it."""
    units.policy("backend: {users: [web], allow: [plain]}")
    units.run("other.service", AS_WEB + ASKS)
    assert got()
    (entry,) = units.entries(op="get")
    assert "unit" not in entry


def test_a_reload_that_names_units_holds_for_who_is_connected(units: Consumers) -> None:
    """The unit of a connection from before is asked for with its next request."""
    units.policy("backend: {users: [web], allow: [plain]}")
    script = TAKEN / "script"
    script.write_text(
        f"""
import json, os, socket, time
near = socket.socket(socket.AF_UNIX)
near.connect("{SOCKET}")
def ask():
    body = json.dumps(dict(op="get", name="plain", client="backend")).encode()
    near.sendall(len(body).to_bytes(4, "big") + body)
    return near.recv(4096)
open("{TAKEN}/first", "wb").write(ask())
while not os.path.exists("{TAKEN}/go"):
    time.sleep(0.05)
open("{TAKEN}/answer", "wb").write(ask())
"""
    )
    units.run("backend.service", f"{AS_WEB}ExecStart=/usr/bin/python3 {script}\n")
    units.run("other.service", f"{AS_WEB}ExecStart=/bin/true\n")
    units.host.until((TAKEN / "first").exists)
    units.policy(BACKEND)
    (TAKEN / "go").touch()
    units.host.until((TAKEN / "answer").exists)
    units.host.until(lambda: b'"ok":true' in (TAKEN / "answer").read_bytes())
    first, second = units.entries(op="get")
    assert "unit" not in first
    assert second["unit"] == "backend.service"


def test_over_tcp_nobody_is_a_unit(units: Consumers) -> None:
    """The unit's own program, by another way, is refused: the kernel names no process there."""
    environ = f"JARVIS_SECRETS_SOCKET= JARVIS_SECRETS_URL=http://127.0.0.1:{PORT}"
    asks = ASKS.replace(f"JARVIS_SECRETS_SOCKET={SOCKET}", environ + " JARVIS_SECRETS_UID=jarvis")
    units.host.systemctl("stop", SERVICE)  # a socket is handed over at its start only
    units.host.systemctl("start", TCP_SOCKET, SERVICE)
    try:
        units.run("backend.service", AS_WEB + asks, ok=False)
    finally:
        units.host.systemctl("stop", TCP_SOCKET, SERVICE)
        units.host.systemctl("start", SERVICE)
    assert refused_in(units, None)
    assert units.entries(op="get")[-1]["transport"] == "tcp"


def test_a_daemon_that_can_t_see_processes_refuses(units: Consumers) -> None:
    """With ProtectProc=invisible nobody is in a unit, and nobody gets by for that."""
    units.host.drop_in("[Service]\nProtectProc=invisible\n", SERVICE, "proc.conf")
    units.host.systemctl("restart", SERVICE)
    try:
        units.run("backend.service", AS_WEB + ASKS, ok=False)
        assert refused_in(units, None)
    finally:
        Path(f"/etc/systemd/system/{SERVICE}.d/proc.conf").unlink()
        units.host.systemctl("daemon-reload")
        units.host.systemctl("restart", SERVICE)
    units.host.systemctl("start", "backend.service")
    assert got()
