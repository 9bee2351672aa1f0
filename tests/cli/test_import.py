"""`jarvis-secrets import`: files are stored whole or not at all, and then compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.values import SecretValue
from tests.cli.conftest import Tool
from tests.cli.terminal import PROGRAM
from tests.client.fake_daemon import FakeDaemon


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A file of three variables."""
    path = tmp_path / ".env"
    path.write_text("# ours\nBRAVE_API_KEY=BSA-1\nexport DB_URL='pg://u:p@h/d'\nEMPTY=\n")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the test as the current one, so that places are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def remarks(err: str) -> list[str]:
    """The lines of stderr without the program's name."""
    return [line.removeprefix("jarvis-secrets: ") for line in err.splitlines()]


def test_an_import_says_what_it_did(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """New names are created, others changed, equal ones left without a new version."""
    fake.hold(brave_api_key="BSA-1", db_url="old")
    outcome = tool("import", str(env_file))
    assert outcome.status == 0
    assert outcome.lines == [
        "created empty",
        "changed db_url",
        "unchanged brave_api_key",
        "1 created, 1 changed, 1 unchanged; every value was read back and is the same",
    ]
    assert outcome.err == f"jarvis-secrets: {env_file}:4: EMPTY: its value is empty\n"
    assert fake.secrets["db_url"] == SecretValue(b"pg://u:p@h/d")
    assert fake.versions == {"brave_api_key": 1, "db_url": 2, "empty": 1}


def test_an_import_can_be_repeated(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """The second run finds all as it should be and writes nothing."""
    tool("import", str(env_file))
    again = tool("import", str(env_file), "--skip", "DB_*", "--json")
    assert json.loads(again.out) == {
        "created": [],
        "changed": [],
        "unchanged": ["brave_api_key", "empty"],
        "kept": [],
        "skipped": ["DB_URL"],
    }
    assert set(fake.versions.values()) == {1}


def test_what_is_there_can_be_kept(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """With --no-overwrite a name that has another value keeps it, and new names are created."""
    fake.hold(brave_api_key="BSA-1", db_url="old")
    outcome = tool("import", "--no-overwrite", str(env_file))
    assert outcome.lines == [
        "created empty",
        "unchanged brave_api_key",
        "kept db_url",
        "1 created, 0 changed, 1 unchanged, 1 kept; "
        "every other value was read back and is the same",
    ]
    assert fake.secrets["db_url"] == SecretValue(b"old")


def test_files_that_are_not_sure_are_refused_whole(
    fake: FakeDaemon, tool: Tool, here: Path
) -> None:
    """Every bad line of every file is named, and the daemon isn't even asked."""
    Path("a.env").write_text("GOOD=1\nset -x\nC=1\nC=2\na-b=3\n")
    Path("good.env").write_text("D=1\n")
    Path("b.env").write_bytes(b"E=1\nF=\xe4\n")
    outcome = tool("import", "a.env", "good.env", "b.env")
    assert (outcome.status, outcome.out) == (1, b"")
    *faults, last = remarks(outcome.err)
    assert [fault.split(": ")[0] for fault in faults] == [
        "a.env:2",
        "a.env:4",
        "a.env:5",
        "b.env:2",
    ]
    assert last == "nothing was imported: 4 lines are at fault"
    assert not fake.asked


def test_a_file_that_cannot_be_read_stops_all(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """What is missing, no file, or without an end is one line with the reason, and all waits."""
    Path("a.env").write_text("A=1\n")
    Path("link").symlink_to("nowhere")
    assert "can't read none: No such file" in tool("import", "a.env", "none").err
    assert "can't read link: No such file" in tool("import", "a.env", "link").err
    assert "can't read '': No such file" in tool("import", "a.env", "").err
    assert "Is a directory" in tool("import", "a.env", str(here)).err
    assert "larger than 4,194,304 bytes" in tool("import", "a.env", "/dev/zero").err
    assert not fake.asked


def test_a_file_may_be_a_pipe(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """A shell's `<(...)` is read to its end, in as many pieces as it comes."""
    os.mkfifo("pipe")

    def write() -> None:
        with open("pipe", "wb", buffering=0) as pipe:
            for piece in (b"A=o", b"ne\nB='t", b"wo'\n"):
                pipe.write(piece)

    writer = threading.Thread(target=write)
    writer.start()
    assert tool("import", "pipe").status == 0
    writer.join()
    assert fake.secrets == {"a": SecretValue(b"one"), "b": SecretValue(b"two")}


def test_the_same_said_twice_is_one_secret(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """A variable that has one value in several files is told in passing and stored once."""
    Path("a.env").write_text("A=one\nB=two\n")
    Path("b.env").write_text("C=three\nB=two\n")
    outcome = tool("import", "a.env", "b.env")
    assert (outcome.status, remarks(outcome.err)) == (0, ["the same in several files: B"])
    assert len(fake.operations(m.Put)) == 3


def test_files_that_contradict_each_other_are_refused(
    fake: FakeDaemon, tool: Tool, here: Path
) -> None:
    """Both places of a variable with two values are named, and the ways out hold."""
    Path("a.env").write_text("A=1\nB=two\n")
    Path("b.env").write_text("\nB=three\n")
    outcome = tool("import", "a.env", "b.env")
    assert outcome.status == 1
    assert remarks(outcome.err) == [
        "b.env:2: B has another value at a.env:2",
        "nothing was imported: the files contradict each other; import each with a --prefix of its "
        "own, or leave the variable out with --skip",
    ]
    assert not fake.asked
    assert tool("import", "a.env", "b.env", "--skip", "B").status == 0
    assert tool("import", "b.env", "--prefix", "b/").status == 0
    assert set(fake.secrets) == {"a", "b/b"}


def test_a_file_given_twice_counts_once(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """Neither a second spelling of a path nor a second `-` makes a file another one."""
    Path("a.env").write_text("A=one\n")
    Path("link").symlink_to("a.env")
    outcome = tool("import", "a.env", "-", "link", "./a.env", "-", stdin=b"B=two\n")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.lines[:2] == ["created a", "created b"]


def test_a_mark_of_byte_order_is_no_part_of_a_name(
    fake: FakeDaemon, tool: Tool, here: Path
) -> None:
    """A file that begins with one is read as if it didn't."""
    Path("bom.env").write_bytes(b"\xef\xbb\xbfFIRST=1\r\nSECOND=2\r\n")
    assert tool("import", "bom.env").status == 0
    assert fake.secrets == {"first": SecretValue(b"1"), "second": SecretValue(b"2")}


def test_a_fault_on_stdin_says_so(tool: Tool) -> None:
    """What can't be read from a pipe is named as stdin, with its line."""
    assert remarks(tool("import", "-", stdin=b"A=1\nB\n").err)[0].startswith("stdin:2: ")


def test_the_dialect_is_that_of_the_files_program(fake: FakeDaemon, tool: Tool) -> None:
    """A reference is text by default, and filled in where the dialect does so."""
    data = b"USER_NAME=eve\nURL=pg://${USER_NAME}@h\n"
    assert tool("import", "-", stdin=data).status == 0
    assert fake.secrets["url"] == SecretValue(b"pg://${USER_NAME}@h")
    assert tool("import", "--dialect", "compose", "-", stdin=data).status == 0
    assert fake.secrets["url"] == SecretValue(b"pg://eve@h")
    assert tool("import", "--dialect", "fish", "-", stdin=data).status == 2


def test_patterns_choose_among_the_variables(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """What matches --only and not --skip is imported; remarks are about nothing else."""
    Path("a.env").write_text("DB_USER=eve\nDB_PASS=\nDB_HOST=\nPORT=1\n")
    outcome = tool("import", "a.env", "--only", "DB_*", "--skip", "*_HOST")
    assert set(fake.secrets) == {"db_user", "db_pass"}
    assert remarks(outcome.err) == [
        "a.env:2: DB_PASS: its value is empty",
        "left out: DB_HOST, PORT",
    ]


@pytest.mark.parametrize(
    "slip", [("--only", "db_*"), ("--skip", "NONE"), ("--map", "NONE=x")], ids=lambda slip: slip[0]
)
def test_what_finds_nothing_is_a_slip(
    fake: FakeDaemon, tool: Tool, env_file: Path, slip: tuple[str, str]
) -> None:
    """A pattern or renaming that is about no variable of the files stops the import."""
    outcome = tool("import", str(env_file), *slip)
    assert outcome.status == 3
    assert "no variable " in outcome.err
    assert not fake.asked


def test_names_can_be_given(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """A prefix goes before every name but those that --map gives."""
    renamed = ("--map", "DB_URL=shared/db.url")
    assert tool("import", str(env_file), "--prefix", "app/", *renamed).status == 0
    assert set(fake.secrets) == {"app/brave_api_key", "shared/db.url", "app/empty"}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--map", "DB_URL=Db Url"), "did you mean 'db_url'?"),
        (("--map", "DB_URL"), "'DB_URL' is not VARIABLE=NAME"),
        (("--map", "DB_URL=a", "--map", "DB_URL=b"), "DB_URL is said to be both a and b"),
        (("--prefix", "App"), "did you mean 'app'?"),
    ],
)
def test_a_name_that_is_none_is_a_usage_error(
    tool: Tool, env_file: Path, option: tuple[str, ...], said: str
) -> None:
    """What can't be a name gets a suggestion where there is one."""
    outcome = tool("import", str(env_file), *option)
    assert outcome.status == 2
    assert said in outcome.err


def test_two_variables_are_not_one_secret(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """Variables that differ in case alone are refused with both places, until one is renamed."""
    Path("a.env").write_text("Token=1\n")
    Path("b.env").write_text("TOKEN=2\n")
    outcome = tool("import", "a.env", "b.env")
    assert outcome.status == 1
    assert remarks(outcome.err)[0] == (
        "b.env:1: TOKEN and a.env:1: Token would both be the secret token"
    )
    assert not fake.asked
    assert tool("import", "a.env", "b.env", "--map", "Token=old_token").status == 0


def test_what_nobody_filled_in_is_pointed_out(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """Placeholders get a warning with their place; they are imported, or left out if asked."""
    Path("a.env").write_text("A=changeme\nB=\nC=r34l-one\n")
    warned = tool("import", "a.env")
    assert remarks(warned.err) == [
        "a.env:1: A: its value looks like a placeholder: it asks to be changed",
        "a.env:2: B: its value is empty",
    ]
    assert set(fake.secrets) == {"a", "b", "c"}
    without = tool("import", "a.env", "--no-placeholders", "--json")
    assert json.loads(without.out)["skipped"] == ["A", "B"]
    assert remarks(without.err) == remarks(warned.err)


def test_a_placeholder_that_is_left_out_contradicts_nobody(
    fake: FakeDaemon, tool: Tool, here: Path
) -> None:
    """An example file beside the filled one gives what the filled one lacks."""
    Path(".env").write_text("A=r34l-one\n")
    Path(".env.example").write_text("A=<your-key>\nB=5432\n")
    assert tool("import", ".env", ".env.example").status == 1
    outcome = tool("import", ".env", ".env.example", "--no-placeholders")
    assert outcome.lines[:2] == ["created a", "created b"]
    assert "left out" not in outcome.err


def test_one_value_under_two_names_is_pointed_out(tool: Tool, fake: FakeDaemon, here: Path) -> None:
    """Variables that share a secret are named with their places; a setting tells nothing."""
    Path("a.env").write_text("PG_PASS=s3cr3t\nDEBUG=true\nPORT=80\nDB_PASS=s3cr3t\nX=true\nY=80\n")
    outcome = tool("import", "a.env")
    assert remarks(outcome.err) == ["the same value under PG_PASS (a.env:1) and DB_PASS (a.env:4)"]


def test_a_dry_run_compares_with_what_is_there(
    fake: FakeDaemon, tool: Tool, env_file: Path
) -> None:
    """What would become of each name is shown with lengths; nothing is stored, no value shown."""
    fake.hold(brave_api_key="BSA-1", db_url="old")
    outcome = tool("import", "--dry-run", str(env_file))
    assert outcome.status == 0
    assert outcome.lines == [
        "VARIABLE       SECRET         LENGTH    WOULD BE",
        "BRAVE_API_KEY  brave_api_key  5 bytes   unchanged",
        "DB_URL         db_url         12 bytes  changed",
        "EMPTY          empty          0 bytes   created",
    ]
    assert remarks(outcome.err)[1:] == [
        "dry run, compared with what is there: 1 created, 1 changed, 1 unchanged; "
        "nothing was stored"
    ]
    assert not fake.operations(m.Put)


def test_a_dry_run_needs_no_daemon(tool: Tool, env_file: Path) -> None:
    """Without one, what the files say is shown, and that nothing was compared."""
    outcome = tool("import", "--dry-run", "--skip", "DB_URL", str(env_file))
    assert outcome.status == 0
    assert outcome.lines == [
        "VARIABLE       SECRET         LENGTH   WOULD BE",
        "BRAVE_API_KEY  brave_api_key  5 bytes  imported",
        "EMPTY          empty          0 bytes  imported",
        "DB_URL         -              -        left out",
    ]
    _, why, last = remarks(outcome.err)
    assert why.startswith("dry run, not compared with what is there: can't reach the daemon at ")
    assert last == "2 secrets would be imported; nothing was stored"


def test_a_dry_run_tells_scripts_the_same(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """As JSON, a change is null exactly where the daemon didn't say."""
    fake.hold(db_url="old")
    arguments = ("import", "--dry-run", "--json", "--only", "DB_URL", str(env_file))
    row = {"variable": "DB_URL", "secret": "db_url", "length": 12, "change": "changed"}
    assert json.loads(tool(*arguments).out) == {
        "secrets": [row],
        "skipped": ["BRAVE_API_KEY", "EMPTY"],
    }
    offline = tool(*arguments, "--socket", "/nowhere/s.sock")
    assert json.loads(offline.out)["secrets"] == [row | {"change": None}]


def test_a_dry_run_ends_as_the_import_would(fake: FakeDaemon, tool: Tool, env_file: Path) -> None:
    """A missing right is shown beside its name and in the status."""
    fake.hold(db_url="x")
    fake.unreadable, fake.unwritable = {"db_url"}, {"empty"}
    outcome = tool("import", "--dry-run", str(env_file))
    assert outcome.status == tool("import", str(env_file)).status == 4
    assert outcome.lines[2].endswith("refused: you may not read it")
    assert outcome.lines[3].endswith("refused: you may not write it")
    assert "nothing would be imported" in outcome.err


def test_a_right_that_is_missing_is_noticed_before_the_first_write(
    fake: FakeDaemon, tool: Tool, env_file: Path
) -> None:
    """Where one name may not be written or compared, none is, and all such are named."""
    fake.hold(brave_api_key="x")
    fake.unreadable, fake.unwritable = {"brave_api_key"}, {"empty", "db_url"}
    outcome = tool("import", str(env_file))
    assert outcome.status == 4
    assert remarks(outcome.err)[-1] == (
        "nothing was imported: you have no right to read (to compare) brave_api_key, nor to write "
        "db_url, empty; `jarvis-secrets whoami` shows your rights"
    )
    assert not fake.operations(m.Put)


def test_what_changed_meanwhile_is_not_overwritten(
    fake: FakeDaemon, tool: Tool, env_file: Path
) -> None:
    """A name that someone else writes between look and put keeps their value; the rest is told."""

    def someone_writes(request: m.Request) -> m.Reply:
        reply = fake.obey(request.operation)
        fake.hold(db_url="theirs")
        return reply

    fake.answers += [lambda r: fake.obey(r.operation)] * 2 + [someone_writes]
    outcome = tool("import", str(env_file))
    assert outcome.status == 7
    *_, which, last = remarks(outcome.err)
    assert which.startswith("db_url: ")
    assert last == "2 of 3 were stored; look at the rest before you repeat"
    assert fake.secrets["db_url"] == SecretValue(b"theirs")


def test_a_daemon_that_goes_away_leaves_word(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """What was stored for certain is counted, and a second import completes the first."""
    Path("a.env").write_text("".join(f"N{number}=v{number}\n" for number in range(100)))

    def leave_at_the_70th(request: m.Request) -> m.Reply | None:
        if isinstance(request.operation, m.Put) and len(fake.operations(m.Put)) == 70:
            return None
        return fake.obey(request.operation)

    fake.answers += [leave_at_the_70th] * 300
    outcome = tool("import", "a.env")
    assert outcome.status == 5
    last = remarks(outcome.err)[-1]
    assert last.startswith("at least 64 of 100 were stored: ")
    assert last.endswith("repeat the import: what is stored already stays as it is")
    fake.answers.clear()
    assert tool("import", "a.env").lines[-1].startswith("31 created, 0 changed, 69 unchanged")


def test_an_interrupt_leaves_word(fake: FakeDaemon, socket_path: Path, here: Path) -> None:
    """Ctrl-C ends it between two puts, and what it had done by then is told."""
    Path("a.env").write_text("".join(f"N{number}=v{number}\n" for number in range(100)))
    running: list[subprocess.Popen[bytes]] = []

    def interrupt_at_the_70th(request: m.Request) -> m.Reply:
        if isinstance(request.operation, m.Put) and len(fake.operations(m.Put)) == 70:
            running[0].send_signal(signal.SIGINT)
            running[0].wait(20)
        return fake.obey(request.operation)

    fake.answers += [interrupt_at_the_70th] * 300
    command = [*PROGRAM, "--socket", str(socket_path), "import", "a.env"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        running.append(process)
        assert process.stderr
        told = process.stderr.read().decode()
    assert process.returncode == 130
    assert remarks(told)[0] == (
        "at least 64 of 100 were stored; repeat the import: what is stored already stays as it is"
    )


def test_what_reads_back_differently_is_a_failure(fake: FakeDaemon, tool: Tool) -> None:
    """An import that can't see its own value again fails and names it."""

    def pretend(request: m.Request) -> m.Reply:
        reply = fake.obey(request.operation)
        fake.hold(a="2")
        return reply

    obey = [lambda r: fake.obey(r.operation)] * 3
    fake.answers += [*obey, pretend]
    outcome = tool("import", "-", stdin=b"A=1\n")
    assert outcome.status == 1
    assert "not read back the same: a" in outcome.err


def test_nothing_to_import_is_said(tool: Tool) -> None:
    """A file without a variable is no failure, asks nothing, and isn't passed over in silence."""
    outcome = tool("import", "-", stdin=b"# nothing yet\n")
    assert (outcome.status, remarks(outcome.err)) == (0, ["there is no variable to import"])


def test_no_value_is_ever_told(fake: FakeDaemon, tool: Tool, here: Path) -> None:
    """Whatever is said about the files, before and after, is said without what they hold."""
    canary = "c4n4ry-changeme-${A}"
    Path("a.env").write_text(f"A='{canary}'\nB='{canary}'\n")
    Path("b.env").write_text(f"A='{canary}2'\n")
    fake.hold(a="other")
    told = [
        tool("import", *arguments)
        for arguments in (
            ("a.env",),
            ("a.env", "b.env"),
            ("--dry-run", "a.env"),
            ("--dry-run", "--json", "a.env"),
            ("--json", "a.env"),
        )
    ]
    assert [outcome.status for outcome in told] == [0, 1, 0, 0, 0]
    assert not any("c4n4ry" in outcome.err + outcome.out.decode() for outcome in told)


def test_a_person_is_reminded_of_the_files(
    fake: FakeDaemon, tool: Tool, env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the last word is that the files still hold the values; scripts aren't told."""
    assert "still hold" not in tool("import", str(env_file)).err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "the files still hold the values" in tool("import", str(env_file)).err
    assert "still hold" not in tool("import", "-", stdin=b"A=1\n").err
