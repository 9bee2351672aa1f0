"""The files of a project that may hold secrets, found without going out of its directory."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from msgspec import Struct

MAX_VISITED = 200_000
"""Names that are looked at: a project with more is a whole disk."""

_OF_OTHERS = """
    .git .hg .svn .venv venv node_modules bower_components __pycache__ site-packages .tox .nox
    .mypy_cache .ruff_cache .pytest_cache .terraform .direnv .cache
"""
_SKIPPED = frozenset(_OF_OTHERS.split())
_ENV = re.compile(r"\.env.*|.+\.env")
_SEALED = (".gpg", ".asc", ".age", ".enc", ".sops")
"""What is encrypted is no place where a secret lies open."""

_COMPOSE = re.compile(r"(?:docker-)?compose(?:[.-].+)?\.ya?ml")


class Note(Struct, frozen=True, omit_defaults=True):
    """What a person should know about a file: `path` from the project's directory."""

    path: str
    text: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.text}"


class Found(Struct, frozen=True):
    """Paths from the project's directory ("" is itself); in `repositories` there is a `.git`."""

    env_files: tuple[str, ...]
    compose_files: tuple[str, ...]
    repositories: tuple[str, ...]
    notes: tuple[Note, ...]


def find(root: str) -> Found:
    """Every `.env` and compose file below the directory."""
    by_kind: dict[str, list[str]] = {"env": [], "compose": []}
    repositories: list[str] = []
    notes: list[Note] = []
    for path in _names(root, notes):
        name = os.path.basename(path)
        if name == ".git":
            repositories.append(os.path.dirname(path))
            continue
        kind = _kind(name)
        if kind is None:
            continue
        why = _why_not(root, path)
        if why:
            notes.append(Note(path, why))
        else:
            by_kind[kind].append(path)
    env_files, compose_files = (_once(root, paths) for paths in by_kind.values())
    return Found(env_files, compose_files, tuple(repositories), tuple(notes))


def is_within(root: str, path: str) -> bool:
    """Does this path, links followed, lie in the directory?"""
    top = os.path.realpath(root)
    return os.path.commonpath([top, os.path.realpath(os.path.join(root, path))]) == top


def _kind(name: str) -> str | None:
    if _COMPOSE.fullmatch(name):
        return "compose"
    return "env" if _ENV.fullmatch(name) and not name.endswith(_SEALED) else None


def _names(root: str, notes: list[Note]) -> Iterator[str]:
    """Each file and each `.git`, from the directory; links to directories aren't followed."""

    def cannot(error: OSError) -> None:
        notes.append(Note(os.path.relpath(error.filename, root), f"not read: {error.strerror}"))

    visited = 0
    for place, directories, files in os.walk(root, onerror=cannot):
        here = os.path.relpath(place, root)
        visited += len(directories) + len(files)
        if visited > MAX_VISITED:
            notes.append(Note(here, f"not looked at, nor what comes after {MAX_VISITED:,} names"))
            return
        if ".git" in directories or ".git" in files:
            yield os.path.normpath(os.path.join(here, ".git"))
        directories[:] = sorted(
            each
            for each in directories
            if each not in _SKIPPED and not os.path.lexists(os.path.join(place, each, "pyvenv.cfg"))
        )
        yield from (os.path.normpath(os.path.join(here, each)) for each in sorted(files))


def _why_not(root: str, path: str) -> str | None:
    """Why this file isn't read."""
    full = os.path.join(root, path)
    try:
        if not is_within(root, path):
            return f"a link out of the project, to {os.path.realpath(full)}; it was not followed"
        if not stat.S_ISREG(os.stat(full).st_mode):
            return "no file"
    except OSError as error:
        return f"not read: {error.strerror}"
    return None


def _once(root: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The paths without those that lead to an earlier one's file."""
    first: dict[str, str] = {}
    for path in sorted(paths, key=lambda each: (os.path.islink(os.path.join(root, each)), each)):
        first.setdefault(os.path.realpath(os.path.join(root, path)), path)
    return tuple(sorted(first.values()))
