"""The AppArmor profile is one that the parser takes, and lets the daemon do all that it does.

No kernel with AppArmor is needed: the rules are matched here with what strace saw.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess
from tests.e2e.callers import Caller
from tests.e2e.tools import needs

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "systemd/apparmor/jarvis-secretsd"
INSTALLED = "/opt/jarvis-secretsd"
PACKAGES = f"{INSTALLED}/lib/python3.11/site-packages"

_RULE = re.compile(r"^(deny )?(?:allow )?(?:owner )?((?:/|@\{)\S*)\s+([rwmklixacdpuPUC]+),")
_CALL = re.compile(r'^\d+ +(\w+)\((?:(?:AT_FDCWD|-?\d+)(?:<([^>]*)>)?, )?(?:"([^"]*)")?(.*)$')
_FLOCK = re.compile(r"^\d+ +flock\(\d+<([^>]*)>")


def parsed(*options: str) -> str:
    """What the parser says of the profile. It must take it without a word against it."""
    done = subprocess.run(
        ["apparmor_parser", "--skip-kernel-load", "--skip-cache", *options, PROFILE],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "Cache read/write disabled" not in line]
    assert (done.returncode, told) == (0, [])
    return done.stdout


@cache
def rules() -> list[tuple[re.Pattern[str], str, bool]]:
    """Each file rule with all includes in it: what it matches, what it gives, whether it denies."""
    variables: dict[str, list[str]] = {}
    found = []
    for line in map(str.strip, parsed("--preprocess").splitlines()):
        if assigned := re.fullmatch(r"(@\{\w+\})\s*\+?=\s*(.*)", line):
            variables.setdefault(assigned[1], []).extend(assigned[2].split())
        elif rule := _RULE.match(line):
            found += [(glob(each), rule[3], bool(rule[1])) for each in filled(rule[2], variables)]
    return found


def filled(text: str, variables: Mapping[str, list[str]]) -> list[str]:
    """The text with each value of each variable in it; slashes that meet are one."""
    held = re.search(r"@\{\w+\}", text)
    if held is None:
        return [re.sub("/+", "/", text)]
    texts = (text.replace(held[0], value) for value in variables[held[0]])
    return [each for one in texts for each in filled(one, variables)]


def glob(text: str) -> re.Pattern[str]:
    """A file glob of apparmor.d(5): `*` and `?` stop at slashes, `**` doesn't, `{a,b}`, `[a-z]`."""
    made, depth, place = "", 0, 0
    while place < len(text):
        char = text[place]
        if text.startswith("**", place):
            made, place = made + ".*", place + 1
        elif char in "*?":
            made += "[^/]*" if char == "*" else "[^/]"
        elif char == "[":
            end = text.index("]", place)
            made, place = made + text[place : end + 1].replace("[^", "[^/"), end
        elif char in "{}":
            depth += 1 if char == "{" else -1
            made += "(?:" if char == "{" else ")"
        else:
            made += "|" if char == "," and depth else re.escape(char)
        place += 1
    return re.compile(made)


def allows(path: str, wanted: str) -> bool:
    """Do the rules give all of these permissions for this path?"""
    given = {
        char
        for pattern, permissions, is_denied in rules()
        if not is_denied and pattern.fullmatch(path)
        for char in permissions
    }
    denied = any(
        is_denied and pattern.fullmatch(path) and set(permissions) & set(wanted)
        for pattern, permissions, is_denied in rules()
    )
    return set(wanted) <= given and not denied


def accesses(trace: str) -> Iterator[tuple[str, str]]:
    """Each path that the trace shows a successful access to, and the permission it takes."""
    for line in trace.splitlines():
        if locked := _FLOCK.match(line):
            yield locked[1], "k"
        call = _CALL.match(line)
        if call is None or call[3] is None or not re.search(r"\) += \d", line):
            continue
        name, rest = call[1], call[4]
        path = call[3] if call[3].startswith("/") else f"{call[2] or ''}/{call[3]}"
        match name:
            case "openat" | "open" if "O_DIRECTORY" not in rest and "O_PATH" not in rest:
                yield path, "w" if "O_WRONLY" in rest else "rw" if "O_RDWR" in rest else "r"
            case "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "mkdir" | "chmod":
                yield path, "w"
            case "bind" | "connect":
                yield path, "w"
            case "execve":
                yield path, "rx"


