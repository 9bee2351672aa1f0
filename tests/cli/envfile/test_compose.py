"""The dialect `compose`: what Compose documents, and what compose-go does beyond."""

from __future__ import annotations

import pytest

from jarvis_secretsd.cli.envfile import Dialect, EnvfileRefused
from tests.cli.envfile.readings import problems, values, warnings
from tests.cli.envfile.recording import recorded

BEFORE = "B=blue\n"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        # the examples of the documentation
        ("A=VAL# not a comment", "VAL# not a comment"),
        ("A='$OTHER ${OTHER}'", "$OTHER ${OTHER}"),
        (r"A='Let\'s go!'", "Let's go!"),
        (r'A="{\"hello\": \"json\"}"', '{"hello": "json"}'),
        (r'A="some\tvalue"', "some\tvalue"),
        (r"A='some\tvalue'", r"some\tvalue"),
        (r"A=some\tvalue", r"some\tvalue"),
        ("A = VAL", "VAL"),
        ("A: VAL", "VAL"),
        ("A:b=c", "b=c"),
        # dollars
        ("A=$$B", "$B"),
        ("A=$$$B", "$blue"),
        (r'A="\$B"', "$B"),
        (r'A="\\$B"', r"\blue"),
        (r'A="\\\$B"', r"\$B"),
        (r"A=\$B", r"\blue"),
        (r'A="$\$B"', "$blue"),
        ("A=$5 and $", "$5 and $"),
        ("A=$é", "$é"),
        ("A=${B}}", "blue}"),
        ("A=${U:-x}}", "x}"),
        ("A=${U:-$$B}", "$B"),
        ("A=${U:-a:-b}", "a:-b"),
        ("A=${U--}", "-"),
        # quotes and backslashes
        ("A='x\ny'", "x\ny"),
        (r"A='a\\b'", r"a\\b"),
        (r"A='a\\'", "a\\\\"),
        (r'A="\a\b\f\n\r\t\v\\\""', '\a\b\f\n\r\t\v\\"'),
        (r'A="\q\c\x41\'"', r"\q\c\x41\'"),
        ("A=`x`", "`x`"),
        ("A=it's", "it's"),
        ('A=a"b"', 'a"b"'),
        ("A=x\t#y #z", "x\t#y"),
    ],
)
def test_a_value_is_what_compose_makes_of_it(written: str, value: str) -> None:
    """Escapes come first, references second, and neither in single quotes."""
    assert values(BEFORE + written + "\nZ=z", Dialect.COMPOSE) == {
        "B": "blue",
        "A": value,
        "Z": "z",
    }


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("A=${", "no reference of Compose"),
        ("A=${}", "no reference of Compose"),
        ("A=${B.c}", "no reference of Compose"),
        ("A=${B/x/y}", "no reference of Compose"),
        ("A=${B:-x", "not closed on its line"),
        ('A="${B:-x\ny}"', "not closed on its line"),
        ("A=${B:-{}}", "versions of Compose disagree"),
        (r'A="\0101"', "octal"),
        ("A=x\u00a0", "unusual space"),
        ("A=\u00a0x", "unusual space"),
        ("A='x' B=1", "text follows"),
        (r"A='x\'", "never closed"),
        (r'A="x\"', "never closed"),
        ("A", "in its own environment"),
    ],
)
def test_what_compose_refuses_or_versions_dispute_is_refused(written: str, why: str) -> None:
    """An error of Compose, and what it would look for elsewhere, is named with its line."""
    assert why in problems(BEFORE + written + "\n", Dialect.COMPOSE)[2]


def test_what_is_read_is_what_compose_itself_read() -> None:
    """Each file that Docker Compose was seen to read is equal here, or refused."""
    read = 0
    for text, theirs in recorded():
        try:
            ours = values(text, Dialect.COMPOSE)
        except EnvfileRefused:
            continue
        assert ours == theirs, text
        read += 1
    assert read > 200


def test_what_is_literally_sure_is_the_same_to_compose() -> None:
    """What `literal` reads without a word is equal in Compose, but for dollars."""
    read = 0
    for text, theirs in recorded():
        try:
            ours, doubtful = values(text), warnings(text)
        except EnvfileRefused:
            continue
        if "$" not in "".join({**ours, "Q": "in single quotes"}.values()) and not doubtful:
            assert ours == theirs, text
            read += 1
    assert read > 50
