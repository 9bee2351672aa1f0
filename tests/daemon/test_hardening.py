"""The process keeps to itself. Each test asks a process of its own, since there is no way back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jarvis_secretsd.daemon.hardening import MAX_FRAMES, fault
from jarvis_secretsd.errors import Denied

CANARY = "correct-horse-battery"


def hardened(script: str) -> subprocess.CompletedProcess[str]:
    preamble = (
        "import os, resource, sys, threading\n"
        "from jarvis_secretsd.daemon.hardening import *\n"
        "harden(lambda text: print('reported', text))\n"
    )
    command = [sys.executable, "-c", preamble + script, CANARY]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nobody_of_the_same_user_can_look_in() -> None:
    """Not dumpable (PR_SET_DUMPABLE): memory and environment in /proc become root's."""
    assert hardened("print(os.stat('/proc/self/mem').st_uid)").stdout == "0\n"
    script = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    assert hardened(script).stdout == "0\n"


def test_no_core_and_no_open_file_mode() -> None:
    """A crash leaves no memory on the disk, and a new file is the owner's."""
    script = "print(resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))"
    assert hardened(script).stdout == "(0, 0) 0o77\n"


def test_the_descriptors_that_may_be_had_are_taken() -> None:
    """The soft limit is for programs with select(2); ours is the hard one."""
    script = (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))\n"
        "print(raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert hardened(script).stdout == "256 (256, 256)\n"


UNCAUGHT = {
    "an error": "int(sys.argv[1])",
    "a key": "{}[sys.argv[1]]",
    "an error in a thread": "t = threading.Thread(target=int, args=(sys.argv[1],)); t.start()",
    "an error in a finaliser": (
        "class A:\n    def __del__(self):\n        int(sys.argv[1])\na = A()\ndel a"
    ),
    "an error from another": (
        "try:\n    int(sys.argv[1])\nexcept ValueError as e:\n    raise OSError(sys.argv[1]) from e"
    ),
}


@pytest.mark.parametrize("script", UNCAUGHT.values(), ids=UNCAUGHT)
def test_what_nobody_catches_tells_no_secret(script: str) -> None:
    """Class and place are reported; message, locals and source are not, and stderr stays empty."""
    done = hardened(script)
    assert "reported" in done.stdout
    assert "Error" in done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert done.stderr == ""


def test_an_uncaught_error_still_fails() -> None:
    """Whoever started the process sees that it failed."""
    assert hardened("int('x')").returncode == 1


def test_an_interrupt_is_no_fault() -> None:
    """Ctrl-C ends without a report."""
    assert hardened("raise KeyboardInterrupt").stdout == ""


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    int(CANARY)


def test_a_fault_says_where_the_innermost_places_first() -> None:
    """Enough places to find it, each as module and line."""
    with pytest.raises(ValueError, match=CANARY) as caught:
        deep(50)
    what, _, places = fault(caught.value).partition(" at ")
    assert what == "ValueError"
    assert len(places.split(", ")) == MAX_FRAMES
    innermost = deep.__code__.co_firstlineno + 3
    assert places.startswith(f"{__name__}:{innermost}, ")


def test_a_fault_of_ours_keeps_its_words() -> None:
    """Our own messages quote no value."""
    assert (
        fault(Denied("the policy does not allow this")) == "Denied: the policy does not allow this"
    )
