"""What git knows of files: which it tracks, which it ever did, and which it ignores.

A repository's own configuration can have git run programs, so those ways are closed: no pager, no
hooks, no monitor, no signatures, nothing fetched. git itself refuses one that isn't the caller's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from msgspec import Struct

from jarvis_secretsd.cli.inventory.finding import Note

PATIENCE = 60.0
"""Seconds for each question; the history of a large project is read in less."""

_CLOSED = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "log.showSignature=false",
)
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",  # for a git that doesn't know the line above: no way to fetch is left
    "GIT_PAGER": "cat",
}
_LIKELY = (":(glob)**/.env*", ":(glob)**/*.env", ":(glob)**/*compose*.y*ml")
"""What may have held secrets and isn't there any more."""


MAX_REPOSITORIES = 20
"""Repositories within a project that are asked; each is asked three times."""


class GitSilent(Exception):
    """git says nothing about this directory; the message says why."""


class Record(Struct, frozen=True):
    """Paths from the project's directory, by what git knows of them."""

    tracked: frozenset[str] = frozenset()
    ever: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()

    def of(self, path: str) -> str:
        """What git knows of this path."""
        if path in self.tracked:
            return "tracked"
        if path in self.ever:
            return "was tracked"
        return "ignored" if path in self.ignored else "untracked"


def consult(
    root: str, paths: Sequence[str], repositories: Sequence[str]
) -> tuple[Record | None, tuple[Note, ...]]:
    """What git knows of these paths, by the repository that the project is in and those within it.

    None where it knows nothing; the notes say why a repository didn't answer.
    """
    inner = [place for place in repositories if place][:MAX_REPOSITORIES]
    homes: dict[str, list[str]] = {place: [] for place in ("", *inner)}
    for path in paths:
        homes[_home_of(path, inner)].append(path)
    records: list[Record] = []
    notes: list[Note] = []
    for place, held in homes.items():
        try:
            records.append(_record(root, place, held))
        except GitSilent as silent:
            notes.append(Note(place or ".", str(silent)))
    if not records:
        return None, tuple(notes)
    parts = ([getattr(each, name) for each in records] for name in Record.__struct_fields__)
    return Record(*(frozenset().union(*part) for part in parts)), tuple(notes)


def _home_of(path: str, places: Iterable[str]) -> str:
    """The innermost of these repositories that the path lies in; "" is the project's own."""
    return max((place for place in places if path.startswith(f"{place}/")), key=len, default="")


def _record(root: str, place: str, held: Sequence[str]) -> Record:
    directory = os.path.join(root, place)
    paths = [os.path.relpath(path, place or ".") for path in held]
    tracked = _ask(directory, "ls-files", "-z")
    ever = _ask(
        directory, "log", "--all", "--reflog", "--no-renames", "--relative", "--name-only",
        "--pretty=format:", "-z", "--", *_LIKELY, *(f":(literal){path}" for path in paths),
    )  # fmt: skip
    answers = (tracked, ever, _ignored(directory, paths) if paths else b"")
    return Record(*(_split(place, answer) for answer in answers))


def _ignored(directory: str, paths: Iterable[str]) -> bytes:
    asked = b"".join(os.fsencode(path) + b"\0" for path in paths)
    # 1 says that none of them is ignored
    return _ask(directory, "check-ignore", "-z", "--stdin", given=asked, fine=(0, 1))


def _ask(directory: str, *arguments: str, given: bytes = b"", fine: Sequence[int] = (0,)) -> bytes:
    program = shutil.which("git")
    if program is None:
        raise GitSilent("git isn't installed")
    options = [part for setting in _CLOSED for part in ("-c", setting)]
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603  # what is said to it is ours, and paths after `--`
            [program, "--no-pager", *options, *arguments],
            cwd=directory,
            env={**known, **_ENVIRONMENT},
            input=given,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitSilent(f"git took more than {PATIENCE:.0f} seconds") from None
    except OSError as error:
        raise GitSilent(f"git can't be run: {error.strerror}") from None
    if done.returncode not in fine:
        raise GitSilent(_why(done.stderr.decode(errors="replace")))
    return done.stdout


def _why(complaint: str) -> str:
    if "not a git repository" in complaint:
        return "no git repository"
    if "dubious ownership" in complaint:
        return "git refuses a repository of another user; run this as its owner"
    first = complaint.strip().partition("\n")[0]
    return f"git can't say: {first or 'it ended without a word'}"


def _split(place: str, listed: bytes) -> frozenset[str]:
    """The paths of an answer, from the project's directory."""
    names = (os.fsdecode(name.strip(b"\n")) for name in listed.split(b"\0"))
    return frozenset(os.path.join(place, name) for name in names if name)
