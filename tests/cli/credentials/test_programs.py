"""What holds of both helpers as programs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from jarvis_secretsd.cli.credentials import dockerhelper, githelper
from jarvis_secretsd.client import SecretsClient
from tests.cli.credentials.conftest import Helper
from tests.client.fake_daemon import FakeDaemon

LOGIN = '{"ServerURL":"git.example","Username":"ann","Secret":"p\u20ac"}'
REMOTE = (
    '{"protocol":"https","host":"git.example","logins":[{"username":"ann","password":"p\u20ac"}]}'
)

Run = Callable[[list[str]], int]


@pytest.fixture(
    params=[
        (dockerhelper.run_helper, "git.example"),
        (githelper.run_helper, "protocol=https\nhost=git.example\n"),
    ],
    ids=["docker", "git"],
)
def asked(request: pytest.FixtureRequest, fake: FakeDaemon) -> tuple[Run, str]:
    """A helper, and what it is told to be asked for a login that is there."""
    fake.hold(**{"docker/git.example": LOGIN, "git/https/git.example": REMOTE})
    helper: tuple[Run, str] = request.param
    return helper


def test_the_answer_is_utf_8(
    asked: tuple[Run, str], ask: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the locale is: the program that asks knows no other."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    helper, said = asked
    assert ask(helper, "get", said).status == 0
    assert isinstance(stdout.buffer, io.BytesIO)
    assert "p\u20ac".encode() in stdout.buffer.getvalue()


def test_an_interrupt_is_quiet(
    asked: tuple[Run, str], ask: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in git or docker reaches the helper too, and shows no traceback there."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SecretsClient, "fetch", interrupted)
    helper, said = asked
    outcome = ask(helper, "get", said)
    assert (outcome.status, outcome.out, outcome.err.strip()) == (130, b"", "")


def test_more_than_a_value_holds_is_refused(asked: tuple[Run, str], ask: Helper) -> None:
    """Before anything is asked."""
    outcome = ask(asked[0], "store", "x" * 300_000)
    assert outcome.status == 1
    assert "the input is larger than 262,144 bytes" in outcome.out.decode() + outcome.err
