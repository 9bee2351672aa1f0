"""The dialect `literal`: what all readers of a `.env` agree on, and when a file is refused."""

from __future__ import annotations

import io
import json

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.cli.envfile import EnvfileRefused, read_envfile
from jarvis_secretsd.values import MAX_VALUE_BYTES
from tests.cli.envfile.readings import problems, values, warnings

PEM = "-----BEGIN KEY-----\nMC4CAQ==\n#not a comment\nNOT_A_KEY=in\n-----END KEY-----\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=ab$HOMEcd", "ab$HOMEcd"),
        ('A="ab$cd"', "ab$cd"),
        ("A='p@$$w0rd${HOME}'", "p@$$w0rd${HOME}"),
        ("A=$2y$10$Q9hT7gk1u0Zr", "$2y$10$Q9hT7gk1u0Zr"),
        ("A=a$$b", "a$$b"),
        (r"A=cost\$5", r"cost\$5"),
        ("A=   # set me", ""),
        ("A=", ""),
        ('A=""  # c', ""),
        ("A=''", ""),
        ("A=v  # c", "v"),
        ("A=v# c", "v# c"),
        ('A="v" # it\'s', "v"),
        ("A=v\t# c", "v"),
        ("A=123#4", "123#4"),
        ("A=a #b", "a"),
        ('A="a#b"#c', "a#b"),
        ("A=http://h/p#frag", "http://h/p#frag"),
        ("A=kP4>hb_d0#_GN8d]6", "kP4>hb_d0#_GN8d]6"),
        ('A="x # y" # n', "x # y"),
        (r'A="C:\\new\\table"', r"C:\new\table"),
        (r"A=C:\new\table", r"C:\new\table"),
        (r'A="l1\nl2\t\r\""', 'l1\nl2\t\r"'),
        (r"A=a\#b", r"a\#b"),
        (r'A="a\$b\`c"', "a$b`c"),
        ('A={"a":"b"}', '{"a":"b"}'),
        ('A="  keep  "', "  keep  "),
        ("A=  drop  ", "drop"),
        (" A = b b ", "b b"),
        ("export A=1", "1"),
        ("export  A = 1", "1"),
        ("A=a=b==", "a=b=="),
        ("A=it's", "it's"),
        ("A=one\u2028two\x0bthree\x85four", "one\u2028two\x0bthree\x85four"),
        ("A='x\ny'", "x\ny"),
    ],
)
def test_a_value_is_what_the_file_says(text: str, value: str) -> None:
    """Nothing is filled in, cut or changed that the file's readers agree on."""
    assert values(text) == {"A": value}
    assert values(f"# before\n\n{text}\n\t\nB=after\n") == {"A": value, "B": "after"}


def test_json_stays_json() -> None:
    """A service account's JSON reads the same bare, quoted and escaped."""
    reading = values(
        'J1={"type":"sa","key":"-----BEGIN\\nAB==\\n"}\n'
        'J2=\'{"type":"sa","key":"-----BEGIN\\nAB==\\n"}\'\n'
        'J3="{\\"a\\":\\"b\\\\nc\\"}"\n'
    )
    assert json.loads(reading["J1"]) == json.loads(reading["J2"])
    assert reading["J3"] == '{"a":"b\\nc"}'


def test_a_backslash_does_not_join_lines() -> None:
    """A value that ends in a backslash ends with its line."""
    assert values("T1=abc\\\nT2=next\n") == {"T1": "abc\\", "T2": "next"}


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_key_of_many_lines_is_one_value(quote: str, line_end: str) -> None:
    """A PEM in quotes keeps its lines, comments and equal signs; CRLF reads as LF."""
    text = f"K={quote}{PEM}{quote}\nNEXT=1\n".replace("\n", line_end)
    assert values(text) == {"K": PEM, "NEXT": "1"}
    assert [found.line for found in read_envfile(text.encode()).assignments] == [1, 7]


def test_a_variable_may_be_called_export() -> None:
    """The word export is a prefix where a blank follows it."""
    assert values("export=3") == {"export": "3"}
    assert "no name" in problems("export =4")[1]
    assert values("export export=5") == {"export": "5"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("A", "no '='"),
        ("export A", "no '='"),
        ("set -x", "no '='"),
        ("D: yes", "no '='"),
        ("=x", "no name before '='"),
        ("1A=x", "did you mean '_1A'"),
        ("a.b=y", "did you mean 'a_b'"),
        ("a-b=z", "did you mean 'a_b'"),
        ("A B=z", "no variable's name"),
        ("'A'=z", "no variable's name"),
        ("É=z", "no variable's name"),
        ("export export A=1", "no variable's name"),
        ("A='it'\\''s'", "text follows the closing '"),
        ("A='it\\'s'", "text follows the closing '"),
        ('A="x"y', 'text follows the closing "'),
        ("A='abc\\'", "for bash"),
        ('A="\\d"', "double the backslash"),
        ('A="x', "the quote opened here is never closed"),
        ('A="x\\"', "the quote opened here is never closed"),
        ("A=`cmd`", "take a ` for a quote"),
        ("A=" + "x" * (MAX_VALUE_BYTES + 1), "at most 262,144 bytes"),
        ("A=x\u00a0", "an unusual space"),
        ("A=x\u00a0 # c", "an unusual space"),
        ("A=\u2003x", "an unusual space"),
        ("A=x\x1f#c", "an unusual space"),
        ("A=x\ry", "control character"),
        ("A=x\0y", "control character"),
    ],
)
def test_what_readers_do_not_agree_on_is_refused_with_its_line(line: str, why: str) -> None:
    """A line that can't be read surely refuses the file and is named; the reason is a remedy."""
    found = problems(f"GOOD=1\n\n{line}\nAFTER=2\n".replace("AFTER", "Z"))
    assert list(found) == [3]
    assert why in found[3]


