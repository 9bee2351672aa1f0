"""What each dialect makes of the same text: the kinds of line that programs dispute."""

from __future__ import annotations

import pytest

from jarvis_secretsd.cli.envfile import Dialect
from tests.cli.envfile.readings import problems, values, warnings

PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n#not a comment\nIN=side\n-----END PRIVATE KEY-----\n"
JSON = r'{"type":"sa","key":"-----BEGIN\nAB==\n"}'
BCRYPT = "$2y$10$Q9hT7gk1u0Zr"


class Refused(str):
    """What a refusal says, in part."""


def everywhere(value: str | Refused) -> tuple[str | Refused, ...]:
    return (value,) * 4


UNSET = Refused("has no value above")
COMMAND = Refused("for a command")
NOT_NAME_VALUE = Refused("not NAME=value")
DROPPED = Refused("would drop it")
AFTER_QUOTE = Refused("text follows the closing")
NO_NAME = Refused("is no variable's name")
IS_A_COMMAND = Refused("run it as a command")

# text: what A is, to literal, compose, shell and dotenv
CASES: dict[str, tuple[str | Refused, ...]] = {
    # a dollar in a password
    "A=ab$HOMEcd": ("ab$HOMEcd", UNSET, UNSET, "ab$HOMEcd"),
    'A="ab$cd"': ("ab$cd", UNSET, UNSET, "ab$cd"),
    "A='p@$$w0rd${HOME}'": (*(["p@$$w0rd${HOME}"] * 3), UNSET),
    f"A={BCRYPT}": (BCRYPT, UNSET, Refused("something of its own"), BCRYPT),
    f"A='{BCRYPT}'": everywhere(BCRYPT),
    "A=a$$b": ("a$$b", "a$b", Refused("something of its own"), "a$$b"),
    r"A=cost\$5": (r"cost\$5", r"cost\$5", "cost$5", r"cost\$5"),
    'A="p$HOMEless"': ("p$HOMEless", UNSET, UNSET, "p$HOMEless"),
    "A=$2y$10$abc": ("$2y$10$abc", UNSET, Refused("something of its own"), "$2y$10$abc"),
    # more than one line
    f'A="{PEM}"': everywhere(PEM),
    f"A='{PEM}'": everywhere(PEM),
    "A='x\nLD_PRELOAD=/tmp/e.so'": everywhere("x\nLD_PRELOAD=/tmp/e.so"),
    # comments, and what only looks like one
    "A=   # set me": ("", Refused("a line of its own"), "", ""),
    "A=# set me": ("", Refused("a line of its own"), COMMAND, "# set me"),
    "A=": everywhere(""),
    'A=""  # c': everywhere(""),
    "A=v  # c": everywhere("v"),
    "A=v# c": ("v# c", "v# c", COMMAND, "v# c"),
    'A="v" # it\'s': everywhere("v"),
    "A=v\t# c": ("v", "v\t# c", "v", "v"),
    "A=123#4": everywhere("123#4"),
    "A=#lead": everywhere("#lead"),
    "A=a #b": everywhere("a"),
    'A="a#b"#c': ("a#b", "a#b", "a#b#c", "a#b"),
    "A=http://h/p#frag": everywhere("http://h/p#frag"),
    "A=kP4>hb_d0#_GN8d]6": (
        "kP4>hb_d0#_GN8d]6",
        "kP4>hb_d0#_GN8d]6",
        Refused("'>' means more to bash"),
        "kP4>hb_d0#_GN8d]6",
    ),
    "A=ab#cd": everywhere("ab#cd"),
    'A="x # y" # n': everywhere("x # y"),
    # backslashes
    f"A={JSON}": (JSON, JSON, r"{type:sa,key:-----BEGIN\nAB==\n}", JSON),
    f"A='{JSON}'": everywhere(JSON),
    r'A="{\"a\":\"b\\nc\"}"': everywhere(r'{"a":"b\nc"}'),
    r'A="C:\\new\\table"': everywhere(r"C:\new\table"),
    r"A=C:\new\table": (r"C:\new\table", r"C:\new\table", "C:newtable", r"C:\new\table"),
    "A=abc\\\nT2=next": ("abc\\", "abc\\", "abcT2=next", "abc\\"),
    r"A='it\'s'": (AFTER_QUOTE, "it's", Refused("never closed"), "it's"),
    r"A='it'\''s'": (AFTER_QUOTE, AFTER_QUOTE, "it's", DROPPED),
    r"A=a\#b": (r"a\#b", r"a\#b", "a#b", r"a\#b"),
    r'A="l1\nl2"': ("l1\nl2", "l1\nl2", r"l1\nl2", "l1\nl2"),
    r"A='a\\b'": (r"a\\b", r"a\\b", r"a\\b", r"a\b"),
    # blanks, prefixes and names
    'A="  keep  "': everywhere("  keep  "),
    "A=  drop  ": ("drop", "drop", COMMAND, "drop"),
    "A=one two": ("one two", "one two", COMMAND, "one two"),
    "export A=1": everywhere("1"),
    "export  A = 1": ("1", "1", Refused("without blanks"), "1"),
    " A = b b ": ("b b", "b b", IS_A_COMMAND, "b b"),
    "A =": ("", "", IS_A_COMMAND, ""),
    "A=1\nA=2": everywhere(Refused("already set on line 1")),
    "A: yes": (NOT_NAME_VALUE, "yes", IS_A_COMMAND, DROPPED),
    "=x": (*([Refused("no name before")] * 2), IS_A_COMMAND, DROPPED),
    "set -x": (NOT_NAME_VALUE, NOT_NAME_VALUE, IS_A_COMMAND, DROPPED),
    "1A=x": (NO_NAME, NO_NAME, IS_A_COMMAND, NO_NAME),
    "a.b=y": (NO_NAME, NO_NAME, IS_A_COMMAND, NO_NAME),
    "a-b=z": (NO_NAME, NO_NAME, IS_A_COMMAND, NO_NAME),
    "A": (NOT_NAME_VALUE, NOT_NAME_VALUE, IS_A_COMMAND, NOT_NAME_VALUE),
    "export A": (NOT_NAME_VALUE, NOT_NAME_VALUE, Refused("no value here"), NOT_NAME_VALUE),
    'A={"a":"b"}': ('{"a":"b"}', '{"a":"b"}', "{a:b}", '{"a":"b"}'),
}


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("text", CASES)
def test_a_line_means_what_its_reader_makes_of_it(text: str, dialect: Dialect) -> None:
    """Each dialect reads a disputed line as its program does, or refuses it with a reason."""
    wanted = CASES[text][list(Dialect).index(dialect)]
    if isinstance(wanted, Refused):
        assert wanted in next(iter(problems(text, dialect).values()))
    else:
        assert values(text, dialect)["A"] == wanted


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_key_is_one_value_whatever_ends_its_lines(
    dialect: Dialect, quote: str, line_end: str
) -> None:
    """A PEM in quotes is the same bytes from a file with LF and with CRLF."""
    text = f"A={quote}{PEM}{quote}\nNEXT=1\n".replace("\n", line_end)
    assert values(text, dialect) == {"A": PEM, "NEXT": "1"}


