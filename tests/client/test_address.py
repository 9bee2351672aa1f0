"""Where the client looks for the daemon."""

from __future__ import annotations

import pytest

from jarvis_secretsd.client import BadRequest
from jarvis_secretsd.client.address import (
    DEFAULT_SOCKET,
    UnixAddress,
    find_address,
)
from jarvis_secretsd.client.url import Address, TcpAddress, parse_url

SOCKET = {"JARVIS_SECRETS_SOCKET": "/s"}
URL = {"JARVIS_SECRETS_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("socket_path", "url", "environ", "expected"),
    [
        (None, None, {}, UnixAddress(DEFAULT_SOCKET)),
        (
            None,
            None,
            {"JARVIS_SECRETS_SOCKET": "", "JARVIS_SECRETS_URL": ""},
            UnixAddress(DEFAULT_SOCKET),
        ),
        (None, None, URL, TcpAddress("127.0.0.1", 1)),
        (None, None, SOCKET | URL, UnixAddress("/s")),
        ("/t", None, SOCKET | URL, UnixAddress("/t")),
        (None, "http://[::1]:2", SOCKET | URL, TcpAddress("::1", 2)),
        (None, "unix:///run/x.sock", SOCKET | URL, UnixAddress("/run/x.sock")),
    ],
)
def test_what_is_said_goes_before_the_environment(
    socket_path: str | None, url: str | None, environ: dict[str, str], expected: Address
) -> None:
    """An argument beats every variable, a socket beats a URL, and nothing at all is the default."""
    assert find_address(socket_path, url, environ) == expected


def test_two_addresses_are_one_too_many() -> None:
    """A socket and a URL at once are refused instead of one being dropped."""
    with pytest.raises(BadRequest, match="both given"):
        find_address("/s", "http://127.0.0.1:1", {})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8081", TcpAddress("127.0.0.1", 8081)),
        ("http://127.0.0.1:8081/", TcpAddress("127.0.0.1", 8081)),
        ("http://127.8.9.1", TcpAddress("127.8.9.1", 8081)),
        ("http://localhost:7", TcpAddress("127.0.0.1", 7)),
        ("http://LOCALHOST:7", TcpAddress("127.0.0.1", 7)),
        ("http://[::1]:7", TcpAddress("::1", 7)),
    ],
)
def test_loopback_urls_are_taken(url: str, expected: Address) -> None:
    """A loopback URL names a host and a port; `localhost` is never looked up."""
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8081",
        "http://127.0.0.1.evil.example",
        "http://localhost.:8081",
        "http://[::2]:8081",
        "http://0.0.0.0:8081",
        "http://2130706433:8081",
        "http://host.docker.internal:8081",
    ],
)
def test_a_url_that_leaves_the_host_needs_a_word(url: str) -> None:
    """What isn't exactly loopback is refused, unless the caller said so in as many words."""
    with pytest.raises(BadRequest, match="leaves this host"):
        parse_url(url)
    assert isinstance(parse_url(url, allow_remote=True), TcpAddress)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8081",
        "127.0.0.1:8081",
        "http://",
        "http://u:p@127.0.0.1:8081",
        "http://127.0.0.1:8081/secret",
        "http://127.0.0.1:8081/?x",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "unix://run/x.sock",
        "unix:",
        "",
    ],
)
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    """A URL with more, less or other than a host and a port is refused, never half obeyed."""
    with pytest.raises(BadRequest, match="can't be used"):
        parse_url(url, allow_remote=True)
