"""References to other variables: what is filled in, and from where."""

from __future__ import annotations

import pytest

from jarvis_secretsd.cli.envfile import Dialect
from jarvis_secretsd.values import MAX_VALUE_BYTES
from tests.cli.envfile.readings import problems, values, warnings

FILLS_IN = [Dialect.COMPOSE, Dialect.SHELL]
BEFORE = "B=blue\nE=\n"


@pytest.mark.parametrize("dialect", FILLS_IN)
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$B", "blue"),
        ("${B}s", "blues"),
        ('"<$B>"', "<blue>"),
        ("'$B'", "$B"),
        ("${B:-red}", "blue"),
        ("${B-red}", "blue"),
        ("${E:-red}", "red"),
        ("${E-red}", ""),
        ("${U:-red}", "red"),
        ("${U-red}", "red"),
        ("${U:-}", ""),
        ("${U:-$B}", "blue"),
        ("${U:-${V:-${B}}}", "blue"),
        ("${B:+yes}", "yes"),
        ("${B+$B}", "blue"),
        ("${E:+yes}", ""),
        ("${E+yes}", "yes"),
        ("${U+yes}", ""),
        ("${B:?why}", "blue"),
        ("${E?why}", ""),
        ("${B:-$U}", "blue"),
        ('"${U:-a b}"', "a b"),
        ("$B/$B", "blue/blue"),
        ("$", "$"),
        ("a$.b", "a$.b"),
    ],
)
def test_compose_and_bash_fill_in_alike(dialect: Dialect, written: str, value: str) -> None:
    """The forms that both know give the same; an unused default may name what isn't there."""
    assert values(f"{BEFORE}A={written}\n", dialect)["A"] == value


@pytest.mark.parametrize("dialect", FILLS_IN)
@pytest.mark.parametrize(
    "written", ["$U", "${U}", '"x $U"', "${U:?e}", "${E:?e}", "${U:-$V}", "$A"]
)
def test_what_the_file_does_not_set_is_refused(dialect: Dialect, written: str) -> None:
    """A reference without a value and without a default is named with its line and a way out."""
    found = problems(f"{BEFORE}A={written}\n", dialect)
    assert list(found) == [3]
    assert "has no value above this line of the file; set it there, or" in found[3]


@pytest.mark.parametrize("dialect", [*FILLS_IN, Dialect.DOTENV])
def test_nothing_comes_from_the_environment(
    dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who imports has an environment of their own, which must not end in the store."""
    monkeypatch.setenv("U", "mine")
    monkeypatch.setenv("B", "mine")
    assert 2 in problems("B=blue\nA=${U}\n", dialect)
    assert values("B=blue\nA=${B}\n", dialect)["A"] == "blue"
    assert values("A=${U:-red}\n", dialect)["A"] == "red"


@pytest.mark.parametrize("dialect", [*FILLS_IN, Dialect.DOTENV])
def test_only_what_stands_above_counts(dialect: Dialect) -> None:
    """As in the programs themselves, a variable that is set further down isn't there yet."""
    assert list(problems("A=${B}\nB=blue\n", dialect)) == [1]


@pytest.mark.parametrize("dialect", [*FILLS_IN, Dialect.DOTENV])
def test_a_default_that_was_taken_is_said(dialect: Dialect) -> None:
    """The variable may have had a value in the environment of the program."""
    assert "U has no value" in warnings("A=${U:-red}\n", dialect)[1]


@pytest.mark.parametrize("dialect", FILLS_IN)
def test_an_alternative_that_was_left_out_is_said(dialect: Dialect) -> None:
    """Nothing disappears without a word."""
    assert "nothing was filled in" in warnings("A=x${U:+y}\n", dialect)[1]


@pytest.mark.parametrize("dialect", [*FILLS_IN, Dialect.DOTENV])
def test_what_refers_to_a_line_at_fault_is_not_blamed(dialect: Dialect) -> None:
    """Mending the first line mends the second, so only the first is listed."""
    assert list(problems("B=${U}\nA=${B}\n", dialect)) == [1]


@pytest.mark.parametrize("dialect", FILLS_IN)
def test_doubling_ends_at_the_largest_value(dialect: Dialect) -> None:
    """A file of a few lines can't fill the memory by referring to itself over and over."""
    lines = [f"V{n}=$V{n - 1}$V{n - 1}" for n in range(1, 40)]
    found = problems("V0=xxxxxxxx\n" + "\n".join(lines), dialect)
    assert f"{MAX_VALUE_BYTES:,}" in found[17]


@pytest.mark.parametrize("dialect", FILLS_IN)
def test_deep_nesting_is_refused(dialect: Dialect) -> None:
    """Defaults within defaults end somewhere before Python's stack does."""
    assert "nested too deeply" in problems("A=" + "${A:-" * 5000 + "}" * 5000, dialect)[1]
