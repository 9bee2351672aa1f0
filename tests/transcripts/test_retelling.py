"""What compares the transcripts: it fails where it should, and hides nothing but what differs."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from jarvis_secretsd import __version__
from tests.transcripts.placeholders import Placeholders
from tests.transcripts.retelling import Printed, Session, Terminal, retold

TOLD = """\
# Prose,
# of two lines.
$ greet
hello, world

$ cat <<'END'
> a
>
> END
a

? 3

$ silent
"""

PRINTED = (Printed("hello, world\n", 0), Printed("a\n\n", 3), Printed("", 0))
KID = "0123456789abcdef"


def always(*printed: Printed) -> Session:
    """A session in which the commands print this, whatever they are."""
    return lambda _commands: printed


def test_what_is_as_it_was_is_told_the_same() -> None:
    """Prose, commands, output with empty lines and statuses come back to the letter."""
    assert retold(TOLD, always(*PRINTED)) == TOLD


@pytest.mark.parametrize(
    ("place", "other"),
    [
        (0, Printed("hello, World\n", 0)),
        (0, Printed("hello, world", 0)),
        (0, Printed("hello, world\n\n", 0)),
        (0, Printed("hello, world\n", 1)),
        (1, Printed("a\n\n", 0)),
        (2, Printed("jarvis-secrets: a word more\n", 0)),
    ],
)
def test_a_changed_word_is_told_otherwise(place: int, other: Printed) -> None:
    """A word, a line's end, a line more, a status: each makes the transcript another."""
    printed = [*PRINTED]
    printed[place] = other
    assert retold(TOLD, always(*printed)) != TOLD


@pytest.mark.parametrize("output", ["x\n\n$ rm -r\n", "x\n\n# prose\n$ y\n", "> more\n"])
def test_output_that_would_be_read_as_a_step_is_refused(output: str) -> None:
    """What is written can be read again, as the same commands."""
    with pytest.raises(ValueError, match="step"):
        retold("$ show\n", always(Printed(output, 0)))


def test_a_step_without_a_command_is_refused() -> None:
    """Prose that stands alone would be lost, so it isn't taken."""
    with pytest.raises(ValueError, match="no command"):
        retold("# prose\n\n$ true\n", always(Printed("", 0)))


def test_a_session_is_a_terminal(tmp_path: Path) -> None:
    """Commands share a directory and variables; what they write to either stream is in order."""
    commands = [
        "cat > x <<'END'\n$HOME\n\nEND",
        "cat x; word=kept",
        'echo 1; echo 2 >&2; echo 3; echo "$word"; (exit 4)',
        "test -t 1 && test -t 2 && printf 'a terminal'",
        "wc -c; env | sort | grep -v -e PWD= -e SHLVL= -e _=",
    ]
    assert Terminal(tmp_path, {"PATH": "/usr/bin:/bin"})(commands) == [
        ("", 0),
        ("$HOME\n\n", 0),
        ("1\n2\n3\nkept\n", 4),
        ("a terminal", 0),
        (
            f"0\nCOLUMNS=80\nHOME={tmp_path}\nLANG=C.UTF-8\nLINES=1000\n"
            "PATH=/usr/bin:/bin\nTERM=dumb\nTZ=UTC\n",
            0,
        ),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"kid {KID}, kid {KID}, kid {KID[::-1]}", "kid ID-1, kid ID-1, kid ID-2"),
        (f"{KID}  any\n", "ID-1              any\n"),
        (f"jst_{'aB-_' * 10}abc", "TOKEN-1"),
        ("2026-03-01  2026-02-27 2026-05-30", "TODAY+1     TODAY-1 TODAY+91"),
        ("until 2026-02-28T23:59:59Z", "until TODAY@TIME"),
        ('"2027-02-28T00:00:00.000000Z"', '"TODAY+365@TIME"'),
        (f"SHA256:{KID * 4} of {KID * 2}", "FINGERPRINT of LOG"),
        (f"version {__version__}, up 1 second", "version VERSION, up UPTIME"),
        (f'"uid":{os.geteuid()},"uid":{os.geteuid()}1', f'"uid":UID,"uid":{os.geteuid()}1'),
        ("/tmp/scratch/state", "DIR/state"),
    ],
)
def test_what_differs_from_run_to_run_has_words(text: str, told: str) -> None:
    """The same thing has the same word, another one another, and a day says how far it is."""
    assert Placeholders(Path("/tmp/scratch"), date(2026, 2, 28))(text) == told


@pytest.mark.parametrize(
    "text",
    [
        f"kid {KID[1:]}",
        f"kid {KID}0",
        f"kid {KID.upper()}",
        "jst_short",
        "2026-13-01",
        "until 2026-02-28T23:59:59",
        "until 2026-02-28T23:59:59+00:00",
        f"version {__version__}1",
        "up 2 minutes",
        f"uid {os.geteuid()}1",
        "/tmp/other/state",
        "version 1, 3 entries, 4 bytes",
    ],
)
def test_what_is_wrong_still_shows(text: str) -> None:
    """What isn't of the right form, or another's, keeps its own words."""
    told = Placeholders(Path("/tmp/scratch"), date(2026, 2, 28))(text)
    assert told.replace("TODAY", "2026-02-28") == text
