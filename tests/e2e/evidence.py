"""What a daemon leaves behind: its audit log, verdicts on it, and the bytes of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.daemon_process import DaemonProcess

Entry = dict[str, Any]


def entries(log: Path) -> list[Entry]:
    r"""The log's entries without its signatures; lines end at `\n` only."""
    lines = [json.loads(line) for line in log.read_bytes().split(b"\n") if line]
    return [line for line in lines if "sig" not in line]


def entries_of(daemon: DaemonProcess, **wanted: object) -> list[Entry]:
    """The entries in which these members have these values; None: they lack the member."""
    return [
        entry
        for entry in entries(daemon.audit_path)
        if all(entry.get(key) == value for key, value in wanted.items())
    ]


class Verdict(NamedTuple):
    """The exit status of `audit verify`, and what it printed."""

    status: int
    text: str


def verify(daemon: DaemonProcess, *options: str) -> Verdict:
    """Run `audit verify` as the daemon's user."""
    before = len(daemon.stdout), len(daemon.stderr)
    status = daemon.run_to_end("audit", "verify", *options)
    return Verdict(status, daemon.stdout[before[0] :] + daemon.stderr[before[1] :])


def assert_intact(daemon: DaemonProcess) -> None:
    """The whole log verifies, and agrees with vault and heads."""
    verdict = verify(daemon, "--from", "1")
    assert verdict.status == 0, verdict
    assert verdict.text.startswith("intact"), verdict


def contents(directory: Path) -> Mapping[str, bytes]:
    """Every regular file below, by its path in there."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
