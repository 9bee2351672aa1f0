"""The journal: an append is whole or it didn't happen, and whoever moves the file is noticed."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.daemon import journal as module
from jarvis_secretsd.daemon.journal import Journal
from jarvis_secretsd.errors import StateRefused, StorageFailed, StorageFull, SyncFailed, UnsafeFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """A journal of two lines."""
    journal = Journal.open(path, create=True)
    journal.append(b"one\ntwo\n")
    yield journal
    journal.close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond this many bytes, as on a disk that is full there (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fail(number: int) -> Callable[..., int]:
    """A system call that ends with this errno."""

    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


def test_a_new_journal_is_private_and_takes_no_files_place(path: Path, journal: Journal) -> None:
    """It is made 0600, and only where nothing is."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        Journal.open(path, create=True)
    assert path.read_bytes() == b"one\ntwo\n"
    assert journal.size == 8


def test_a_journal_goes_on_where_it_was_left(path: Path, journal: Journal) -> None:
    """Opened again, it has the size and lines that it had, and appends after them."""
    again = Journal.open(path)
    assert again.size == journal.size
    again.append(b"three\n")
    assert list(again.lines()) == [(0, b"one"), (4, b"two"), (8, b"three")]
    again.close()


def test_what_is_no_journal_is_not_opened(path: Path, tmp_path: Path) -> None:
    """A missing file is an answer, and a file that others can read is refused."""
    with pytest.raises(FileNotFoundError):
        Journal.open(path)
    (tmp_path / "open").touch(0o644)
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        Journal.open(tmp_path / "open")


@pytest.mark.parametrize("room", [0, 1, 5])
def test_an_append_that_finds_no_room_leaves_nothing(
    path: Path, journal: Journal, room: int
) -> None:
    """Neither a part of it nor a wrong size stays, and with room again the journal goes on."""
    with largest_file(8 + room), pytest.raises(StorageFull, match="make room"):
        journal.append(b"three\n")
    assert (path.read_bytes(), journal.size) == (b"one\ntwo\n", 8)
    assert journal.displaced() is None
    journal.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFailed)],
)
def test_an_append_that_fails_says_how(
    path: Path,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[Exception],
) -> None:
    """A full disk passes by itself and a broken one doesn't; both leave the file as it was."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail(number))
        with pytest.raises(expected):
            journal.append(b"three\n")
    assert (path.read_bytes(), journal.size) == (b"one\ntwo\n", 8)


def test_a_part_that_can_not_be_taken_back_is_the_end(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an append that stays is a state nobody knows: SyncFailed, not StorageFull."""
    monkeypatch.setattr(os, "ftruncate", fail(errno.EIO))
    with largest_file(10), pytest.raises(SyncFailed, match="can't take back"):
        journal.append(b"three\n")