def test_every_bad_line_is_listed() -> None:
    """One look shows all that has to be mended, wherever a fault is noticed."""
    found = problems("A\nB=1\nC='x\\'\nD: 1\nE=`x`\nF=\"\\d\"\n1G='a\nb'\nB=2\n")
    assert list(found) == [1, 3, 4, 5, 6, 7, 9]
    assert found[9] == "B was already set on line 2; keep one of the two"


def test_spelling_tells_variables_apart() -> None:
    """FOO and Foo are two variables; what secrets they become isn't decided here."""
    assert values("FOO=1\nFoo=2") == {"FOO": "1", "Foo": "2"}


def test_a_fault_over_several_lines_names_both_ends() -> None:
    """A quote that closes in the wrong place is reported with the lines of both quotes."""
    assert problems('A="x\nB="y"\n') == {
        1: 'text follows the closing " on line 2; quote the value as a whole'
    }


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (b"A=1\nB=p\xe4ss\n", 2, "byte 7 is not UTF-8"),
        ("A=1\n".encode("utf-16"), 1, "UTF-16"),
        ("A=1\n".encode("utf-16-le"), 1, "control character"),
        ("A=1\n".encode("utf-16-be"), 1, "control character"),
    ],
)
def test_another_encoding_is_refused(data: bytes, line: int, why: str) -> None:
    """Only UTF-8 is read; there is no guess at another encoding."""
    assert why in problems(data)[line]


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    """A BOM at the start is dropped; nothing else at the start is."""
    assert values(b"\xef\xbb\xbfFIRST=1\nSECOND=2\n") == {"FIRST": "1", "SECOND": "2"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("A=# set me", "read as a comment"),
        ("A=  # set me", "read as a comment"),
        ("A=#lead", "first character"),
        ("A=x\t# c", "after a tab"),
        ("A='x\\\\y'", "python-dotenv"),
        ('A="x"# c', "comment"),
        ("A=x${B}y", "names the variable B"),
        ("A=$B", "names the variable B"),
        ("A=$B$B$Z", "names the variables B, Z"),
        ('A="cost\\$5"', "python-dotenv would keep the backslash"),
        ('A="\\`"', "python-dotenv and Compose would keep the backslash"),
        ('A="1\nC=2"', "is a quote missing"),
    ],
)
def test_what_a_person_should_look_at_is_said(line: str, why: str) -> None:
    """A value that may mean something else to its writer is read, with a warning at its line."""
    assert why in warnings(f"B=1\n{line}\nZ=2\n")[2]


def test_sure_values_raise_no_warning() -> None:
    """A file without doubts is read without a word."""
    assert not warnings("A=x$HOME\nB='${C}'\nE=\nK='-----BEGIN\nMC4CAQ==\n'\n# A=\n")


def test_no_word_of_a_value_is_told() -> None:
    """Neither a refusal nor a warning quotes a value, nor a line that may be a piece of one."""
    text = "A=\"hunter2\\d\"\nB='hunter2\\'\nhunter2+/x==\nC='x'hunter2\nD=`hunter2\n"
    doubtful = "A=#hunter2\nB='hunter2\\\\x'\n"
    told = " ".join([*problems(text).values(), *warnings(doubtful).values()])
    assert "hunter2" not in told


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.binary(max_size=60) | TEXTS.map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever the file holds, it is read whole or refused with lines that it has."""
    try:
        reading = read_envfile(data)
    except EnvfileRefused as refused:
        lines = data.replace(b"\r\n", b"\n").count(b"\n") + 1
        assert all(1 <= found.line <= lines for found in refused.problems)
    else:
        assert len({found.variable for found in reading.assignments}) == len(reading.assignments)


FRAGMENTS = st.sampled_from(
    ["A=", "B =", "export C=", "x", "$A", "${B}", "\\n", *"'\"\\#=é\n \t\v\f\x1f\x85\xa0\u2028"]
)


@given(st.lists(FRAGMENTS, max_size=14).map("".join))
def test_what_is_read_surely_is_what_python_dotenv_reads(text: str) -> None:
    """Where the file is read without a warning, python-dotenv reads the same values from it."""
    try:
        reading = read_envfile(text.encode())
    except EnvfileRefused:
        return
    if all("names" in found.text for found in reading.warnings):
        theirs = dotenv_values(stream=io.StringIO(text), interpolate=False)
        assert values(text) == theirs
