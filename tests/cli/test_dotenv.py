"""What a `.env` file is taken to say, and when it is refused."""

from __future__ import annotations

import io
import json

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

from jarvis_secretsd.cli.dotenv import DotenvRefused, Reading, read_dotenv
from jarvis_secretsd.values import MAX_VALUE_BYTES

PEM = "-----BEGIN KEY-----\nMC4CAQ==\n#not a comment\nNOT_A_KEY=in\n-----END KEY-----\n"


def values(text: str) -> dict[str, str]:
    """Variable and value of each assignment."""
    return _values(read_dotenv(text.encode()))


def _values(reading: Reading) -> dict[str, str]:
    return {found.variable: found.value.reveal_text() for found in reading.assignments}


def problems(data: str | bytes) -> dict[int, str]:
    """The refusal of a file, by line."""
    with pytest.raises(DotenvRefused) as caught:
        read_dotenv(data.encode() if isinstance(data, str) else data)
    return {found.line: found.text for found in caught.value.problems}


def warnings(text: str) -> dict[int, str]:
    """What is said about a file that was read, by line."""
    said: dict[int, str] = {}
    for found in read_dotenv(text.encode()).warnings:
        said[found.line] = f"{said.get(found.line, '')}{found.text}\n"
    return said


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
        ('A={"a":"b"}', '{"a":"b"}'),
        ('A="  keep  "', "  keep  "),
        ("A=  drop  ", "drop"),
        (" A = b b ", "b b"),
        ("export A=1", "1"),
        ("export  A = 1", "1"),
        ("A=a=b==", "a=b=="),
        ("A=it's", "it's"),
        ("A=\u00a0x\u00a0", "\u00a0x\u00a0"),
        ("A=one\u2028two\x0bthree\x85", "one\u2028two\x0bthree\x85"),
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
    assert [found.line for found in read_dotenv(text.encode()).assignments] == [1, 7]


def test_a_variable_becomes_its_lower_case_name() -> None:
    """FOO_BAR is the secret foo_bar, a variable called export is one too."""
    reading = read_dotenv(b"FOO_BAR=1\n_x9=2\nexport=3\n")
    assert [found.name for found in reading.assignments] == ["foo_bar", "_x9", "export"]
    assert values("export =4") == {"export": "4"}


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
        ("A" * 256 + "=x", "longer than 255"),
        ("A='it'\\''s'", "text follows the closing '"),
        ("A='it\\'s'", "text follows the closing '"),
        ('A="x"y', 'text follows the closing "'),
        ("A='abc\\'", "for bash"),
        ('A="cost\\$5"', "double the backslash"),
        ('A="\\d"', "double the backslash"),
        ('A="x', 'the " opened here is never closed'),
        ('A="x\\"', 'the " opened here is never closed'),
        ("A=`cmd`", "take a ` for a quote"),
        ("A=" + "x" * (MAX_VALUE_BYTES + 1), "at most 262,144 bytes"),
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


def test_two_spellings_of_one_name_collide() -> None:
    """Variables that would be the same secret are an error that names both."""
    assert "Foo and FOO (line 1) would both be the secret foo" in problems("FOO=1\nFoo=2")[2]


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
    assert _values(read_dotenv(b"\xef\xbb\xbfFIRST=1\nSECOND=2\n")) == {"FIRST": "1", "SECOND": "2"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("A=", "empty"),
        ("A=# set me", "read as a comment"),
        ("A=#lead", "first character"),
        ("A='x\\\\y'", "python-dotenv"),
        ('A="x"# c', "comment"),
        ("A=x${B}y", "names the variable B"),
        ("A=$B", "names the variable B"),
        ('A="1\nC=2"', "is a quote missing"),
    ],
)
def test_what_a_person_should_look_at_is_said(line: str, why: str) -> None:
    """A value that may mean something else to its writer is read, with a warning at its line."""
    assert why in warnings(f"B=1\n{line}\n")[2]


def test_sure_values_raise_no_warning() -> None:
    """A file without doubts is read without a word."""
    assert not warnings("A=x$HOME\nB='${C}'\nK='-----BEGIN\nMC4CAQ==\n'\n# A=\n")


def test_no_word_of_a_value_is_told() -> None:
    """Neither a refusal nor a warning quotes a value, nor a line that may be a piece of one."""
    text = "A=\"hunter2\\d\"\nB='hunter2\\'\nhunter2+/x==\nC='x'hunter2\nD=`hunter2\n"
    doubtful = "A=#hunter2\nB='hunter2\\\\x'\n"
    told = " ".join([*problems(text).values(), *warnings(doubtful).values()])
    assert "hunter2" not in told


def render(value: str) -> str:
    """A value in the quotes that hold it: single ones where they can."""
    if "'" in value or "\r" in value or value.endswith("\\"):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + escaped.replace("\r", "\\r") + '"'
    return f"'{value}'"


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)


@given(st.dictionaries(NAMES, TEXTS), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example({"A": "x\nLD_PRELOAD=/tmp/e.so"}, "\n", True)
@example({"A": "\\", "B": "'\"\\'"}, "\r\n", False)
def test_what_is_rendered_is_read_back(
    wanted: dict[str, str], line_end: str, exported: bool
) -> None:
    """Any text in quotes comes back as it was, and never as another variable."""
    prefix = "export " if exported else ""
    lines = [f"{prefix}{name}={render(value)}" for name, value in wanted.items()]
    text = "\n".join(lines) + "\n"
    assert values(text) == wanted
    if not any("\n" in value for value in wanted.values()):
        assert values(text.replace("\n", line_end)) == wanted


@given(st.binary(max_size=60) | TEXTS.map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever the file holds, it is read whole or refused with lines that it has."""
    try:
        reading = read_dotenv(data)
    except DotenvRefused as refused:
        lines = data.replace(b"\r\n", b"\n").count(b"\n") + 1
        assert all(1 <= found.line <= lines for found in refused.problems)
    else:
        assert len({found.name for found in reading.assignments}) == len(reading.assignments)


FRAGMENTS = st.sampled_from(
    ["A=", "B =", "export C=", "x", "'", '"', "\\", "\n", "#", " ", "$A", "${B}", "=", "\\n", "é"]
)


@given(st.lists(FRAGMENTS, max_size=14).map("".join))
def test_what_is_read_surely_is_what_python_dotenv_reads(text: str) -> None:
    """Where the file is read without a warning, python-dotenv reads the same values from it."""
    try:
        reading = read_dotenv(text.encode())
    except DotenvRefused:
        return
    if all("empty" in found.text or "names" in found.text for found in reading.warnings):
        theirs = dotenv_values(stream=io.StringIO(text), interpolate=False)
        assert _values(reading) == theirs
