"""`doctor` finds what is wrong around the daemon, says what to do, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from jarvis_secretsd.daemon.clocksync import is_synchronised
from jarvis_secretsd.daemon.config import Config, PathsConfig, ServerConfig
from jarvis_secretsd.daemon.doctor import Level, examine, machine
from jarvis_secretsd.daemon.doctor.containers import examine_containers
from jarvis_secretsd.daemon.doctor.leftovers import examine_leftovers
from jarvis_secretsd.daemon.doctor.living import examine_answers, examine_limits
from jarvis_secretsd.daemon.doctor.machine import (
    examine_clock,
    examine_disks,
    examine_swap,
    growth_per_day,
)
from jarvis_secretsd.daemon.doctor.processes import Process, holder_of
from jarvis_secretsd.daemon.doctor.symptoms import Symptoms
from jarvis_secretsd.daemon.heads import write_heads
from jarvis_secretsd.daemon.keys import DataKey
from tests.cli.household import Household, furnished, listing
from tests.daemon.test_heads import HEADS
from tests.daemon_process import DaemonProcess
from tests.domain.auditing import Writer
from tests.e2e.tools import needs


@pytest.fixture
def household(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Household]:
    """A sound household with a vault, whose configuration every user of the host may read."""
    with furnished(capfd, monkeypatch) as found:
        found.home.chmod(0o755)
        found.config_path.parent.chmod(0o755)
        yield found


def told(symptoms: Symptoms, level: Level) -> list[str]:
    return [str(one) for one in symptoms.found if one.level is level]


def paths_in(directory: Path) -> PathsConfig:
    return PathsConfig(
        directory / "vault.json", directory / "master.key", directory / "audit.jsonl"
    )


# ---- the whole


def test_a_sound_household_is_well(household: Household) -> None:
    """No fault; each thing that was looked at has its line, and so has what couldn't be."""
    diagnosis = examine(household.config_path, {}, None)
    assert diagnosis.count(Level.FAULT) == 0, diagnosis
    assert diagnosis.running is False
    looked_at = " ".join(map(str, diagnosis.symptoms))
    for subject in ("swap", "clock", "free", "no file of secrets", "the daemon doesn't run"):
        assert subject in looked_at


def test_what_check_finds_is_found(household: Household) -> None:
    """Its errors are faults, its warnings warnings, word for word."""
    household.policy_path.write_text("clients: {x: {users: [nobody-of-that-name]}}\n")
    household.edit(household.config_path, "[paths]", "[crypto]\nunlock = 'credential'\n[paths]")
    checked = json.loads(household.command("check", "--json").out)
    diagnosis = examine(household.config_path, {}, None)
    faults = [one.what for one in diagnosis.symptoms if one.level is Level.FAULT]
    assert checked["errors"]
    assert set(checked["errors"]) <= set(faults)


def test_it_changes_nothing(household: Household) -> None:
    """Nor does it leave a file behind."""
    before = listing(household.home)
    examine(household.config_path, {}, None)
    assert listing(household.home) == before


def test_the_exit_status_is_that_of_check(household: Household) -> None:
    """0 with warnings, 78 with a fault; the last line sums it up, and JSON says the same."""
    well = household.command("doctor")
    assert well.status == 0
    assert well.lines[-1].startswith("well: 0 faults, ")
    open_file = household.config_path.with_name("secrets.env")
    open_file.write_text("x")
    open_file.chmod(0o644)
    ill = household.command("doctor")
    assert ill.status == 78
    assert ill.lines[-1].startswith("must be mended: 1 fault, ")
    symptoms = json.loads(household.command("doctor", "--json").out)["symptoms"]
    (fault,) = (one for one in symptoms if one["level"] == "fault")
    assert fault["where"] == str(open_file)
    assert "chmod" in fault["remedy"]


def test_a_configuration_that_is_not_there_is_a_fault_and_no_traceback(tmp_path: Path) -> None:
    """What surrounds the daemon isn't guessed at."""
    diagnosis = examine(tmp_path / "config.toml", {}, None)
    assert diagnosis.count(Level.FAULT) == 1
    assert any("was not looked at" in one.what for one in diagnosis.symptoms)


