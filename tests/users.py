"""Acting as another user: what tests marked `root` start their processes with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any


def as_user(uid: int, groups: Iterable[int] = ()) -> dict[str, Any]:
    """Arguments for `subprocess` that run a process as this uid and the gid of the same number.

    Needs root, except for our own uid. Supplementary groups are dropped, but for those given.
    """
    if uid == os.geteuid() and not groups:
        return {}
    _check_that_python_is_readable(uid)
    return {"user": uid, "group": uid, "extra_groups": list(groups)}


@cache
def _check_that_python_is_readable(uid: int) -> None:
    command = [sys.executable, "-c", "import jarvis_secretsd"]
    try:
        subprocess.run(command, check=True, user=uid, group=uid, extra_groups=[], cwd="/")
    except (OSError, subprocess.CalledProcessError) as error:
        raise AssertionError(
            f"uid {uid} can't run {sys.executable} with the program in it: put the checkout where"
            " everyone can read it, and make its .venv with a Python that everyone can run"
        ) from error
