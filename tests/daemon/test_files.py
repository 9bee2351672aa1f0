"""Careful opens: what is refused, with which remedy, and that no write is ever seen by halves."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jarvis_secretsd.daemon import files
from jarvis_secretsd.errors import StorageFull, UnsafeFile

LIMIT = 100
NOBODY = 65534


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """No mode here may rest on the umask."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory that is ours alone."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def path(home: Path) -> Path:
    """A private file."""
    return made(home / "a file", 0o600)


def made(path: Path, mode: int) -> Path:
    """A file of this mode that says "old"."""
    path.write_bytes(b"old")
    path.chmod(mode)
    return path


def mode_of(path: Path) -> int:
    """The permission bits of what is at the path."""
    return stat.S_IMODE(path.lstat().st_mode)


def names_in(directory: Path) -> list[str]:
    """All that lies in the directory."""
    return sorted(one.name for one in directory.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_is_ours_alone_is_read(path: Path, mode: int) -> None:
    """0600 and 0400 are private."""
    path.chmod(mode)
    assert files.read_private(path, LIMIT) == b"old"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o700, 0o620, 0o4600, 0o1600])
def test_a_private_file_with_any_other_bit_is_refused(path: Path, mode: int) -> None:
    """The refusal names the mode, and the command that mends it."""
    path.chmod(mode)
    with pytest.raises(UnsafeFile) as caught:
        files.read_private(path, LIMIT)
    assert f"{mode:04o}" in caught.value.message
    assert f"chmod 600 {shlex.quote(str(path))}" in caught.value.message


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444])
def test_a_trusted_file_may_be_read_by_others(path: Path, mode: int) -> None:
    """What is no secret only has to be written by nobody else."""
    path.chmod(mode)
    assert files.read_trusted(path, LIMIT) == b"old"


@pytest.mark.parametrize("mode", [0o660, 0o646, 0o622])
def test_a_trusted_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    """The refusal says how to take the right away."""
    path.chmod(mode)
    with pytest.raises(UnsafeFile, match=r"chmod go-w '.*a file'"):
        files.read_trusted(path, LIMIT)


def become_link(path: Path) -> None:
    """A link to a file that would do."""
    path.symlink_to(made(path.with_name("target"), 0o600))