def test_interval_sync_is_a_warning(household: Household) -> None:
    """What was chosen for speed costs a promise, which is said each time."""
    household.edit(household.config_path, "[paths]", '[audit]\nsync = "interval"\n[paths]')
    symptoms = examine(household.config_path, {}, None).symptoms
    (found,) = (one for one in symptoms if one.where == "audit.sync")
    assert (found.level, found.remedy) == (Level.WARNING, 'set it to "always"')


# ---- a daemon that runs


def test_a_running_daemon_is_asked(daemon: DaemonProcess) -> None:
    """It answers, its limits fit, and it says that there never was a backup."""
    diagnosis = examine(daemon.config_path, {}, None)
    assert diagnosis.running
    shown = [str(one) for one in diagnosis.symptoms]
    assert f"ok: {daemon.socket_path}: the daemon answers, and is well" in shown
    assert f"ok: pid {daemon.pid}: as many open files as its connections need" in shown
    assert any(line.startswith("warning: backup: there never was one") for line in shown)
    assert any(f"pid {daemon.pid}" in line and "core" in line for line in shown) is False


def test_without_a_unix_socket_it_says_that_it_asked_nobody(daemon: DaemonProcess) -> None:
    """A daemon that it can't ask is not passed over in silence."""
    text = daemon.config_path.read_text()
    daemon.config_path.write_text(text.replace("unix_socket = true", "unix_socket = false"))
    shown = [str(one) for one in examine(daemon.config_path, {}, None).symptoms]
    assert any("wasn't asked how it is" in line for line in shown), shown


