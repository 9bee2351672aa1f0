"""LoadCredential= as bytes: an address that asks, and a value or more than systemd takes."""

from __future__ import annotations

import pytest

from jarvis_secretsd.messages import Failure, Found, LoadCredential, Request
from jarvis_secretsd.values import SecretValue
from jarvis_secretsd.wire.conversation import Conversation, WireRules
from jarvis_secretsd.wire.credential import MAX_CREDENTIAL, REFUSAL
from tests.wire.talk import DUE, KID, NAME, TCP, UNIX

ONLY = WireRules(is_tcp=False, only_credentials=True)
ADDRESS = b"\0adf9d86b6eda275e/unit/web.service/plain"


def asked(address: bytes, rules: WireRules = UNIX) -> list[Request | Failure]:
    """What a peer asks that connected from there and ended without a byte."""
    conversation = Conversation(rules)
    conversation.feed_eof(address)
    return conversation.take(2)


def answer(reply: Found | Failure) -> tuple[bytes, Conversation]:
    conversation = Conversation(UNIX)
    conversation.feed_eof(ADDRESS)
    assert len(conversation.take(2)) == 1
    conversation.reply(reply)
    return conversation.output(), conversation


@pytest.mark.parametrize("rules", [UNIX, ONLY])
@pytest.mark.parametrize(
    ("address", "unit", "file"),
    [
        (ADDRESS, "web.service", "plain"),
        (b"\0f/unit/web@1.service/tls-key", "web@1.service", "tls-key"),
        (b"\0" + b"0" * 16 + rb"/unit/a\x2db.service/x y", r"a\x2db.service", "x y"),
    ],
)
def test_the_address_says_what_is_asked(
    rules: WireRules, address: bytes, unit: str, file: str
) -> None:
    """Unit and credential, on the main socket and on systemd's own."""
    assert asked(address, rules) == [Request(LoadCredential(unit, file))]


@pytest.mark.parametrize(
    "address",
    [
        b"\0f/unit/web.service",
        b"\0f/unit/web.service/",
        b"\0f/unit//plain",
        b"\0f/unit/web.service/a/b",
        b"\0f/unit/web.service/\xff",
        b"\0f/unit/web.service/a\n",
        b"\0f/unit/web.service/a\0",
        b"\0f/unit/",
    ],
)
@pytest.mark.parametrize("rules", [UNIX, ONLY])
def test_an_address_that_is_not_right_is_refused(rules: WireRules, address: bytes) -> None:
    """It was systemd all the same, and must not take our silence for an empty credential."""
    conversation = Conversation(rules)
    conversation.feed_eof(address)
    (failure,) = conversation.take(2)
    assert isinstance(failure, Failure)
    conversation.reply(failure)
    assert conversation.output() == REFUSAL


@pytest.mark.parametrize(
    "address", [b"", b"/tmp/x", b"\0f/units/web.service/plain", b"\0/unit/a/b"]
)
def test_who_just_comes_and_goes_asks_nothing(address: bytes) -> None:
    """On the main socket a peer without such an address ends as it always did."""
    assert asked(address) == []
    (failure,) = asked(address, ONLY)
    assert isinstance(failure, Failure)


@pytest.mark.parametrize(
    "first", [b"\0\0\0\x0f" + b'{"op":"health"}', b"GET / HTTP/1.0\r\n\r\n", b"\n"]
)
def test_who_speaks_has_another_dialect(first: bytes) -> None:
    """After a byte the address means nothing; systemd's own socket has no other dialect."""
    for rules in (UNIX, ONLY):
        conversation = Conversation(rules)
        conversation.feed(first)
        conversation.feed_eof(ADDRESS)
        found = conversation.take(2)
        assert not conversation.is_credential
        for each in found:
            assert isinstance(each, Failure) or not isinstance(each.operation, LoadCredential)
        if rules is ONLY:
            assert [type(each) for each in found] == [Failure]
            conversation.reply(Failure("denied", ""))
            assert conversation.output() == b""


def test_over_tcp_no_address_asks() -> None:
    """There it is a number; the daemon passes none on, and the dialect knows only this one."""
    conversation = Conversation(TCP)
    conversation.feed_eof()
    assert conversation.take(1) == []


@pytest.mark.parametrize("data", [b"s3cret", b"", b"line\n", b"\0\xff\n", b"x" * 256 * 1024])
def test_the_answer_is_the_value_and_the_end(data: bytes) -> None:
    """No frame around it, no newline behind it, and nothing more is taken or said."""
    said, conversation = answer(Found(NAME, SecretValue(data, is_text=False), KID, DUE, 3))
    assert said == data
    assert conversation.closing
    conversation.feed(b"\0")
    conversation.feed_eof(ADDRESS)
    assert conversation.take(1) == []


@pytest.mark.parametrize("code", ["denied", "not_found", "unavailable", "rate_limited", "internal"])
def test_a_refusal_is_more_than_systemd_takes(code: str) -> None:
    """Whatever the reason, it is one byte too many, without a word of the message in it."""
    said, _ = answer(Failure(code, "no"))
    assert said == bytes(MAX_CREDENTIAL + 1)
    assert len(said) == 1024 * 1024 + 1
