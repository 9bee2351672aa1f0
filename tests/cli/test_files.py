"""`jarvis-secrets files`: which file is which secret, and a folder that holds them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.folder import MARK, Folder, FolderGone, Look, opened_folder
from jarvis_secretsd.cli.labelling import Labels, Selection, parse_labels
from jarvis_secretsd.errors import StorageFull, UnsafeFile
from jarvis_secretsd.messages import Get
from jarvis_secretsd.values import SecretName
from tests.cli.conftest import Tool
from tests.client.fake_daemon import FakeDaemon
from tests.e2e.tools import needs

OURS = Look(-1, -1, 0o400)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory of our own in memory."""
    path = Path(tempfile.mkdtemp(prefix="jarvis-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def folder(memory: Path) -> Iterator[Folder]:
    """One that is kept for this test, at `memory / "of"`."""
    with opened_folder(str(memory / "of"), OURS, allow_disk=False) as opened:
        yield opened


def names(*texts: str) -> list[SecretName]:
    """Secrets that may be read."""
    return [*map(SecretName, sorted(texts))]


def labels(*by_hand: str, only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> Labels:
    """The files of a few secrets, as a command line asks for them."""
    readable = names("db/main", "db/spare", "app/key.pem", "token")
    return Selection(parse_labels(by_hand), only, skip).begin(readable)


def test_a_file_has_the_name_of_its_secret() -> None:
    """With `_` for each slash, since the directory is flat; dots and all else stay."""
    every = {
        "db_main": "db/main",
        "db_spare": "db/spare",
        "app_key.pem": "app/key.pem",
        "token": "token",
    }
    assert labels() == every
    assert labels(only=("db/*",)) == {"db_main": "db/main", "db_spare": "db/spare"}
    assert labels(skip=("db/*",)) == {"app_key.pem": "app/key.pem", "token": "token"}


def test_what_is_named_by_hand_is_all_there_is() -> None:
    """By its own name or another; a pattern adds others, and never the same secret twice."""
    assert labels("token") == {"token": "token"}
    assert labels("PASSWORD=db/main", "db/spare") == {"PASSWORD": "db/main", "db_spare": "db/spare"}
    assert labels("a=token", "b=token") == {"a": "token", "b": "token"}
    assert labels("P=db/main", only=("db/*",)) == {"P": "db/main", "db_spare": "db/spare"}


def test_two_secrets_are_not_one_file() -> None:
    """Both are named, with both ways out."""
    readable = names("db/main", "db_main", "x")
    with pytest.raises(Faulty, match="no file was written") as caught:
        Selection({}).begin(readable)
    assert caught.value.faults == (
        "db/main and db_main would both be the file db_main; leave one out with --skip, or rename "
        "one with FILE=NAME",
    )
    assert Selection({}, skip=("db/*",)).begin(readable) == {"db_main": "db_main", "x": "x"}
    renamed = Selection(parse_labels(["other=db_main"]), only=("*",)).begin(readable)
    assert renamed == {"other": "db_main", "db_main": "db/main", "x": "x"}


@pytest.mark.parametrize("held", ["db/main", "db_main"])
def test_a_secret_that_comes_later_takes_no_file_away(held: str) -> None:
    """Who may create a secret can't exchange what a program reads; the clash is told."""
    (name,) = names(held)
    later = Selection({}).go_on(names("db/main", "db_main", "x"), {"db_main": name})
    assert later.labels == {"db_main": held, "x": "x"}
    assert len(later.faults) == 1
    assert Selection({}).go_on(names("db_main"), {"db_main": SecretName("db/main")}).labels == {
        "db_main": "db_main"
    }


@pytest.mark.parametrize(
    "text",
    ["A/b", "x=A", "../x=a", ".x=a", "=a", "x y=a", f"{'x' * 256}=a", "-x=a", f"{MARK}=a", "x\n=a"],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    """Neither a secret's nor one that a file may have: it leads nowhere else and hides nothing."""
    with pytest.raises(ValueError, match=r"not a secret's name|no name for a file"):
        parse_labels([text])


def test_one_file_is_not_said_twice() -> None:
    """The same secret is, though."""
    assert parse_labels(["x=a", "x=a"]) == {"x": "a"}
    with pytest.raises(ValueError, match="x is said to be both a and b"):
        parse_labels(["x=a", "x=b"])


@pytest.mark.parametrize("slip", [["none"], ["X=none"], ["--only", "none*"], ["--skip", "none*"]])
def test_what_finds_nothing_is_a_slip(slip: list[str]) -> None:
    """A name or a pattern without a secret that may be read stops it."""
    options = {slip[0].removeprefix("--"): (slip[1],)} if len(slip) > 1 else {}
    by_hand = () if options else slip
    with pytest.raises(Refused, match="no secret that you may read"):
        labels(*by_hand, **options)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--owner", "nobody-at-all"), "no user is called 'nobody-at-all'"),
        (("--owner", "1:nobody-at-all"), "no group is called 'nobody-at-all'"),
        (("--owner", "4294967295"), "no user is called '4294967295'"),
        (("--mode", "0222"), "'0222' is not a mode like 0400"),
        (("--mode", "0600x"), "'0600x' is not a mode"),
        (("--mode", "0660"), "'0660' is not a mode"),
        (("--mode", "0500"), "'0500' is not a mode"),
        (("--mode", "4400"), "'4400' is not a mode"),
    ],
)
def test_an_owner_or_mode_that_cant_be_meant_is_refused(
    fake: FakeDaemon, tool: Tool, memory: Path, option: tuple[str, str], said: str
) -> None:
    """Before the directory is made, or anything asked."""
    fake.hold(a="1")
    outcome = tool("files", "--dir", str(memory / "of"), *option)
    assert (outcome.status, outcome.out) == (2, b"")
    assert said in outcome.err
    assert not fake.operations(Get) and not [*memory.iterdir()]


def test_a_file_holds_every_byte_and_no_more(folder: Folder, memory: Path) -> None:
    """No newline is added; others can't read it; nothing else is there but the mark."""
    for data in (b"", b"no newline", b"one\n", bytes(range(256)) * 1024):
        assert folder.hold("x", data)
        assert (memory / "of" / "x").read_bytes() == data
    found = (memory / "of" / "x").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o400, os.geteuid())
    assert {path.name for path in (memory / "of").iterdir()} == {"x", MARK}
    assert stat.S_IMODE((memory / "of").stat().st_mode) == 0o700


def test_what_is_as_it_should_be_is_left_alone(memory: Path) -> None:
    """Also by the next one to keep it: a container may have mounted just this file."""
    with opened_folder(str(memory / "of"), OURS, allow_disk=False) as first:
        assert first.hold("x", b"value")
        before = (memory / "of" / "x").stat()
        assert not first.hold("x", b"value")
    with opened_folder(str(memory / "of"), OURS, allow_disk=False) as second:
        assert not second.hold("x", b"value")
        assert (memory / "of" / "x").stat() == before
        assert second.hold("x", b"valu")
        assert (memory / "of" / "x").stat().st_ino != before.st_ino


def test_what_isnt_as_it_should_be_is_replaced(folder: Folder, memory: Path) -> None:
    """Another mode, a link, or a second name for it: each makes way for a new file."""
    path = memory / "of" / "x"
    elsewhere = memory / "elsewhere"
    elsewhere.write_bytes(b"value")
    elsewhere.chmod(0o400)
    path.write_bytes(b"value")
    assert folder.hold("x", b"value")
    for make in (path.symlink_to, path.hardlink_to):
        path.unlink()
        make(elsewhere)
        assert folder.hold("x", b"value")
        assert (path.lstat().st_nlink, path.is_symlink()) == (1, False)
    os.unlink(path)
    os.mkfifo(path)
    assert folder.hold("x", b"value")
    assert elsewhere.read_bytes() == path.read_bytes() == b"value"


def test_whoever_reads_gets_the_old_value_or_the_new(folder: Folder, memory: Path) -> None:
    """Never a part of one, however often it changes meanwhile."""
    values = {bytes([65 + number]) * (number * 30_000 + 1) for number in range(8)}
    folder.hold("x", min(values))
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add((memory / "of" / "x").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(150):
        for value in values:
            folder.hold("x", value)
    done.set()
    reader.join()
    assert seen <= values
    assert len(seen) > 1


def test_what_is_left_over_goes(folder: Folder, memory: Path) -> None:
    """Files of secrets that aren't wanted any more, and what a crash left."""
    for name in ("x", "old", ".0123.new"):
        folder.hold(name, b"1")
    folder.sweep({"x"})
    folder.remove("never-there")
    assert {path.name for path in (memory / "of").iterdir()} == {"x", MARK}


def test_others_files_are_neither_removed_nor_joined(memory: Path) -> None:
    """A directory that holds something else is refused as it is."""
    (memory / "mine").write_text("important")
    with (
        pytest.raises(Refused, match=f"{memory} holds mine, which isn't ours"),
        opened_folder(str(memory), OURS, allow_disk=False),
    ):
        pass
    assert [path.name for path in memory.iterdir()] == ["mine"]


def test_one_directory_has_one_keeper(folder: Folder) -> None:
    """A second one is refused while the first one runs."""
    with (
        pytest.raises(Refused, match="is kept by another"),
        opened_folder(folder.path, OURS, allow_disk=False),
    ):
        pass


def test_a_disk_is_no_place_for_it(tmp_path: Path) -> None:
    """Nothing is made there, unless somebody says that he means it."""
    if tmp_path.stat().st_dev == os.stat("/dev/shm").st_dev:
        pytest.fail("the tests' temporary directory must not be /dev/shm")
    path = tmp_path / "of"
    with (
        pytest.raises(Refused, match=r"is not in memory but on .*--allow-disk"),
        opened_folder(str(path), OURS, allow_disk=False),
    ):
        pass
    assert not path.exists()
    tmp_path.chmod(0o755)
    with opened_folder(str(path), OURS, allow_disk=True) as folder:
        assert folder.hold("x", b"1")


def test_a_directory_that_others_can_write_to_is_refused(memory: Path) -> None:
    """Sticky or not; below a sticky one it is safe."""
    for mode in (0o777, 0o1777):
        memory.chmod(mode)
        with (
            pytest.raises((Refused, UnsafeFile), match="others can write to"),
            opened_folder(str(memory), OURS, allow_disk=False),
        ):
            pass
    with opened_folder(str(memory / "of"), OURS, allow_disk=False) as folder:
        assert folder.hold("x", b"1")


def test_no_directory_above_it_is_made(memory: Path) -> None:
    """The message says how."""
    with (
        pytest.raises(Refused, match=f"{memory}/no isn't there; make it with mkdir -p"),
        opened_folder(f"{memory}/no/of/", OURS, allow_disk=False),
    ):
        pass


def test_a_directory_in_the_place_of_a_file_is_explained(folder: Folder, memory: Path) -> None:
    """Docker makes one where a volume's source isn't there."""
    (memory / "of" / "x").mkdir()
    with pytest.raises(Refused, match="of/x is a directory, as Docker makes one"):
        folder.hold("x", b"1")
    assert {path.name for path in (memory / "of").iterdir()} == {"x", MARK}


def test_a_directory_that_was_removed_is_said_so(folder: Folder, memory: Path) -> None:
    """Then only a new start can make it."""
    shutil.rmtree(memory / "of")
    with pytest.raises(FolderGone, match="of was removed; start again"):
        folder.hold("x", b"1")


def test_files_for_others_are_in_a_directory_that_others_can_pass(memory: Path) -> None:
    """But not list; one that was there already keeps its mode."""
    shared = Look(-1, -1, 0o444)
    with opened_folder(str(memory / "of"), shared, allow_disk=False) as folder:
        folder.hold("x", b"1")
    assert stat.S_IMODE((memory / "of").stat().st_mode) == 0o711
    assert stat.S_IMODE((memory / "of" / "x").stat().st_mode) == 0o444
    (memory / "of").chmod(0o755)
    with opened_folder(str(memory / "of"), shared, allow_disk=False):
        assert stat.S_IMODE((memory / "of").stat().st_mode) == 0o755


@pytest.mark.root("mounts a small tmpfs")
@needs("mount")
def test_a_full_memory_leaves_the_old_value(memory: Path) -> None:
    """The file stays whole and nothing is left beside it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", memory], check=True)
    try:
        with opened_folder(str(memory / "of"), OURS, allow_disk=False) as folder:
            folder.hold("x", b"old")
            with pytest.raises(StorageFull, match="of/x: No space left"):
                folder.hold("x", bytes(128 * 1024))
            assert (memory / "of" / "x").read_bytes() == b"old"
            assert {path.name for path in (memory / "of").iterdir()} == {"x", MARK}
    finally:
        subprocess.run(["umount", memory], check=True)