@pytest.mark.parametrize("dialect", Dialect)
def test_only_utf8_is_read(dialect: Dialect) -> None:
    """A byte order mark is dropped; UTF-16 and Latin-1 are refused with their line."""
    assert values(b"\xef\xbb\xbfA=1\nB=2\n", dialect) == {"A": "1", "B": "2"}
    assert "not UTF-8" in problems(b"A=1\nB=p\xe4ss\n", dialect)[2]
    assert "UTF-16" in problems("A=1\n".encode("utf-16"), dialect)[1]


@pytest.mark.parametrize("dialect", Dialect)
def test_a_word_called_export_can_be_a_name(dialect: Dialect) -> None:
    """The prefix is dropped once; a variable called export is one."""
    assert values("export=1", dialect) == {"export": "1"}


@pytest.mark.parametrize("dialect", Dialect)
def test_every_line_at_fault_is_listed(dialect: Dialect) -> None:
    """One look shows all that has to be mended."""
    text = "A=1\nset -x\nB='x\n\nC=1\n"
    assert set(problems(text, dialect)) == {2, 3}


@pytest.mark.parametrize(
    ("dialect", "text", "why"),
    [
        (Dialect.COMPOSE, "A=v\t# c", "only after a space"),
        (Dialect.COMPOSE, "A=#lead", "first character"),
        (Dialect.COMPOSE, "A=x\r\n", "Compose keeps the CR"),
        (Dialect.SHELL, "A=x\r\n", "bash would keep the CR"),
        (Dialect.SHELL, "A=abc\\\nB=1", "the next line was joined"),
        (Dialect.SHELL, r"A=C:\new", "a backslash before a letter was dropped"),
        (Dialect.SHELL, 'A={"a":1}', "quotes inside it were taken away"),
        (Dialect.DOTENV, "B=1\nA=$B", "names the variable B"),
        (Dialect.DOTENV, "A='x\nB=1'", "is a quote missing"),
    ],
)
def test_what_a_dialect_does_that_its_writer_may_not_expect_is_said(
    dialect: Dialect, text: str, why: str
) -> None:
    """Where a program changes or keeps what people think otherwise of, there is a warning."""
    assert why in "".join(warnings(text, dialect).values())


@pytest.mark.parametrize("dialect", Dialect)
def test_no_dialect_tells_a_value(dialect: Dialect) -> None:
    """No message quotes a value, whatever is wrong with its line."""
    lines = (
        'A="hunter2 $(hunter2)\nhunter2.x=1"\nB=hunter2 hunter2\nC="x"hunter2\nD=${hunter2\n'
        "E=${Z:?hunter2}\nF=hunter2`\nG=# hunter2\nH='x\\'hunter2\nhunter2+/x==\n"
    )
    assert "hunter2" not in " ".join(problems(lines, dialect).values())
