"""Which values look as if nobody had filled them in."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jarvis_secretsd.cli.envfile import placeholder
from jarvis_secretsd.values import SecretValue


def why(text: str) -> str | None:
    return placeholder(SecretValue.from_text(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" ", "empty"),
        ("changeme", "to be changed"),
        ("CHANGE_ME", "to be changed"),
        ("change-this-password", "to be changed"),
        ("please_change_me_now", "to be changed"),
        ("this_password_is_insecure_and_should_be_updated", "to be changed"),
        ("REPLACE_WITH_RANDOM", "to be filled in"),
        ("insert-key-here", "to be filled in"),
        ("generate-a-long-random-string", "to be filled in"),
        ("TODO: ask", "to be filled in"),
        ("your_api_key_here", "what should be there"),
        ("your-super-secret-jwt-token-with-at-least-32-characters-long", "what should be there"),
        ("yourpassword", "what should be there"),
        ("a-strong-password-here", "what should be there"),
        ("<your-key>", "brackets"),
        ("[your key]", "brackets"),
        ("{{ secret }}", "brackets"),
        ("__SECRET__", "brackets"),
        ("%PASSWORD%", "brackets"),
        ("$DB_PASSWORD", "reference"),
        ("${DB_PASSWORD:-x}", "reference"),
        ("xxx", "x's"),
        ("sk-xxxxxxxxxxxx", "x's"),
        ("xxxxxxxx-xxxx-xxxx", "x's"),
        ("x" * 60 + ".apps.example.net", "x's"),
        ("AKIAXXXXXXXXXXXXXXXX", "x's"),
        ("********", "x's"),
        ("0000000000", "over and over"),
        ("example", "example"),
        ("admin@example.com", "example"),
        ("null", "stands for nothing"),
        ("None", "stands for nothing"),
        ("password", "first that anybody tries"),
        ("Passw0rd!", "first that anybody tries"),
        ("postgres", "first that anybody tries"),
        ("123456", "first that anybody tries"),
    ],
)
def test_what_an_example_file_leaves_behind_is_noticed(text: str, reason: str) -> None:
    """Hints, brackets, x's and first guesses are named for what they are, without the value."""
    found = why(text)
    assert found is not None
    assert reason in found
    assert len(text) < 8 or text not in found


@pytest.mark.parametrize(
    "text",
    [
        "5432",
        "true",
        "localhost",
        "s3cr3t-Zq91",
        "correct horse battery staple",
        "redis://cache:6379",
        "Europe/Berlin",
        '["a","b"]',
        '{"a":1}',
        "$2y$10$abcdefgh",
        "null0",
    ],
)
def test_what_people_fill_in_is_left_alone(text: str) -> None:
    """Settings and real passwords raise no suspicion."""
    assert why(text) is None


@given(st.binary(min_size=16, max_size=60))
def test_random_keys_are_left_alone(data: bytes) -> None:
    """A key in hex is no placeholder, unless it is one digit over and over."""
    text = data.hex()
    assert why(text) is None or len(set(text)) == 1 or text.startswith("12345")


@given(st.lists(st.sampled_from([*"xX-.*!<", "a1", "your", "change"]), max_size=26).map("".join))
@example("x" * 26 + "!")
def test_no_value_takes_long(text: str) -> None:
    """Whatever repeats in a value, an answer is there before anybody notices."""
    before = process_time()
    why(text)
    assert process_time() - before < 0.2


def test_binary_and_long_values_are_left_alone() -> None:
    """What can't have been typed as a hint isn't looked at."""
    assert placeholder(SecretValue(b"changeme", is_text=False)) is None
    assert why("changeme " * 100) is None
