"""What is written reads back: by us, by bash, and by the others as far as there is a way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jarvis_secretsd.cli.envfile import (
    MAX_FILE_BYTES,
    Dialect,
    EnvfileRefused,
    Unwritable,
    write_envfile,
)
from jarvis_secretsd.values import MAX_VALUE_BYTES, SecretValue
from tests.cli.envfile.readings import bash_environment, bash_reads, values
from tests.e2e.tools import needs

INJECTION = "x\nLD_PRELOAD=/tmp/e.so"
FILES = Path(__file__).parent / "files"

_HARD = """
    ' " \\ \\\\ $ $$ ` # = ~ ! * ( ) { } [ ] ; & | < > ? ^ % @ : , . - _ 0 a B é \ufeff
    \\n \\' \\" \\$ ${B} $B $( $[ $' $" export
"""
TEXTS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])) | st.lists(
    st.sampled_from([*_HARD.split(), *" \n\t\v\x01\x7f\x85\xa0\u2028"]), max_size=8
).map("".join)

CASES = [
    "",
    "plain-Value_1.0",
    "two words",
    "  keep  ",
    "it's",
    'say "x"',
    'it\'s "$HOME" and `id` and $(id) \\ \\\\',
    "$2y$10$Q9hT7gk1u0Zr",
    "p@$$w0rd${HOME}",
    "ends in \\",
    "ends in \\'",
    "'\\\n'",
    "two \\\\ backslashes",
    "#lead",
    "a #b",
    "# note",
    "~/x",
    '{"type":"sa","key":"-----BEGIN\\nAB==\\n"}',
    "-----BEGIN KEY-----\nMC4CAQ==\n#not a comment\nIN=side\n-----END KEY-----\n",
    INJECTION,
    f"it's {INJECTION}",
    "\n",
    "'",
    '"',
    "$",
    "`",
    "\x01\x7f\v\f\x85\u2028\ufeff",
    "日本語 é€",
]


def pairs(texts: list[str]) -> list[tuple[str, SecretValue]]:
    return [(f"V{number}", SecretValue.from_text(text)) for number, text in enumerate(texts)]


def only_bash_reads(text: str) -> bool:
    """Whether it needs double quotes, where python-dotenv keeps a backslash before $ and `."""
    in_double = "'" in text or "\\\\" in text or text.endswith("\\")
    return in_double and re.search(r"[$`]", text) is not None


@pytest.mark.parametrize("dialect", [Dialect.LITERAL, Dialect.SHELL])
@given(texts=st.lists(TEXTS, max_size=20))
@example(texts=CASES)
def test_what_is_written_reads_back_equal(dialect: Dialect, texts: list[str]) -> None:
    """Any text comes back as it was and as one variable, literally and as bash reads."""
    found = values(write_envfile(pairs(texts)), dialect)
    assert list(found.values()) == texts


@given(texts=st.lists(TEXTS, max_size=20))
@example(texts=CASES)
def test_compose_reads_it_but_for_a_backtick_beside_a_single_quote(texts: list[str]) -> None:
    """Only one kind of value has no form that Compose and bash share."""
    told = [text for text in texts if not ("`" in text and only_bash_reads(text))]
    assert list(values(write_envfile(pairs(told)), Dialect.COMPOSE).values()) == told


@needs("bash")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(TEXTS, min_size=50, max_size=400))
@example(texts=CASES)
def test_bash_reads_what_was_written(tmp_path: Path, texts: list[str]) -> None:
    """`set -a; . FILE` gives every value, whatever it holds."""
    file = tmp_path / "written.env"
    file.write_bytes(write_envfile(pairs(texts)).encode())
    assert bash_reads(file, [variable for variable, _ in pairs(texts)]) == texts


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, max_size=60))
@example(texts=CASES)
def test_python_dotenv_reads_what_both_can_read(tmp_path: Path, texts: list[str]) -> None:
    """Without interpolation python-dotenv gives the same, but for what it has no form for."""
    told = [text for text in texts if not only_bash_reads(text)]
    file = tmp_path / "written.env"
    file.write_bytes(write_envfile(pairs(told)).encode())
    assert list(dotenv_values(file, interpolate=False).values()) == told


