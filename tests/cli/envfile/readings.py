"""What the tests of this room ask: our reading of a text, and that of bash."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from jarvis_secretsd.cli.envfile import Dialect, EnvfileRefused, read_envfile

_SOURCE_EACH = """
cd "$1"
for file in *; do (
    set -a; . "./$file" > /dev/null 2> "../said"
    printf '%s\\0' "$?" "$(< ../said)" "${A-(unset)}" "${B-(unset)}"
) done
"""


def values(text: str | bytes, dialect: Dialect = Dialect.LITERAL) -> dict[str, str]:
    """Variable and value of each assignment."""
    reading = read_envfile(_bytes(text), dialect)
    return {found.variable: found.value.reveal_text() for found in reading.assignments}


def problems(text: str | bytes, dialect: Dialect = Dialect.LITERAL) -> dict[int, str]:
    """The refusal of a file, by line."""
    with pytest.raises(EnvfileRefused) as caught:
        read_envfile(_bytes(text), dialect)
    return {found.line: found.text for found in caught.value.problems}


def warnings(text: str | bytes, dialect: Dialect = Dialect.LITERAL) -> dict[int, str]:
    """What is said about a file that was read, by line."""
    said: dict[int, str] = {}
    for found in read_envfile(_bytes(text), dialect).warnings:
        said[found.line] = f"{said.get(found.line, '')}{found.text}\n"
    return said


def bash_sets(directory: Path, texts: Sequence[str]) -> list[dict[str, str]]:
    """A and B as bash sets them from each text, which must raise no complaint.

    One bash for all of them, since starting it costs more than what it does.
    """
    files = directory / "files"
    files.mkdir(exist_ok=True)
    for old in files.iterdir():
        old.unlink()
    for number, text in enumerate(texts):
        (files / f"{number:05}").write_bytes(text.encode())
    told = _bash(_SOURCE_EACH, str(files))
    sets = []
    for start in range(0, len(told), 4):
        status, said, a, b = told[start : start + 4]
        assert (status, said) == ("0", ""), texts[start // 4]
        sets.append({name: value for name, value in (("A", a), ("B", b)) if value != "(unset)"})
    return sets


def bash_reads(file: Path, variables: Sequence[str]) -> list[str]:
    """The values of the variables after `set -a; . FILE` in bash."""
    script = 'set -a; . "$1"; shift; set +a; for v; do printf "%s\\0" "${!v}"; done'
    return _bash(script, str(file), *variables)


def bash_environment(file: Path) -> dict[str, str]:
    """The environment of a program that is started after `set -a; . FILE`."""
    told = _bash('set -a; . "$1" 2> /dev/null; env -0', str(file))
    return dict(entry.split("=", 1) for entry in told)


def _bash(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        ["bash", "-c", script, "bash", *arguments],
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