def become_dangling_link(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to("nowhere")


def become_fifo(path: Path) -> None:
    """A FIFO that nobody writes to."""
    os.mkfifo(path, 0o600)


def become_hard_link(path: Path) -> None:
    """A second name of a file that would do."""
    path.hardlink_to(made(path.with_name("target"), 0o600))


def become_directory(path: Path) -> None:
    """A directory."""
    path.mkdir(0o700)


KINDS = {
    become_link: "put the file itself there",
    become_dangling_link: "put the file itself there",
    become_fifo: "is not a regular file",
    become_hard_link: "find / -xdev -samefile",
    become_directory: "is not a regular file",
}


@pytest.mark.parametrize("read", [files.read_private, files.read_trusted])
@pytest.mark.parametrize(("become", "remedy"), KINDS.items())
def test_what_is_no_plain_file_is_refused_without_waiting(
    home: Path, read: Callable[[Path, int], bytes], become: Callable[[Path], None], remedy: str
) -> None:
    """A link, a FIFO, a second name and a directory are each refused, and the message says why."""
    become(home / "odd")
    with pytest.raises(UnsafeFile, match=remedy) as caught:
        read(home / "odd", LIMIT)
    assert str(home / "odd") in caught.value.message


@pytest.mark.parametrize("become", [become_fifo, become_directory, become_link])
def test_an_odd_file_is_not_opened_for_writing_either(
    home: Path, become: Callable[[Path], None]
) -> None:
    """Whatever the flags are, an error of ours says that the file is unsafe."""
    become(home / "odd")
    with pytest.raises(UnsafeFile):
        files.open_private(home / "odd", os.O_RDWR | os.O_APPEND)


@pytest.mark.parametrize("read", [files.read_private, files.read_trusted])
def test_a_missing_file_is_an_answer(home: Path, read: Callable[[Path, int], bytes]) -> None:
    """That nothing is there is for the caller to judge."""
    with pytest.raises(FileNotFoundError):
        read(home / "nothing", LIMIT)


def test_a_file_is_read_up_to_its_limit(path: Path) -> None:
    """A file of exactly the limit is read, and one byte more is refused."""
    path.write_bytes(b"x" * LIMIT)
    assert files.read_private(path, LIMIT) == b"x" * LIMIT
    path.write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(UnsafeFile, match="larger than the 100 bytes"):
        files.read_private(path, LIMIT)


@pytest.mark.root
def test_a_private_file_of_another_is_refused(path: Path) -> None:
    """Whoever owns it could have read it; the remedy is a chown to us."""
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(UnsafeFile, match=f"belongs to uid {NOBODY}.*chown 0 "):
        files.read_private(path, LIMIT)


@pytest.mark.root
def test_a_trusted_file_of_another_is_refused(path: Path) -> None:
    """Only root and we are trusted to have written it."""
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(UnsafeFile, match=f"belongs to uid {NOBODY}; run: chown root "):
        files.read_trusted(path, LIMIT)


@pytest.mark.root
def test_a_link_on_the_way_that_another_made_is_refused(home: Path) -> None:
    """He could let it point elsewhere at any time."""
    made(home / "file", 0o600)
    (home / "way").symlink_to(home)
    os.chown(home / "way", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(UnsafeFile, match=f"is a link made by uid {NOBODY}"):
        files.read_private(home / "way" / "file", LIMIT)


@pytest.mark.root
def test_a_directory_of_another_is_refused(home: Path) -> None:
    """Its owner could exchange the file, whatever the file's own mode says."""
    (home / "his").mkdir(0o755)
    made(home / "his" / "file", 0o600)
    os.chown(home / "his", NOBODY, NOBODY)
    with pytest.raises(UnsafeFile, match=f"his belongs to uid {NOBODY}; run: chown 0 "):
        files.read_private(home / "his" / "file", LIMIT)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
@pytest.mark.parametrize("below", ["file", "ours/file"])
def test_a_directory_that_others_can_write_is_refused(home: Path, mode: int, below: str) -> None:
    """Anywhere on the way, and for reading as for writing, since they could exchange the rest."""
    (home / "open" / "ours").mkdir(0o700, parents=True)
    path = made(home / "open" / below, 0o600)
    (home / "open").chmod(mode)
    with pytest.raises(UnsafeFile, match=r"chmod go-w .*open$"):
        files.read_private(path, LIMIT)
    with pytest.raises(UnsafeFile, match=r"chmod go-w .*open$"):
        files.replace_private(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_sticky_directory_is_no_danger(home: Path) -> None:
    """In /tmp and its like, nobody can exchange what is ours."""
    path = made(home / "file", 0o600)
    home.chmod(0o1777)
    assert files.read_private(path, LIMIT) == b"old"


def test_our_own_links_on_the_way_are_followed(home: Path) -> None:
    """Absolute or relative, with dots or without, they lead to the same file."""
    (home / "real").mkdir(0o700)
    (home / "real" / "deep").mkdir(0o700)
    made(home / "real" / "deep" / "file", 0o600)
    (home / "absolute").symlink_to(home / "real")
    (home / "relative").symlink_to("absolute/../real/./deep")
    assert files.read_private(home / "relative" / "file", LIMIT) == b"old"


def test_a_link_hides_no_open_directory(home: Path) -> None:
    """What a link leads through is checked like the path itself."""
    (home / "open" / "ours").mkdir(0o700, parents=True)
    made(home / "open" / "ours" / "file", 0o600)
    (home / "open").chmod(0o777)
    (home / "way").symlink_to("open/ours")
    with pytest.raises(UnsafeFile, match="others can write to"):
        files.read_private(home / "way" / "file", LIMIT)


def test_links_in_a_circle_end(home: Path) -> None:
    """A way that never arrives is refused."""
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    with pytest.raises(UnsafeFile, match="too many links"):
        files.read_private(home / "a" / "file", LIMIT)


def test_a_file_on_the_way_is_no_directory(path: Path) -> None:
    """A path through a file is refused, and says where."""
    with pytest.raises(UnsafeFile, match="a file is not a directory"):
        files.read_private(path / "below", LIMIT)


def test_a_created_file_is_private_and_new(home: Path) -> None:
    """It is 0600 whatever the umask, and nothing that was there is touched."""
    files.create_private(home / "new", b"first")
    assert (mode_of(home / "new"), (home / "new").read_bytes()) == (0o600, b"first")
    with pytest.raises(FileExistsError):
        files.create_private(home / "new", b"second")
    assert (home / "new").read_bytes() == b"first"


def test_a_file_is_not_created_through_a_link(home: Path) -> None:
    """A link that waits at the path isn't followed to a place of someone's choice."""
    become_dangling_link(home / "new")
    with pytest.raises(FileExistsError):
        files.create_private(home / "new", b"secret")
    assert names_in(home) == ["new"]


def test_a_public_file_gets_the_mode_it_was_given(home: Path) -> None:
    """The mode is what was asked for, whatever the umask."""
    os.umask(0o777)
    files.create_private(home / "pub", b"", 0o644)
    files.replace_private(home / "other", b"", 0o644)
    assert mode_of(home / "pub") == mode_of(home / "other") == 0o644


def test_a_replacement_is_private_from_birth_and_appears_whole(path: Path) -> None:
    """While it is written the path has the old file, and what is beside it is 0600 already."""
    path.chmod(0o644)

    def pieces() -> Iterator[bytes]:
        for piece in (b"new ", b"bytes"):
            (beside,) = (one for one in path.parent.iterdir() if one != path)
            assert (mode_of(beside), path.read_bytes()) == (0o600, b"old")
            yield piece

    old = path.stat().st_ino
    descriptor = files.replace_chunks(path, pieces())
    assert os.fstat(descriptor).st_ino == path.stat().st_ino != old
    os.close(descriptor)
    assert (mode_of(path), path.read_bytes()) == (0o600, b"new bytes")
    assert names_in(path.parent) == [path.name]


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves what was there, and no temporary file."""

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFull, match="make room"):
        files.replace_private(path, b"new")
    with pytest.raises(StorageFull):
        files.create_private(path.with_name("other"), b"new")
    assert path.read_bytes() == b"old"
    assert names_in(path.parent) == [path.name]


def test_a_replacement_can_not_take_a_directorys_place(home: Path) -> None:
    """The error is ours, and no temporary file stays."""
    (home / "place").mkdir()
    with pytest.raises(UnsafeFile):
        files.replace_private(home / "place", b"new")
    assert names_in(home) == ["place"]


def test_a_replacement_takes_the_place_of_a_link_not_of_its_target(home: Path) -> None:
    """The file that a link leads to stays as it was."""
    become_link(home / "odd")
    files.replace_private(home / "odd", b"new")
    assert (home / "target").read_bytes() == b"old"
    assert not (home / "odd").is_symlink()


def test_bytes_are_written_in_as_many_writes_as_it_takes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that takes three bytes at a time gets them all."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    files.replace_private(path, b"ten bytes.")
    assert path.read_bytes() == b"ten bytes."


@pytest.fixture
def credentials(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as systemd makes it."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(home))
    return home


def test_a_file_that_is_replaced_while_it_is_opened_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads the heads while the daemon writes new ones gets these, and no complaint."""
    plain_open = os.open

    def open_and_replace(name: str, flags: int, *args: int, **options: int) -> int:
        descriptor = plain_open(name, flags, *args, **options)
        if name == path.name and path.read_bytes() == b"old":
            new = made(path.with_name("new"), 0o600)
            new.write_bytes(b"new")
            new.rename(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_replace)
    assert files.read_private(path, LIMIT) == b"new"


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_a_credential_is_read_as_systemd_lays_it_down(credentials: Path, mode: int) -> None:
    """0400 and, for a daemon that isn't root, 0440."""
    made(credentials / "master", mode)
    assert files.read_credential("master", LIMIT) == b"old"


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o644])
def test_a_credential_of_another_mode_is_refused(credentials: Path, mode: int) -> None:
    """systemd made none of these."""
    made(credentials / "master", mode)
    with pytest.raises(UnsafeFile, match=f"has mode {mode:04o}"):
        files.read_credential("master", LIMIT)


@pytest.mark.parametrize("name", ["", ".", "..", "../shadow", "/etc/shadow", "a/b"])
@pytest.mark.usefixtures("credentials")
def test_a_credential_is_no_path(name: str) -> None:
    """Its name leads nowhere outside the directory."""
    with pytest.raises(UnsafeFile, match="one file name"):
        files.read_credential(name, LIMIT)


def test_without_credentials_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that systemd gave nothing is told so."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(FileNotFoundError, match="CREDENTIALS_DIRECTORY"):
        files.read_credential("master", LIMIT)
