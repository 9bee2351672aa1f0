"""Which variable is which secret: the default, a prefix, a renaming, and what can't be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.cli.faults import Faulty
from jarvis_secretsd.cli.gathering import Entry
from jarvis_secretsd.cli.naming import name_secrets, name_variables, parse_prefix, parse_renamings
from jarvis_secretsd.cli.selection import choose
from jarvis_secretsd.values import SecretName, SecretValue

VARIABLES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
PREFIXES = st.sampled_from(["", "app/", "a-b/c.d/"])


def entries(*variables: str) -> list[Entry]:
    """Variables of one file, each on a line of its own."""
    return [
        Entry(variable, SecretValue(b"v"), (f".env:{line}",))
        for line, variable in enumerate(variables, start=1)
    ]


def names(*texts: str) -> tuple[SecretName, ...]:
    """These secrets."""
    return tuple(map(SecretName, texts))


@given(st.sets(VARIABLES), PREFIXES)
def test_the_way_out_is_the_way_in_reversed(variables: set[str], prefix: str) -> None:
    """Names that an import made with a prefix are the same variables without it."""
    wanted = name_secrets(entries(*variables), {}, prefix)
    back = name_variables([one.name for one in wanted], (), prefix)
    assert back == tuple((one.variable, one.name) for one in wanted)
    assert {one.variable for one in wanted} == variables


def test_a_renaming_is_exactly_what_was_said() -> None:
    """Neither prefix nor case touches a name that was given, in either direction."""
    renamed = parse_renamings(["Db_Url=shared/db.url", "COPY=shared/db.url"])
    (wanted,) = name_secrets(entries("Db_Url"), dict(renamed), "app/")
    assert wanted.name == "shared/db.url"
    assert name_variables(names("app/x", "shared/db.url"), renamed, "app/") == (
        ("X", "app/x"),
        ("Db_Url", "shared/db.url"),
        ("COPY", "shared/db.url"),
    )


def test_every_name_that_cannot_be_is_told_at_once() -> None:
    """Too long a name and two variables of one name are refused together, with their places."""
    long = "L" * 250
    with pytest.raises(Faulty) as caught:
        name_secrets(entries("a", "A", long, "C"), {"C": SecretName("prefix/a")}, "prefix/")
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [".env:2", ".env:3", ".env:4"]
    assert "A and .env:1: a would both be the secret prefix/a" in caught.value.faults[0]
    assert "longer than 255" in caught.value.faults[1]


def test_every_variable_that_cannot_be_is_told_at_once() -> None:
    """Secrets that would share a variable, and a variable that shells can't read, are refused."""
    held = names("1st", "db-pass", "db_pass", "smtp.pass", "x/1st")
    with pytest.raises(Faulty) as caught:
        name_variables(held, parse_renamings(["DB_PASS=smtp.pass"]), "")
    assert caught.value.faults == (
        "1st would be the variable 1ST, which no shell takes for one",
        "db-pass and db_pass would both be DB_PASS",
        "db-pass and smtp.pass would both be DB_PASS",
    )
    assert "--as VAR=NAME" in caught.value.message


@pytest.mark.parametrize("text", ["", "A", "=a", "1A=a", "A-B=a", "A=", "A=B", "A=a//b", "A= a"])
def test_a_renaming_is_strict(text: str) -> None:
    """What isn't a variable, '=' and a secret's name is refused, never repaired."""
    with pytest.raises(ValueError, match=r"VARIABLE=NAME|not a secret's name"):
        parse_renamings([text])


def test_a_prefix_is_a_name_with_a_slash() -> None:
    """The slash may be left out, and nothing else."""
    assert parse_prefix(None) == ""
    assert parse_prefix("app") == parse_prefix("app/") == "app/"
    for text in ("/", "app//", "/app", "App/"):
        with pytest.raises(ValueError, match="not a secret's name"):
            parse_prefix(text)


def test_a_pattern_is_whole_and_knows_only_the_star() -> None:
    """Choosing keeps the order; a pattern that matches nothing is a slip, in both directions."""
    listed = ["app/db", "app/x/key", "db_pass", "a.b"]
    assert choose(listed, (), (), what="secret") == tuple(listed)
    assert choose(listed, ("*b", "app/*"), ("*/key",), what="secret") == ("app/db", "a.b")
    assert choose(listed, ("app/*",), ("*",), what="secret") == ()
    for pattern in ("db", "a?b", "[ad]*", "DB_PASS", ""):
        for only, skip in (((pattern,), ()), ((), (pattern,))):
            with pytest.raises(Refused, match="no secret matches"):
                choose(listed, only, skip, what="secret")