def installed(daemon: DaemonProcess) -> Callable[[str], str]:
    """A function that says where a path of this daemon is once it is installed."""
    places = {
        str(daemon.state): "/var/lib/jarvis-secretsd",
        str(daemon.config_path): "/etc/jarvis-secretsd/config.toml",
        str(daemon.policy_path): "/etc/jarvis-secretsd/policy.yaml",
        str(daemon.socket_path): "/run/jarvis/secretsd.sock",
        str(ROOT / "jarvis_secretsd"): f"{PACKAGES}/jarvis_secretsd",
        sysconfig.get_path("purelib"): PACKAGES,
        sys.prefix: INSTALLED,
        sys.base_prefix: "/usr",
        "/proc/self": "/proc/812",
    }

    def moved(path: str) -> str:
        for here, there in places.items():
            if path == here or path.startswith(f"{here}/"):
                return there + path.removeprefix(here)
        return path

    return moved


@needs("apparmor_parser")
def test_the_parser_takes_the_profile() -> None:
    """As it is loaded, and with warnings counted as errors."""
    features = "/etc/apparmor.d/abi/3.0"
    parsed("--warn=all", "--Werror", "--kernel-features", features)


@needs("apparmor_parser")
@pytest.mark.parametrize(
    ("path", "wanted", "is_allowed"),
    [
        ("/var/lib/jarvis-secretsd/vault.json", "rw", True),
        ("/var/lib/jarvis-secretsd/vault.lock", "k", True),
        ("/etc/jarvis-secretsd/policy.yaml", "r", True),
        ("/etc/jarvis-secretsd/policy.yaml", "w", False),
        ("/run/credentials/jarvis-secretsd.service/jarvis-master-key", "r", True),
        ("/run/credentials/other.service/key", "r", False),
        ("/proc/812/cgroup", "r", True),
        ("/proc/812/mem", "r", False),
        ("/home/enzo/.ssh/id_ed25519", "r", False),
        ("/etc/shadow", "r", False),
        ("/etc/passwd", "r", True),
        ("/etc/cron.d/x", "w", False),
        ("/bin/sh", "x", False),
        (f"{PACKAGES}/jarvis_secretsd/values.py", "w", False),
    ],
)
def test_the_profile_gives_what_is_needed_and_nothing_else(
    path: str, wanted: str, is_allowed: bool
) -> None:
    """State can be written, configuration only read, and what is others' not at all."""
    assert allows(path, wanted) is is_allowed


@pytest.mark.root("only root reads the names in calls of a process that isn't dumpable")
@needs("apparmor_parser", "strace")
def test_a_daemon_does_nothing_that_the_profile_forbids(
    make_daemon: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    """From start to stop, traced: each file that it touched has its rule."""
    trace = tmp_path / "trace"
    calls = "openat,open,rename,renameat,renameat2,unlink,unlinkat,mkdir,chmod,execve,flock,bind"
    daemon = make_daemon(
        prefix=("strace", "-D", "-f", "-y", "-s", "4096", "-e", calls, "-o", str(trace)),
        # Installed, what it imports is compiled already.
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    daemon.start()
    with Caller(daemon) as admin:
        for operation in (
            {"op": "put", "name": "db/main", "value": "x"},
            {"op": "get", "name": "db/main"},
            {"op": "put", "name": "jwt_signing_key", "kind": "jwt_signing_key"},
            {"op": "sign_jwt", "claims": {}},
            {"op": "audit_log"},
            {"op": "reload"},
        ):
            assert admin.ask(**operation).outcome == "ok"
    daemon.stop()
    place = installed(daemon)
    touched = {(place(path), wanted) for path, wanted in accesses(trace.read_text())}
    outside = ("/dev/", str(daemon.directory / "std"), str(tmp_path))
    forbidden = sorted(
        f"{path} {wanted}"
        for path, wanted in touched
        if not path.startswith(outside) and not allows(path, wanted)
    )
    assert len(touched) > 100
    assert ("/var/lib/jarvis-secretsd/audit.jsonl", "rw") in touched
    assert not forbidden, "\n".join(forbidden)
