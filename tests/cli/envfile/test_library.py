"""The dialect `dotenv` against python-dotenv: equal, or refused."""

from __future__ import annotations

import io
from pathlib import Path
from unittest import mock

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

from jarvis_secretsd.cli.envfile import Dialect, EnvfileRefused
from tests.cli.envfile.readings import problems, values

_WORDS = """
    A= = D: x ' " \\ # $A ${A} ${U} ${A:-d} ${U:-d} ${:-d} ${A:?d} ${ } \\n \\' é
"""
FRAGMENTS = st.sampled_from([*_WORDS.split(), "B =", "export C=", "\n", " ", "\xa0", "\v"])


def theirs(text: str) -> dict[str, str | None]:
    """What the library makes of a text, in an empty environment."""
    with mock.patch.dict("os.environ", clear=True):
        return dict(dotenv_values(stream=io.StringIO(text)))


@given(st.lists(FRAGMENTS, max_size=14).map("".join))
@example("E=\nA=${E:-d}")
@example("A='${U:-it\\'s}'")
def test_what_is_read_is_what_the_library_reads(text: str) -> None:
    """Whatever is put together is equal to python-dotenv without an environment, or refused."""
    try:
        ours = values(text, Dialect.DOTENV)
    except EnvfileRefused as refused:
        assert all(1 <= found.line <= text.count("\n") + 1 for found in refused.problems)
    else:
        assert ours == theirs(text)


def test_every_file_that_is_read_is_read_by_the_library() -> None:
    """The examples of other projects give the same in python-dotenv, where they are read."""
    read = 0
    for path in sorted((Path(__file__).parent / "files").iterdir()):
        try:
            ours = values(path.read_bytes(), Dialect.DOTENV)
        except EnvfileRefused:
            continue
        with mock.patch.dict("os.environ", clear=True):
            assert ours == dict(dotenv_values(path)), path.name
        read += 1
    assert read > 8


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("A=1\n\n\nD: yes\n", 4, "would drop it"),
        ("A=1\n\n  B='it'\\''s'\nC=1\n", 3, "would drop it"),
        ("A=1\nB\n", 2, "no '='"),
        ("A=1\nB=${U}\n", 2, "U has no value above"),
        ("A=1\nB=${}\n", 2, "no value above"),
        ("A=1\nA=2\n", 2, "already set on line 1"),
        ("A=1\n\n\na.b=2\n", 4, "did you mean 'a_b'"),
    ],
)
def test_what_the_library_would_lose_is_refused(text: str, line: int, why: str) -> None:
    """Nothing that python-dotenv drops, or fills in as empty, is dropped here without a word."""
    assert why in problems(text, Dialect.DOTENV)[line]