@needs("bash")
def test_a_value_never_becomes_a_second_variable(tmp_path: Path) -> None:
    """What looks like another assignment stays inside its value, in every reader."""
    text = write_envfile(pairs([INJECTION, f"it's {INJECTION}", f"\\\n{INJECTION}\\"]))
    file = tmp_path / "written.env"
    file.write_bytes(text.encode())
    assert not {"LD_PRELOAD", "x"} & set(bash_environment(file))
    assert list(dotenv_values(file, interpolate=False)) == ["V0", "V1", "V2"]
    for dialect in Dialect:
        assert list(values(text, dialect)) == ["V0", "V1", "V2"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "A="),
        ("s3cret-Value_1.0", "A=s3cret-Value_1.0"),
        ("https://u:p%40@h:1/x", "A=https://u:p%40@h:1/x"),
        ("wJ6Dk1Fh/9m+4Qe==", "A=wJ6Dk1Fh/9m+4Qe=="),
        ("two words", "A='two words'"),
        ("$2y$10$x", "A='$2y$10$x'"),
        ('{"a":"b"}', 'A=\'{"a":"b"}\''),
        (r"C:\new", r"A='C:\new'"),
        ("it's", 'A="it\'s"'),
        ("it's 5$", 'A="it\'s 5$"'),
        ("a\\", r'A="a\\"'),
    ],
)
def test_the_plainest_form_is_chosen(text: str, line: str) -> None:
    """Bare where all readers agree, else single quotes, else double quotes."""
    assert write_envfile([("A", SecretValue.from_text(text))]) == f"{line}\n"


def test_a_line_that_python_dotenv_misreads_says_so() -> None:
    """Where no form serves all readers, a comment above names who reads it otherwise."""
    text = write_envfile([("A", SecretValue.from_text("it's $HOME"))])
    comment, line = text.splitlines()
    assert comment.startswith("#") and "python-dotenv" in comment
    assert line == 'A="it\'s \\$HOME"'


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("A", SecretValue(b"a\0b"), "NUL"),
        ("A", SecretValue(b"a\rb"), "carriage return"),
        ("A", SecretValue(b"a\r\nb\r\n"), "carriage return"),
        ("A", SecretValue(b"\xff\xfe", is_text=False), "binary"),
        ("A", SecretValue(b"text", is_text=False), "binary"),
        ("1A", SecretValue(b"x"), "no variable's name"),
        ("A B", SecretValue(b"x"), "no variable's name"),
        ("A\nB", SecretValue(b"x"), "no variable's name"),
        ("UID", SecretValue(b"x"), "bash keeps this variable"),
    ],
)
def test_what_no_form_holds_is_refused_by_name(variable: str, value: SecretValue, why: str) -> None:
    """A value that would come back different isn't written at all, and the reason is told."""
    with pytest.raises(Unwritable) as caught:
        write_envfile([("GOOD", SecretValue(b"x")), (variable, value)])
    assert [(each.variable, why in each.reason) for each in caught.value.unfit] == [
        (variable, True)
    ]
    assert variable in str(caught.value)


def test_all_that_cannot_be_written_is_named_at_once() -> None:
    """One look shows everything that has to be left out, a repeated variable too."""
    with pytest.raises(Unwritable) as caught:
        write_envfile([("A", SecretValue(b"\0")), ("B", SecretValue(b"")), ("B", SecretValue(b""))])
    assert [each.variable for each in caught.value.unfit] == ["A", "B"]


def test_a_file_that_no_import_reads_is_not_written() -> None:
    """The largest file that is written is the largest that is read."""
    value = SecretValue(b"x" * MAX_VALUE_BYTES)
    with pytest.raises(Unwritable, match="V15"):
        write_envfile([(f"V{number}", value) for number in range(16)])
    assert len(values(write_envfile([(f"V{number}", value) for number in range(15)]))) == 15


def test_what_comes_above_counts() -> None:
    """The heading is a part of the file's size: at the limit it reads, beyond it isn't written."""
    full = [(f"V{number}", SecretValue(b"x" * MAX_VALUE_BYTES)) for number in range(15)]
    room = MAX_FILE_BYTES - len(write_envfile(full)) - len("# Z\nW=\n")
    assert len(values(write_envfile([*full, ("W", SecretValue(b"x" * room))], above="# Z\n"))) == 16
    with pytest.raises(Unwritable, match="4,194,304"):
        write_envfile([*full, ("W", SecretValue(b"x" * (room + 1)))], above="# Z\n")


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_import_export_import_is_the_identity(name: str, dialect: Dialect) -> None:
    """What was imported from a project's file comes back from what is exported."""
    try:
        found = values((FILES / name).read_bytes(), dialect)
    except EnvfileRefused:
        return
    written = write_envfile([(each, SecretValue.from_text(text)) for each, text in found.items()])
    assert values(written) == found
    assert (
        write_envfile(
            [(each, SecretValue.from_text(text)) for each, text in values(written).items()]
        )
        == written
    )
