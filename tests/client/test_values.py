"""What a program gets and puts through the client."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import (
    AccessDenied,
    BadRequest,
    Conflict,
    DaemonUnavailable,
    SecretNotFound,
    SecretsClient,
    SecretsClientError,
    _shared_client,
    get_secret,
)
from jarvis_secretsd.client.client import SecretsClient as Implementation
from jarvis_secretsd.errors import Reason
from jarvis_secretsd.values import MAX_VALUE_BYTES, Kind, SecretName, SecretValue
from tests.client.fake_daemon import FakeDaemon, serving


@pytest.mark.parametrize("text", ["", "s3cret\n", " x ", "é€\0\u2028", '{"a": 1}', "x" * 200_000])
def test_text_comes_back_as_it_was_put(client: SecretsClient, text: str) -> None:
    """A text that was put is the text that get gives, to the last character."""
    client.put("p", text)
    assert client.get("p") == text
    assert client.get_bytes("p") == text.encode()


def test_bytes_come_back_as_they_were_put(fake: FakeDaemon, client: SecretsClient) -> None:
    """Bytes that are no text are put and got as they are, and never taken for text."""
    data = bytes(range(256)) * 4
    client.put("p", data)
    assert fake.secrets["p"] == SecretValue(data, is_text=False)
    assert client.get_bytes("p") == data
    with pytest.raises(BadRequest, match="get_bytes"):
        client.get("p")


def test_an_error_about_a_value_does_not_hold_it(client: SecretsClient) -> None:
    """Neither text that UTF-8 can't hold nor bytes that aren't text hang on to what is raised."""
    client.put("p", b"hunter2\xff")
    with pytest.raises(BadRequest, match="not text") as of_get:
        client.get("p")
    with pytest.raises(BadRequest, match="surrogates") as of_put:
        client.put("p", "hunter2\udcff")
    for error in (of_get.value, of_put.value):
        assert "hunter2" not in str(error)
        assert error.__context__ is None


def test_the_largest_value_fits_a_frame(client: SecretsClient) -> None:
    """A value at the limit travels both ways, as text and as bytes; one byte more doesn't leave."""
    client.put("p", "x" * MAX_VALUE_BYTES)
    assert len(client.get("p")) == MAX_VALUE_BYTES
    client.put("q", b"\xff" * MAX_VALUE_BYTES)
    assert len(client.get_bytes("q")) == MAX_VALUE_BYTES
    with pytest.raises(BadRequest, match="at most"):
        client.put("p", "x" * (MAX_VALUE_BYTES + 1))


def test_text_that_only_escapes_make_too_large_is_refused_with_the_remedy(
    client: SecretsClient,
) -> None:
    """A text of control characters that outgrows a frame is refused before it leaves."""
    with pytest.raises(BadRequest, match="put it as bytes") as caught:
        client.put("p", "\0" * MAX_VALUE_BYTES)
    assert caught.value.code == "too_large"


def test_a_put_says_what_it_was_told(fake: FakeDaemon, client: SecretsClient) -> None:
    """Kind, days and expectation reach the daemon as the caller gave them."""
    stored = client.put(
        "p", kind=Kind.PASSWORD, rotation_days=90, grace_days=7, auto_rotate=True, expect_kid=""
    )
    assert stored.version == 1
    assert fake.operations(m.Put) == [
        m.Put(stored.name, None, None, Kind.PASSWORD, 90, 7, True, "")
    ]


def test_a_name_that_is_none_is_never_sent(fake: FakeDaemon, client: SecretsClient) -> None:
    """A bad name, kid or client id is refused here, with the daemon's code and a suggestion."""
    with pytest.raises(BadRequest, match="did you mean 'db_pass'") as caught:
        client.get("DB_PASS")
    assert caught.value.code == "invalid_request"
    with pytest.raises(BadRequest, match="kid"):
        client.get("a", kid="1")
    with pytest.raises(BadRequest, match="client id"):
        SecretsClient(client_id="-x")
    assert not fake.asked


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (m.Failure("not_found", "no such secret"), SecretNotFound),
        (m.Failure("denied", "no"), AccessDenied),
        (m.Failure("client_required", "which?"), AccessDenied),
        (m.Failure("bad_token", "no"), AccessDenied),
        (m.Failure("conflict", "no"), Conflict),
        (m.Failure("too_large", "no"), BadRequest),
        (m.Failure("rate_limited", "no"), DaemonUnavailable),
        (m.Failure("internal", "no"), SecretsClientError),
        (m.Failure("a_code_of_the_future", "no"), SecretsClientError),
    ],
)
def test_every_code_has_its_exception(
    fake: FakeDaemon, client: SecretsClient, failure: m.Failure, kind: type[SecretsClientError]
) -> None:
    """A refusal is raised as its kind, with the daemon's code and words; the connection stays."""
    fake.answers.append(lambda _: failure)
    with pytest.raises(SecretsClientError) as caught:
        client.get("p")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.message) == (failure.code, failure.message)
    fake.hold(p="x")
    assert client.get("p") == "x"
    assert fake.connections == 1


