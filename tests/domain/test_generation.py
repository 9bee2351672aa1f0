"""Generated values mean themselves wherever people put them."""

from __future__ import annotations

import base64
import os
import shlex
from collections import Counter
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.domain.generation import SAFE_ALPHABET, generate
from jarvis_secretsd.messages import Generate
from jarvis_secretsd.values import Kind


def made(wish: Generate, fresh: st.DataObject | None = None) -> str:
    """The value, by real randomness, or by bytes that hypothesis draws."""
    if fresh is None:
        return generate(wish, os.urandom).reveal_text()
    draws = iter(range(100))

    def drawn(size: int) -> bytes:
        # in the end real ones: bytes that are refused for ever would give no value at all
        if next(draws) >= 3:
            return os.urandom(size)
        return fresh.draw(st.binary(min_size=size, max_size=size))

    return generate(wish, drawn).reveal_text()


@given(st.data())
def test_a_password_means_itself_in_urls_shells_and_sql(data: st.DataObject) -> None:
    """Whatever the randomness: 64 safe characters, and none that a command takes for an option."""
    password = made(Generate(Kind.PASSWORD), data)
    assert len(password) == 64
    assert set(password) <= set(SAFE_ALPHABET)
    assert not password.startswith("-")
    assert quote(password, safe="") == shlex.quote(password) == password
    assert not {"'", '"', "\\", "$", "%"} & set(password)


@given(st.data(), st.integers(8, 64), st.sampled_from(["0123456789", SAFE_ALPHABET, "-abcdefghi"]))
def test_length_and_alphabet_are_as_wished(data: st.DataObject, length: int, alphabet: str) -> None:
    """Also with a hyphen among the characters, which never comes first."""
    value = made(Generate(Kind.TOKEN, length, alphabet), data)
    assert len(value) == length
    assert set(value) <= set(alphabet)
    assert not value.startswith("-")


def test_every_character_is_as_likely_as_any_other() -> None:
    """No character comes twice as often as another because 256 isn't a multiple of their number."""
    counts = Counter(made(Generate(Kind.TOKEN, 4096, SAFE_ALPHABET[:60])))
    counts += Counter(made(Generate(Kind.TOKEN, 4096, SAFE_ALPHABET[:60])))
    assert len(counts) == 60
    assert max(counts.values()) < 2 * min(counts.values())


@pytest.mark.parametrize("kind", [Kind.JWT_SIGNING_KEY, Kind.ENCRYPTION_KEY])
def test_a_key_is_32_bytes_in_base64(kind: Kind) -> None:
    """As `openssl rand -base64 32` writes it."""
    assert len(base64.b64decode(made(Generate(kind)), validate=True)) == 32
