"""The dialect `shell` against bash: equal, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jarvis_secretsd.cli.envfile import Dialect, EnvfileRefused
from jarvis_secretsd.cli.envfile.shell import BASH_OWN
from tests.cli.envfile.readings import (
    bash_environment,
    bash_reads,
    bash_sets,
    problems,
    values,
    warnings,
)
from tests.e2e.tools import needs

BEFORE = "P='p q'\nQ='*$P\\'\nE=\n"

READ = {
    "A=1 B=2": {"A": "1", "B": "2"},
    "A=1 B=$A": {"A": "1", "B": "1"},
    "A=x \\\n  B=y # c": {"A": "x", "B": "y"},
    "A=1\nexport A": {"A": "1"},
    "export \\\n A=1": {"A": "1"},
    "A='it'\\''s'": {"A": "it's"},
    "A=a'b c'\"d e\"f": {"A": "ab cd ef"},
    "A=a\\\nb": {"A": "ab"},
    'A="a\\\nb"': {"A": "ab"},
    'A="\\$\\`\\"\\\\\\n"': {"A": '$`"\\\\n'},
    "A=\\$\\ \\#": {"A": "$ #"},
    "A=*.txt?[a]": {"A": "*.txt?[a]"},
    "A=a{b,c}": {"A": "a{b,c}"},
    "A=a~b/~c.~": {"A": "a~b/~c.~"},
    "A=x=y%z^!,:+@": {"A": "x=y%z^!,:+@"},
    "A=\v\f\u00a0\u2028": {"A": "\v\f\u00a0\u2028"},
    "A='\x01\x7f'": {"A": "\x01\x7f"},
    "A=$P": {"A": "p q"},
    "A=$Q": {"A": "*$P\\"},
    "A=${U:-'x}y'}": {"A": "x}y"},
    'A=${U:-"a $P"} ': {"A": "a p q"},
    'A="${U:-a\\}b}"': {"A": "a}b"},
    "A=${U:-a b#c}": {"A": "a b#c"},
    "A=${U:-{x}y}": {"A": "{xy}"},
    'A="$.$"': {"A": "$.$"},
    "\tA=1": {"A": "1"},
    "A=1 # it's": {"A": "1"},
    "if=1\nA=$if": {"A": "1"},
}


@needs("bash")
def test_bash_reads_what_is_expected_here(tmp_path: Path) -> None:
    """What this page of examples says is what bash itself does."""
    assert bash_sets(tmp_path, [BEFORE + text for text in READ]) == list(READ.values())


@pytest.mark.parametrize("text", READ)
def test_quotes_backslashes_and_joined_lines_are_read_as_bash_does(text: str) -> None:
    """Each form that needs no shell is read, alone or with others on its line."""
    found = values(BEFORE + text, Dialect.SHELL)
    assert {name: found[name] for name in ("A", "B") if name in found} == READ[text]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("A=$(id)", "run a command"),
        ('A="$(id)"', "run a command"),
        ("A=`id`", "run a command"),
        ('A="`id`"', "run a command"),
        ("A=$((1+1))", "calculate"),
        ("A=$[1+1]", "calculate"),
        ("A=~", "'~' means more"),
        ("A=x:~", "'~' means more"),
        ("A=${U:-~}", "'~' means more"),
        ("A=a;id", "';' means more"),
        ("A=a&", "'&' means more"),
        ("A=a|id", "'|' means more"),
        ("A=<x", "'<' means more"),
        ("A=(a b)", "'(' means more"),
        ("export A={a,b}", "'{' means more"),
        ("export A={a..c}", "'{' means more"),
        ("A=$'x'", "'$' means more"),
        ('A=$"x"', "'$' means more"),
        ("A=$1", "something of its own"),
        ("A=$$", "something of its own"),
        ("A=$?", "something of its own"),
        ("A=$_", "has no value"),
        ("A=${#B}", "only defaults"),
        ("A=${B%x}", "only defaults"),
        ("A=${B:=x}", "only defaults"),
        ("A=${B:1}", "only defaults"),
        ("A=${!B}", "only defaults"),
        ("A=${B", "only defaults"),
        ("A=${U:-x", "not closed on its line"),
        ('A="${U:-x"', "not closed on its line"),
        ("A=\"${U:-'x'}\"", "means more"),
        ('A="${U:-<(id)}"', "means more"),
        ("A=$\\\nB", "beyond its line"),
        ("A=$B\\\nC", "beyond its line"),
        ("A='x", "never closed"),
        ('A="x', "never closed"),
        ("A+=x", "run it as a command"),
        ("A[0]=x", "run it as a command"),
        ("set -a", "run it as a command"),
        ("A=1 id", "for a command"),
        ("A=1 2>x", "for a command"),
        ("declare A=1", "run it as a command"),
        ("export -n B", "run it as a command"),
        ("export A", "no value here or above"),
        ("UID=1000", "bash keeps UID for itself"),
        ("RANDOM=7", "bash keeps RANDOM for itself"),
        ("POSIXLY_CORRECT=1", "for itself"),
    ],
)
def test_what_needs_a_shell_is_refused(line: str, why: str) -> None:
    """Nothing is run, and nothing is guessed that only a shell can know."""
    found = problems(f"B=1\n{line}\nZ=2\n", Dialect.SHELL)
    assert why in found[2]


def test_export_fills_in_before_it_sets() -> None:
    """A word of an export line doesn't see the words before it, as in bash."""
    assert 1 in problems("export A=1 B=$A\n", Dialect.SHELL)


