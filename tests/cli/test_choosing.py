"""Which variables `jarvis-secrets run` gives a program: rules without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.cli.choosing import Wanted, choose, read_lines, renamed, unreadable
from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.values import SecretName, SecretValue


def names(*texts: str) -> tuple[SecretName, ...]:
    """The names that these texts are."""
    return tuple(map(SecretName, texts))


def by_option(**variables: str) -> list[Wanted]:
    """What `--as` says of these variables."""
    return [*renamed([(variable, SecretName(name)) for variable, name in variables.items()])]


def by_file(path: Path, text: str) -> list[Wanted]:
    """What an env file of this text says."""
    path.write_text(text)
    return [*read_lines(str(path))]


def chosen(*named: str, said: list[Wanted] | None = None) -> dict[str, str]:
    """The variables and their secrets, or stars for a value that a file says."""
    wanted = choose(names(*named), said or [], allow_dangerous=False)
    return {
        found.variable: found.source if isinstance(found.source, SecretName) else "*"
        for found in wanted
    }


def faults_of(*named: str, said: list[Wanted] | None = None) -> str:
    """Why these can't be given."""
    with pytest.raises(Faulty, match="the command was not started") as refused:
        chosen(*named, said=said)
    return "\n".join(refused.value.faults)


def test_a_name_is_its_variable() -> None:
    """Without a word about variables, each secret is the one of its name."""
    assert chosen("db", "app/db.key-1") == {"DB": "db", "APP_DB_KEY_1": "app/db.key-1"}


def test_what_is_renamed_does_not_come_by_its_own_name() -> None:
    """`--as` gives a secret another variable instead of its own; said twice, it has two."""
    assert chosen("db", "x", said=by_option(PW="db")) == {"PW": "db", "X": "x"}
    assert chosen("db", said=by_option(PW="db", DB="db")) == {"PW": "db", "DB": "db"}


def test_what_is_said_goes_before_a_name() -> None:
    """A variable that is asked for displaces the secret whose name it has."""
    assert chosen("db", "other", said=by_option(DB="other")) == {"DB": "other"}


def test_the_last_file_holds_and_an_option_goes_before_it(tmp_path: Path) -> None:
    """A later file overrides an earlier one line by line, and `--as` overrides both."""
    first = by_file(tmp_path / "a.env", "A=jarvis://one\nB=jarvis://two\nC=plain\n")
    second = by_file(tmp_path / "b.env", "B=jarvis://three\nC=jarvis://four\n")
    assert chosen(said=first + second) == {"A": "one", "B": "three", "C": "four"}
    by_all = chosen("two", said=first + second + by_option(C="five"))
    assert by_all == {"A": "one", "B": "three", "C": "five", "TWO": "two"}


def test_two_names_with_one_variable_are_an_error_that_names_both() -> None:
    """A collision is never settled by chance; to rename one of them settles it."""
    assert "db-pass and db_pass would both be DB_PASS" in faults_of("db-pass", "db_pass")
    assert "app/db and app.db" in faults_of("app/db", "app.db", "x")
    settled = chosen("db-pass", "db_pass", said=by_option(OLD="db-pass"))
    assert settled == {"OLD": "db-pass", "DB_PASS": "db_pass"}
    assert chosen("db-pass", "db_pass", said=by_option(DB_PASS="x")) == {"DB_PASS": "x"}


def test_every_way_to_a_steering_variable_needs_a_word(tmp_path: Path) -> None:
    """PATH and its like are refused with their place, however they were asked for."""
    said = by_file(tmp_path / "a.env", "OK=1\nLD_PRELOAD=/x.so\nHOME=jarvis://home\n")
    told = faults_of("path", said=said + by_option(BASH_ENV="b"))
    assert "path: the variable PATH steers programs" in told
    assert "a.env:2: the variable LD_PRELOAD" in told
    assert "a.env:3: home: the variable HOME" in told
    assert "--as BASH_ENV=b: the variable BASH_ENV" in told
    assert choose(names("path"), said, allow_dangerous=True)


def test_a_reference_is_the_whole_value(tmp_path: Path) -> None:
    """A value is a secret's name after `jarvis://`, or has no such thing in it."""
    text = "A=jarvis://app/db\nB=\"jarvis://x\"\nC='jarvis://y'  # why\nD=jarvis:x\nE=\n"
    lines = {found.variable: found for found in by_file(tmp_path / "a.env", text)}
    assert [lines[variable].source for variable in "ABC"] == ["app/db", "x", "y"]
    assert lines["D"].source == SecretValue(b"jarvis:x")
    assert lines["E"].source == SecretValue(b"")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("postgres://app:jarvis://pw@db/x", "must be the whole value"),
        ("' jarvis://x'", "must be the whole value"),
        ("JARVIS://x", "must be the whole value"),
        ("jarvis://x,jarvis://y", "must be the whole value"),
        ("jarvis://", "it is empty"),
        ("jarvis://Postgres-Password", "did you mean 'postgres-password'?"),
        ("jarvis://x?kid=1", "character 2 is '?'"),
        ("jarvis:///x", "a segment between slashes is empty"),
    ],
)
def test_a_wrong_reference_is_told_with_its_line(tmp_path: Path, value: str, told: str) -> None:
    """What can't be meant stops the start with file, line and variable, all of them at once."""
    with pytest.raises(Faulty) as refused:
        by_file(tmp_path / "a.env", f"# first\nA={value}\nB={value}\n")
    first, second = refused.value.faults
    assert first.startswith(f"{tmp_path}/a.env:2: A: ")
    assert second.startswith(f"{tmp_path}/a.env:3: B: ")
    assert told in first


def test_a_file_that_cant_be_read_surely_starts_nothing(tmp_path: Path) -> None:
    """The reader's own refusals come with file and line, and a missing file with its reason."""
    with pytest.raises(Faulty) as refused:
        by_file(tmp_path / "a.env", "A=1\nnonsense\nA=2\n")
    assert [fault.split(": ")[0] for fault in refused.value.faults] == [
        f"{tmp_path}/a.env:2",
        f"{tmp_path}/a.env:3",
    ]
    with pytest.raises(Refused, match="No such file"):
        read_lines(str(tmp_path / "none.env"))


def test_what_shells_cant_read_is_remarked_with_the_way_out() -> None:
    """A variable that begins with a digit is given, and told with the `--as` that mends it."""
    (told,) = unreadable(choose(names("1st", "second"), [], allow_dangerous=False))
    assert "1ST" in told
    assert "--as _1ST=1st" in told
    assert not [*unreadable(choose(names("1st"), by_option(_1ST="1st"), allow_dangerous=False))]


@given(
    listed=st.lists(st.sampled_from(["a", "b", "c/d", "c.e", "f"]), unique=True),
    said=st.lists(st.tuples(st.sampled_from("ABXY"), st.sampled_from(["a", "b", "z"]))),
)
def test_each_variable_comes_once_and_nothing_is_lost(
    listed: list[str], said: list[tuple[str, str]]
) -> None:
    """The last word about a variable holds, and every selected secret is somewhere."""
    options = [Wanted(variable, SecretName(name), "--as") for variable, name in said]
    wanted = choose(names(*listed), options, allow_dangerous=False)
    variables = [found.variable for found in wanted]
    assert len(variables) == len(set(variables))
    by_variable = {found.variable: found.source for found in wanted}
    assert by_variable | dict(said) == by_variable
    for name in names(*listed):
        assert name in by_variable.values() or name.variable in dict(said)