def test_unavailable_says_why(fake: FakeDaemon, client: SecretsClient) -> None:
    """A daemon that can't now gives its reason to the program."""
    fake.answers.append(lambda _: m.Failure("unavailable", "full", Reason.STORAGE_FULL))
    with pytest.raises(DaemonUnavailable) as caught:
        client.get("p")
    assert caught.value.reason is Reason.STORAGE_FULL


def test_a_list_is_all_its_pages(fake: FakeDaemon, client: SecretsClient) -> None:
    """However many pages there are, the caller sees each name once, in order."""
    fake.hold(e="1", a="2", d="3", c="4", b="5")
    assert [entry.name for entry in client.list()] == ["a", "b", "c", "d", "e"]
    assert len(fake.operations(m.List)) == 3


def test_many_questions_have_their_answers_in_order(
    fake: FakeDaemon, client: SecretsClient
) -> None:
    """A hundred gets in one go come back each in its place, refusals among them."""
    fake.hold(**{f"n{i}": "x" * 9000 + str(i) for i in range(100)})
    del fake.secrets["n41"]
    answers = client.ask_all([m.Get(SecretName(f"n{i}")) for i in range(100)], m.Found)
    for place, answer in enumerate(answers):
        if place == 41:
            assert isinstance(answer, SecretNotFound)
        else:
            assert isinstance(answer, m.Found)
            assert answer.value.reveal_text().endswith(f"x{place}")
    assert client.ask_all([], m.Found) == ()


def test_any_operation_can_be_called(client: SecretsClient) -> None:
    """What has no method of its own is called as its message."""
    assert client.call(m.Health()) == m.HealthStatus("ok", "0", 7, 0)
    with pytest.raises(SecretNotFound):
        client.call(m.Delete(SecretName("p")))


def test_the_claim_goes_with_every_request(
    fake: FakeDaemon, socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client id and token are sent as given, or as the environment says."""
    with SecretsClient(str(socket_path), client_id="web", token="t-1") as client:
        client.call(m.Health())
    token = tmp_path / "token"
    token.write_text("t-2\n")
    monkeypatch.setenv("JARVIS_CLIENT_ID", "backend")
    monkeypatch.setenv("JARVIS_SECRETS_TOKEN_FILE", str(token))
    with SecretsClient(str(socket_path)) as client:
        client.call(m.Health())
    claims = [(asked.client, asked.token and asked.token.reveal()) for asked in fake.asked]
    assert claims == [("web", "t-1"), ("backend", "t-2")]


def test_a_token_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing token file is an error that names variable and file, not a request without one."""
    monkeypatch.setenv("JARVIS_SECRETS_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(BadRequest, match=r"JARVIS_SECRETS_TOKEN_FILE: .*none: No such file"):
        SecretsClient()


def test_get_secret_needs_nothing_but_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function of one line asks the daemon that the environment names, and caches."""
    path = tmp_path / "s"
    monkeypatch.setenv("JARVIS_SECRETS_URL", f"unix://{path}")
    with serving(FakeDaemon(), path) as fake:
        fake.hold(brave_api_key="BSA-1")
        assert get_secret("brave_api_key") == "BSA-1"
        assert get_secret("brave_api_key") == "BSA-1"
        assert len(fake.asked) == 1
        _shared_client().close()


def test_threads_share_a_client(fake: FakeDaemon, client: SecretsClient) -> None:
    """Fifty threads that want the same two secrets get theirs, and ask twice between them."""
    fake.hold(a="1", b="2")
    got: list[tuple[str, str]] = []

    def ask(name: str) -> None:
        got.append((name, client.get(name)))

    threads = [threading.Thread(target=ask, args=("ab"[i % 2],)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [("a", "1")] * 25 + [("b", "2")] * 25
    assert len(fake.asked) == 2
    assert fake.connections == 1


def test_the_client_that_is_exported_is_the_one() -> None:
    """Nothing stands between a program and the class whose promises it reads."""
    assert SecretsClient is Implementation