def test_a_backslash_at_the_end_of_the_file_is_refused() -> None:
    """bash would keep it there, and only there; it is likelier that a line is missing."""
    assert "means more" in problems("A=x\\", Dialect.SHELL)[1]


def test_a_fault_inside_quotes_skips_their_text() -> None:
    """The lines of a value at fault are not taken for lines of the file."""
    assert list(problems('A="x $(id)\n1B.c=2\n"\nC=`id`\n', Dialect.SHELL)) == [1, 4]


def test_shell_files_raise_no_warning() -> None:
    """Escapes and pieces of quotes that are meant as such are read without a word."""
    assert not warnings("A=a\\ b'c'\nB='it'\\''s'\nC=$A/\"$B\"\n", Dialect.SHELL)


_WORDS = """
    ' " \\ $ ` { } ( ) a P Q 0 _ # = ~ ! * é \x01 \x7f $$ \\n \\\\ ; & | < : / ? - + , . ${P} $Q $U
    ${P:- ${U:- ${U- ${E:- ${E- ${P:+ ${U+ ${E? ${P:?x 'x' "y" export A= B= \\" \\$ \\' \\} [0]
    "${U:- }" {a,b} p=~ é~
"""
WORDS = st.sampled_from([*_WORDS.split(), " ", "\t", "\n", "\\\n", "a b", " # c", "$\\\n"])
FRAMES = st.sampled_from(
    ["{}", '"{}"', "'{}'", '{}"x"', "${{U:-{}}}", '"${{U:-{}}}"', "{}$P", '"{}$Q"', "{}\\\n"]
)
HEADS = st.sampled_from(
    ["A=", "export A=", "A=1 B=", "export A=1 B=", "A= ", " A=", "A=x\nexport A B="]
)


@st.composite
def _statements(draw: st.DrawFn) -> str:
    body = "".join(draw(st.lists(WORDS, max_size=9)))
    return draw(HEADS) + draw(FRAMES).format(body) + draw(st.sampled_from(["", "\n"]))


@needs("bash")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_statements(), min_size=30, max_size=120))
def test_what_is_read_is_what_bash_reads(tmp_path: Path, statements: list[str]) -> None:
    """Whatever is put together from the shell's characters is equal to bash, or refused."""
    texts, readings = [], []
    for statement in statements:
        try:
            found = values(BEFORE + statement, Dialect.SHELL)
        except EnvfileRefused:
            continue
        texts.append(BEFORE + statement)
        readings.append({name: found[name] for name in ("A", "B") if name in found})
    assert bash_sets(tmp_path, texts) == readings


@needs("bash")
def test_bash_really_keeps_its_own_variables(tmp_path: Path) -> None:
    """Each of them is lost, or makes bash complain or read on in another way."""
    changes_bash = {"BASH_COMPAT", "BASH_XTRACEFD", "BASH_COMMAND", "POSIXLY_CORRECT"}
    for variable in sorted(BASH_OWN - changes_bash):
        (tmp_path / "own.env").write_text(f"{variable}=a1\n")
        assert bash_environment(tmp_path / "own.env").get(variable) != "a1", variable


@needs("bash")
def test_every_file_that_is_read_is_read_by_bash(tmp_path: Path) -> None:
    """The examples of other projects give the same in bash, where this dialect reads them."""
    for path in sorted((Path(__file__).parent / "files").iterdir()):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        try:
            wanted = values(text, Dialect.SHELL)
        except EnvfileRefused:
            continue
        (tmp_path / path.name).write_bytes(text)
        assert bash_reads(tmp_path / path.name, list(wanted)) == list(wanted.values()), path.name