def test_too_few_descriptors_are_told_with_both_ways_out(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    """A limit below the configured connections: raise the one, or lower the other."""
    daemon = make_daemon(prefix=("prlimit", "--nofile=500:500"))
    daemon.start()
    found = Symptoms()
    config = Config(server=ServerConfig(max_connections=8192))
    examine_limits(config, Process(Path("/proc") / str(daemon.pid)), found)
    (warning,) = told(found, Level.WARNING)
    assert "500 open files" in warning
    assert "LimitNOFILE=8256" in warning
    assert "max_connections = 436" in warning


def test_a_process_that_can_leave_a_core_is_a_fault() -> None:
    """As one of ours never can, unless somebody gave it the limit back."""
    with subprocess.Popen(["prlimit", "--core=1000:1000", "sleep", "60"]) as process:
        time.sleep(0.3)
        found = Symptoms()
        examine_limits(Config(), Process(Path("/proc") / str(process.pid)), found)
        process.kill()
    assert any("core" in line for line in told(found, Level.FAULT))


@needs("strace")
def test_a_debugger_that_is_attached_is_a_fault(make_daemon: Callable[..., DaemonProcess]) -> None:
    """Whoever traces the daemon reads its memory."""
    daemon = make_daemon(prefix=("strace", "-D", "-f", "-qq", "-e", "none", "-o", "/dev/null"))
    daemon.start()
    found = Symptoms()
    examine_limits(Config(), Process(Path("/proc") / str(daemon.pid)), found)
    assert any("looks into its memory" in line for line in told(found, Level.FAULT))


def test_a_daemon_that_does_not_answer_is_a_fault(tmp_path: Path) -> None:
    """Nobody at the socket, and somebody else there."""
    found = Symptoms()
    examine_answers(tmp_path / "secretsd.sock", found)
    assert "doesn't answer" in told(found, Level.FAULT)[0]


# ---- what lies around


@pytest.mark.parametrize(
    ("name", "mode", "level"),
    [
        (".env", 0o644, Level.FAULT),
        ("vault.json.bak", 0o604, Level.FAULT),
        ("audit.jsonl.1", 0o640, Level.WARNING),
        ("audit.jsonl.2.gz", 0o644, Level.FAULT),
        ("config.toml~", 0o644, Level.FAULT),
        ("config.toml", 0o644, None),
        ("audit.sign.pub", 0o644, None),
        ("vault.json", 0o600, None),
        ("notes.txt", 0o644, None),
    ],
)
def test_what_lies_open_is_told(
    household: Household, name: str, mode: int, level: Level | None
) -> None:
    """By its name, its mode, and whether every user gets to it."""
    file = household.config_path.with_name(name)
    file.touch()
    file.chmod(mode)
    found = Symptoms()
    examine_leftovers(household.config, household.config_path, found)
    levels = [one.level for one in found.found if one.where == str(file)]
    assert levels == ([level] if level else [])


def test_a_directory_that_keeps_others_out_makes_it_a_warning(household: Household) -> None:
    """A mode that is wrong in a place nobody gets to is one mistake away from a leak."""
    file = household.state / "vault.json.bak"
    file.touch(0o644)
    file.chmod(0o644)
    found = Symptoms()
    examine_leftovers(household.config, household.config_path, found)
    (warning,) = (one for one in found.found if one.where == str(file))
    assert warning.level is Level.WARNING


def test_a_copy_of_the_master_key_is_found_by_what_it_holds(household: Household) -> None:
    """Whatever its name and mode are; the key itself is none."""
    copy = household.config_path.with_name("README")
    copy.write_bytes(household.config.paths.master_key_path.read_bytes())
    copy.chmod(0o600)
    found = Symptoms()
    examine_leftovers(household.config, household.config_path, found)
    (warning,) = told(found, Level.WARNING)
    assert str(copy) in warning
    assert "shred" in warning


# ---- the machine


def test_a_clock_that_was_set_back_is_a_fault(tmp_path: Path) -> None:
    """By the highest time that the daemon has seen, which it keeps beside the vault."""
    paths = paths_in(tmp_path)
    for ahead, is_fault in ((timedelta(days=1), True), (timedelta(0), False)):
        time_seen = datetime.now(UTC) + ahead
        write_heads(paths.heads_path, replace(HEADS, time=time_seen), DataKey.generate())
        found = Symptoms()
        examine_clock(paths, found)
        (said,) = found.found
        assert (said.level is Level.FAULT) is is_fault


def test_who_owns_the_state_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Root looks at it, and a FIFO in the place of a file has no end."""
    paths = paths_in(tmp_path)
    for path in (paths.heads_path, paths.audit_path, tmp_path / "audit.jsonl.1"):
        os.mkfifo(path)
    found = Symptoms()
    examine_clock(paths, found)
    examine_disks(paths, found)
    assert "clock" in {one.where for one in found.found}


def test_the_kernel_says_whether_the_clock_is_kept_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked, whatever it says here; where it says no, that is a warning."""
    assert is_synchronised() in (True, False, None)
    for said, level in ((True, Level.OK), (None, Level.OK), (False, Level.WARNING)):
        monkeypatch.setattr(machine, "is_synchronised", lambda said=said: said)
        found = Symptoms()
        examine_clock(paths_in(Path("/nonexistent")), found)
        assert found.found[0].level is level


@pytest.mark.parametrize(
    ("swaps", "kept_out", "level"),
    [
        ([], False, Level.OK),
        (["/dev/sda2"], False, Level.WARNING),
        (["/dev/sda2"], True, Level.OK),
        (["/dev/zram0"], False, Level.OK),
        (["/dev/zram0", "/swapfile"], False, Level.WARNING),
    ],
)
def test_swap_in_the_clear_is_a_warning(
    tmp_path: Path, swaps: list[str], kept_out: bool, level: Level
) -> None:
    """Not so in memory, nor where the daemon's cgroup has none."""
    lines = [f"{each} partition 1048572 0 -2" for each in swaps]
    (tmp_path / "swaps").write_text("\n".join(["Filename Type Size Used Priority", *lines, ""]))
    found = Symptoms()
    examine_swap(found, is_kept_out=kept_out, proc=tmp_path)
    assert [one.level for one in found.found] == [level]


def written(path: Path, days: float, size: int) -> None:
    """A segment of a log that grew by so many bytes in so many days, up to now."""
    writer = Writer()
    (opening, *_), stamp = writer.segments[0], re.compile(rb'"time":"[^"]*"')
    ends = datetime.now(UTC)
    begun = stamp.sub(f'"time":"{_rfc(ends - timedelta(days=days))}"'.encode(), opening)
    last = begun.replace(b'"seq":1', b'"seq":9')
    last = stamp.sub(f'"time":"{_rfc(ends)}"'.encode(), last)
    filling = b"x" * (size - len(begun) - len(last) - 3)
    path.write_bytes(b"\n".join((begun, filling, last, b"")))


def _rfc(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_the_logs_growth_is_told_a_day(tmp_path: Path) -> None:
    """By the newest segment that is long enough to tell; a minute's burst isn't a day's use."""
    log = tmp_path / "audit.jsonl"
    written(log.with_name("audit.jsonl.1"), days=2, size=200_000)
    written(log, days=0.001, size=90_000)
    assert growth_per_day(log) == pytest.approx(100_000, rel=0.01)
    assert growth_per_day(tmp_path / "nothing" / "audit.jsonl") == 0


@pytest.mark.parametrize(
    ("free", "a_day", "level"),
    [
        (10 * machine.LOW_BYTES, 0, Level.OK),
        (10 * machine.LOW_BYTES, machine.LOW_BYTES, Level.WARNING),
        (machine.LOW_BYTES - 4096, 0, Level.WARNING),
        (machine.FULL_BYTES - 4096, 0, Level.FAULT),
    ],
)
def test_a_disk_is_told_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, a_day: int, level: Level
) -> None:
    """By what is free, and by how many days of the log that is."""

    class Disk:
        f_frsize, f_bavail, f_files, f_favail = 4096, free // 4096, 10_000, 5_000

    monkeypatch.setattr(os, "statvfs", lambda _: Disk)
    monkeypatch.setattr(machine, "growth_per_day", lambda _: float(a_day))
    found = Symptoms()
    examine_disks(paths_in(tmp_path), found)
    assert [one.level for one in found.found] == [level]


# ---- containers


class Host:
    """A /proc of our own making, with a socket on a tmpfs at /run/jarvis."""

    ROOT = "20 1 8:1 / / rw - ext4 /dev/sda1 rw"
    RUN = "21 20 0:30 / /run rw - tmpfs tmpfs rw"
    OVERLAY = "90 1 0:77 / / rw - overlay overlay rw"

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.add("self", "mnt:[1]", self.ROOT, self.RUN)
        self.add("1", "mnt:[1]", self.ROOT, self.RUN)

    def add(self, pid: str, namespace: str, *mounts: str, uid: int = 0) -> None:
        """A process in this mount namespace."""
        directory = self.proc / pid
        (directory / "ns").mkdir(parents=True)
        (directory / "ns/mnt").symlink_to(namespace)
        (directory / "comm").write_text("nginx\n")
        (directory / "mountinfo").write_text("\n".join((*mounts, "")))
        (directory / "status").write_text(f"Name:\tnginx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")

    def examined(self, *, binds_root: bool = False) -> Symptoms:
        found = Symptoms()
        socket = Path("/run/jarvis/secretsd.sock")
        examine_containers(socket, found, binds_root=binds_root, proc=self.proc)
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without containers."""
    monkeypatch.setattr(os.path, "realpath", str)
    return Host(tmp_path)


def directory_at(point: str, options: str = "rw", root: str = "/jarvis") -> str:
    return f"91 90 0:30 {root} {point} {options} - tmpfs tmpfs rw"


def test_without_a_container_all_is_well(host: Host) -> None:
    """A service with a private view of the host's own files is none."""
    host.add("50", "mnt:[2]", host.ROOT, host.RUN, directory_at("/run/jarvis"))
    assert [one.level for one in host.examined().found] == [Level.OK]


def test_a_root_container_with_the_socket_is_a_warning(host: Host) -> None:
    """It is the host's root to the policy, and where it may write it can take our place."""
    host.add("60", "mnt:[3]", host.OVERLAY, directory_at("/run/jarvis"))
    (warning,) = told(host.examined(), Level.WARNING)
    assert "pid 60 (nginx), /run/jarvis" in warning
    assert "another socket in its place" in warning
    assert "`user:`" in warning
    (warning,) = told(host.examined(binds_root=True), Level.WARNING)
    assert "all root containers are that client" in warning


def test_a_read_only_mount_takes_the_place_from_nobody(host: Host) -> None:
    """It is still the host's root."""
    host.add("60", "mnt:[3]", host.OVERLAY, directory_at("/sockets", "ro,relatime"))
    (warning,) = told(host.examined(), Level.WARNING)
    assert "/sockets" in warning
    assert "another socket" not in warning


def test_a_container_with_a_user_of_its_own_is_well(host: Host) -> None:
    """Also where another process of it is root's, that is said."""
    host.add("61", "mnt:[4]", host.OVERLAY, directory_at("/run/jarvis"), uid=1500)
    assert told(host.examined(), Level.OK) == [
        "ok: container of pid 61 (nginx), /run/jarvis: runs as uid 1500"
    ]
    host.add("62", "mnt:[4]", host.OVERLAY, directory_at("/run/jarvis"), uid=0)
    assert len(told(host.examined(), Level.WARNING)) == 1


def test_a_mounted_socket_file_is_told_and_a_stale_one_is_a_fault(host: Host) -> None:
    """A restart makes a new socket, which such a container never sees."""
    file = directory_at("/s.sock", root="/jarvis/secretsd.sock")
    host.add("63", "mnt:[5]", host.OVERLAY, file, uid=1500)
    assert "mount its directory" in told(host.examined(), Level.WARNING)[0]
    stale = directory_at("/s.sock", root="/jarvis/secretsd.sock//deleted")
    host.add("64", "mnt:[6]", host.OVERLAY, stale, uid=1500)
    assert "earlier daemon" in told(host.examined(), Level.FAULT)[0]


def test_a_container_that_has_all_of_run_has_the_socket(host: Host) -> None:
    """A directory above it is as good; another one of the same disk isn't."""
    host.add("65", "mnt:[7]", host.OVERLAY, directory_at("/host/run", root="/"))
    assert told(host.examined(), Level.WARNING)
    host.add("66", "mnt:[8]", host.OVERLAY, directory_at("/x", root="/other"))
    assert len(told(host.examined(), Level.WARNING)) == 1


@needs("unshare")
@pytest.mark.root("makes a mount namespace with a root of its own")
def test_a_real_container_is_found(daemon: DaemonProcess, tmp_path: Path) -> None:
    """By the kernel's own words about a process with another root and our directory in it."""
    root = tmp_path / "root"
    (root / "sockets").mkdir(parents=True)
    script = (
        f"mount -t tmpfs t {root} && mkdir -p {root}/sockets {root}/bin {root}/lib {root}/lib64 "
        f"{root}/usr {root}/proc {root}/old && mount --bind {daemon.directory} {root}/sockets && "
        f"for d in bin lib lib64 usr proc; do mount --rbind /$d {root}/$d; done && "
        f"cd {root} && pivot_root . old && umount -l old && echo in && exec sleep 60"
    )
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        found = Symptoms()
        examine_containers(daemon.socket_path, found, binds_root=True)
        process.kill()
    (warning,) = told(found, Level.WARNING)
    assert f"pid {process.pid}" in warning
    assert "/sockets" in warning


@pytest.mark.root("runs the daemon and the command as another user")
def test_an_ordinary_user_is_told_what_only_root_sees(
    make_daemon: Callable[..., DaemonProcess],
) -> None:
    """Containers are noted as not looked at, all else is, and nothing fails."""
    daemon = make_daemon(uid=1500)
    daemon.start()
    assert daemon.run_to_end("doctor") in (0, 78)
    assert "note: " in daemon.stdout
    assert "are seen by root only; run it as root" in daemon.stdout
    assert "the daemon answers, and is well" in daemon.stdout
    assert not daemon.crashed


def test_the_holder_of_the_lock_is_the_daemon(daemon: DaemonProcess) -> None:
    """By what the kernel shows of locks."""
    holder = holder_of(daemon.state / "vault.lock")
    assert holder is not None
    assert holder.pid == daemon.pid
    daemon.stop()
    assert holder_of(daemon.state / "vault.lock") is None