def test_a_failed_sync_is_said(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it nothing is known any more, so it is an error of its own, with its cause."""
    monkeypatch.setattr(os, "fdatasync", fail(errno.EIO))
    with pytest.raises(SyncFailed, match="sync failed: Input/output error"):
        journal.sync()


def test_a_rewind_takes_back_what_follows(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is durable when it returns, and the next append follows what stayed."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(path.stat().st_size))
    journal.rewind(4)
    assert (synced, journal.size) == ([4], 4)
    journal.append(b"2\n")
    assert path.read_bytes() == b"one\n2\n"


def test_a_rewind_fills_up_nothing(path: Path, journal: Journal) -> None:
    """A file that someone cut shorter doesn't grow NUL bytes."""
    os.truncate(path, 2)
    journal.rewind(4)
    assert path.read_bytes() == b"on"


@given(st.lists(st.text("ab\r\v\f\x1c\x85\u2028 ", max_size=6)), st.integers(1, 5))
def test_lines_end_at_newlines_only(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], chunk: int
) -> None:
    """No other character that Unicode calls a line's end splits one, however the file is read."""
    path = tmp_path_factory.mktemp("lines") / "journal"
    lines = [text.encode() for text in texts]
    journal = Journal.open(path, create=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        journal.append(b"".join(line + b"\n" for line in lines))
        found = list(journal.lines())
        assert [line for _, line in found] == lines
        assert all(journal.read(at, len(line) + 1) == line + b"\n" for at, line in found)
        assert list(journal.lines_backward()) == [b"", *reversed(lines)]
    journal.close()


def test_a_torn_last_line_is_given_too(journal: Journal) -> None:
    """It is told from a whole one by ending where the journal ends."""
    journal.append(b"torn")
    assert list(journal.lines())[-1] == (8, b"torn")
    assert next(journal.lines_backward()) == b"torn"
    assert 8 + len(b"torn") == journal.size


def test_a_line_without_an_end_is_not_read_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the longest line there can be, reading stops and says where."""
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 10)
    journal.append(b"x" * 11)
    with pytest.raises(StateRefused, match="line at byte 8"):
        list(journal.lines())


def test_reads_end_at_our_size(path: Path, journal: Journal) -> None:
    """What others appended is no part of the journal, and `chunks` alone shows it."""
    with path.open("ab") as other:
        other.write(b"theirs\n")
    assert journal.read(4, 100) == b"two\n"
    assert journal.tail(5) == b"\ntwo\n"
    assert journal.tail(100) == b"one\ntwo\n"
    assert journal.read(100, 5) == b""
    assert b"".join(journal.chunks(4)) == b"two\ntheirs\n"


def moved(path: Path) -> None:
    """As logrotate does."""
    path.rename(path.with_name("journal.1"))


def deleted(path: Path) -> None:
    """As someone does who makes room."""
    path.unlink()


def replaced(path: Path) -> None:
    """By a copy, which is another file."""
    data = path.read_bytes()
    path.unlink()
    path.with_name("spare").touch()  # or the copy may get the old inode's number
    path.write_bytes(data)


def replaced_by_a_link(path: Path) -> None:
    """By a link to the same file."""
    moved(path)
    path.symlink_to("journal.1")


def linked(path: Path) -> None:
    """Under a second name."""
    path.with_name("second").hardlink_to(path)


def truncated(path: Path) -> None:
    """As `copytruncate` does."""
    os.truncate(path, 0)


def grown(path: Path) -> None:
    """By another program's line."""
    with path.open("ab") as other:
        other.write(b"theirs\n")


HAPPENINGS = {
    moved: "moved",
    deleted: "deleted",
    replaced: "replaced",
    replaced_by_a_link: "replaced",
    linked: "linked",
    truncated: "truncated",
    grown: "grown",
}


@pytest.mark.parametrize(("happens", "word"), HAPPENINGS.items())
def test_what_happens_to_the_file_is_noticed(
    path: Path, journal: Journal, happens: Callable[[Path], None], word: str
) -> None:
    """Each has its word, and a file that nobody touched has none."""
    assert journal.displaced() is None
    happens(path)
    assert journal.displaced() == word


def test_a_directory_that_was_moved_moved_its_file(tmp_path: Path) -> None:
    """Also where a file has taken the directory's place."""
    (tmp_path / "state").mkdir(0o700)
    journal = Journal.open(tmp_path / "state" / "journal", create=True)
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    assert journal.displaced() == "moved"
    (tmp_path / "state").touch()
    assert journal.displaced() == "moved"
    journal.close()


def test_a_replacement_is_gone_on_with(path: Path, journal: Journal) -> None:
    """The journal is the new file, whose bytes came in pieces, and appends go there."""
    old = path.stat().st_ino
    journal.replace([b"on", b"ly\n"])
    journal.append(b"next\n")
    assert path.stat().st_ino != old
    assert list(journal.lines()) == [(0, b"only"), (5, b"next")]
    assert (path.read_bytes(), journal.displaced()) == (b"only\nnext\n", None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_replacement_without_room_leaves_the_old_file(path: Path, journal: Journal) -> None:
    """The journal goes on with it, and nothing lies beside it."""
    with largest_file(4), pytest.raises(StorageFull):
        journal.replace([b"0123456789"])
    journal.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert list(path.parent.iterdir()) == [path]


def test_reads_are_right_after_the_cache_was_dropped(journal: Journal) -> None:
    """What was synced comes back from the disk."""
    journal.sync()
    journal.drop_cache()
    assert journal.tail(8) == b"one\ntwo\n"
