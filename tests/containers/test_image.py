"""The image of the Dockerfile: what is in it, who runs it, when it is well, and how it ends."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.housekeeping import PROBE_SECS
from tests.containers.conftest import build
from tests.containers.deployment import Deployment
from tests.containers.podman import podman, run
from tests.e2e.tools import needs
from tests.waiting import wait_until

pytestmark = [pytest.mark.containers, needs("podman", "buildah", "runc")]

LITTER = """\
#!/bin/sh
cat >/dev/null
sleep 300 &
sleep 300 &
setsid sleep 0.1 &
echo {}
"""
"""A hook that leaves processes behind, one of them out of its group's reach."""

HOOK = """
[[hooks]]
pattern = "*"
command = ["/etc/jarvis-secretsd/hook"]
"""


def in_image(image: str, script: str, *options: str) -> str:
    return podman("run", "--rm", "--entrypoint=sh", *options, image, "-euc", script).stdout


def test_the_image_holds_what_runs_and_nothing_to_build_with(image: str) -> None:
    """The commands are on the path and curl is there; no pip, and no source."""
    found = in_image(
        image,
        "for each in jarvis-secretsd jarvis-secrets jarvis-hook-postgres curl; do command -v $each;"
        " done; id -u; id -g; ls /opt/jarvis-secretsd/bin; cd /; echo *",
    ).split()
    assert found[:4] == [
        "/usr/local/bin/jarvis-secretsd",
        "/usr/local/bin/jarvis-secrets",
        "/usr/local/bin/jarvis-hook-postgres",
        "/usr/bin/curl",
    ]
    assert found[4:6] == ["1000", "1000"]
    assert not {"pip", "pip3", "source"} & set(found)


def test_who_runs_it_is_a_build_argument() -> None:
    """UID and GID make an image whose user and directories are theirs."""
    other = build("Dockerfile", "localhost/jarvis-other", "UID=4242", "GID=4243")
    found = in_image(other, "id -u; id -g; stat -c %u:%g:%a /opt/jarvis/secrets /run/jarvis")
    assert found.split() == ["4242", "4243", "4242:4243:700", "4242:4243:755"]


def test_both_health_checks_tell_whether_it_is_well(deployment: Deployment) -> None:
    """Our own command and the plan's curl succeed while it serves, and fail while it may not."""
    with small_disk(deployment.audit):
        daemon = deployment.start()

        def checks() -> tuple[bool, int, int]:
            curl = daemon.exec("curl", "-f", f"{deployment.url}/healthz", check=False)
            own = daemon.exec("jarvis-secrets", "health", check=False)
            return daemon.healthy(), own.returncode, curl.returncode

        def has_no_room_left() -> bool:
            put = ("jarvis-secrets", "put", "--generate=password", "one")
            if daemon.exec(*put, client="admin", check=False).returncode != 6:
                return False
            time.sleep(PROBE_SECS)
            return not daemon.healthy()

        assert checks() == (True, 0, 0)
        fill(deployment.audit / "filler")
        wait_until(has_no_room_left, "not even an entry fits")
        assert checks() == (False, 6, 22)
        (deployment.audit / "filler").unlink()
        wait_until(daemon.healthy, "well again, by itself")
        assert checks() == (True, 0, 0)


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """The directory is a file system of 256 KiB meanwhile."""
    owner = directory.stat()
    options = f"size=256k,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", directory)
    try:
        yield
    finally:
        run("umount", "--lazy", directory)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_it_ends_at_once_and_cleanly_as_the_first_process(deployment: Deployment) -> None:
    """`docker stop` ends it with 0 long before the engine would kill it; SIGHUP doesn't."""
    daemon = deployment.start()
    deployment.write_policy("clients:\n  other: {users: [1009], allow: [x]}\n")
    daemon.kill("HUP")
    mounted = f"--volume={deployment.sockets}:/run/jarvis"
    wait_until(
        lambda: deployment.whoami(mounted, "--user=1009")["clients"], "the policy is read anew"
    )
    assert daemon.stop() == 0
    assert "stopped" in daemon.logs.splitlines()[-1]


def test_what_hooks_leave_behind_doesnt_pile_up(deployment: Deployment) -> None:
    """As the first process it inherits their children, and buries them."""
    (deployment.etc / "hook").write_text(LITTER)
    (deployment.etc / "hook").chmod(0o755)
    deployment.configure(more=HOOK)
    daemon = deployment.start()
    daemon.exec("jarvis-secrets", "put", "--generate=password", "one", client="admin")

    def version() -> int:
        listed = daemon.exec("jarvis-secrets", "list", "--json", client="admin").stdout
        return int(re.findall(r'"version": ?(\d+)', listed)[0])

    for round_ in range(2, 7):
        daemon.exec("jarvis-secrets", "rotate", "one", client="admin")
        wait_until(lambda: version() == round_, "rotated")  # noqa: B023 - at once
    assert daemon.exec("ps", "-eo", "stat=").stdout.count("Z") <= 4


def test_a_state_that_is_anothers_is_refused_with_the_line_that_mends_it(
    deployment: Deployment,
) -> None:
    """With the `user:` line that it prints, it starts as the owner of what is there."""
    deployment.give_to(4242)
    said = deployment.refused()
    assert "belongs to uid 4242, not to uid 1000, who runs this" in said
    found = re.search(r'user: "(.*?)"', said)
    assert found is not None
    daemon = deployment.start(f"--user={found[1]}")
    assert daemon.exec("id", "-u").stdout == "4242\n"


def test_the_directories_that_an_engine_makes_are_mended_by_what_is_printed(
    deployment: Deployment,
) -> None:
    """They are root's: it prints what gives them away, and never asks to be run as root."""
    deployment.give_to(0)
    here = {
        "/opt/jarvis/secrets": deployment.secrets,
        "/opt/jarvis/audit": deployment.audit,
        "/run/jarvis": deployment.sockets,
    }
    for _ in ("the state's", "the socket's"):
        said = deployment.refused()
        assert "user:" not in said
        for printed in re.findall("run: (chown .*)", said):
            *command, directory = shlex.split(printed)
            run(*command, here[directory])
    assert deployment.start().healthy()


def test_a_directory_that_an_engine_left_at_the_sockets_path_is_named(
    deployment: Deployment,
) -> None:
    """It makes one where a container that mounts the socket's file was begun before the daemon."""
    deployment.socket_path.mkdir()
    assert "/run/jarvis/secretsd.sock is there and is not a socket" in deployment.refused()
