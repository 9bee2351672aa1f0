"""The keyring backend, in the real library and its command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.errors import KeyringError, KeyringLocked, PasswordDeleteError, PasswordSetError
from keyring.testing.backend import BackendBasicTests

from jarvis_secretsd import messages as m
from jarvis_secretsd.client.keyringbackend import PRIORITY, JarvisKeyring, _escape, _name, _unescape
from jarvis_secretsd.errors import Reason
from jarvis_secretsd.values import SecretName, SecretValue
from tests.client.fake_daemon import FakeDaemon

TEXTS = st.one_of(st.text(), st.text("ab_.-/5f2e", max_size=5))
BACKEND = "jarvis_secretsd.client.keyringbackend.JarvisKeyring"


@pytest.fixture
def ring(fake: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> JarvisKeyring:
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(socket_path))
    return made()


def made() -> JarvisKeyring:
    """As the library makes it."""
    return JarvisKeyring()  # type: ignore[no-untyped-call]  # the library's base class has no types


class TestAsTheLibraryTestsItsOwn(BackendBasicTests):
    """What holds of every backend of keyring: odd characters, empty ones, users, deletions."""

    @pytest.fixture(autouse=True)
    def _init_properties(self, ring: JarvisKeyring, request: pytest.FixtureRequest) -> None:
        self.keyring = ring
        self.credentials_created: set[tuple[str, str]] = set()


def test_a_password_comes_back(ring: JarvisKeyring, fake: FakeDaemon) -> None:
    """As it was set, under the name that the page gives for it, until it is deleted."""
    ring.set_password("https://upload.pypi.org/legacy/", "__token__", "pypi-\u00e9 \n")
    name = "keyring/https_3a_2f_2fupload.pypi.org_2flegacy_2f/_5f_5ftoken_5f_5f"
    assert [*fake.secrets] == [name]
    assert ring.get_password("https://upload.pypi.org/legacy/", "__token__") == "pypi-\u00e9 \n"
    assert ring.get_password("https://upload.pypi.org/legacy/", "__TOKEN__") is None
    ring.delete_password("https://upload.pypi.org/legacy/", "__token__")
    assert ring.get_password("https://upload.pypi.org/legacy/", "__token__") is None


def test_what_another_sets_is_seen_at_once(ring: JarvisKeyring, fake: FakeDaemon) -> None:
    """Nothing is remembered from one question to the next."""
    ring.set_password("s", "u", "old")
    assert ring.get_password("s", "u") == "old"
    fake.store("keyring/s/u", SecretValue.from_text("new"))
    assert ring.get_password("s", "u") == "new"


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_two_pairs_never_share_a_name(a: str, b: str, c: str, d: str) -> None:
    """Whatever service and user are called."""
    assert (_name(a, b) == _name(c, d)) == ((a, b) == (c, d))


@given(TEXTS)
def test_a_segment_is_one_and_can_be_read_back(text: str) -> None:
    """Any text but the longest has a name, and the name gives it back."""
    segment = _escape(text)
    assert "/" not in segment
    assert SecretName(segment[:255])
    assert _unescape(segment) == text


@given(st.text("ab_.-5f2ec0", max_size=6))
def test_what_is_no_escape_is_nobodys(segment: str) -> None:
    """A name that a person put there is never taken for that of another user."""
    text = _unescape(segment)
    assert text is None or _escape(text) == segment


def test_a_user_can_be_looked_up(ring: JarvisKeyring, fake: FakeDaemon) -> None:
    """The first of the service, and no other service's; a given user is taken as given."""
    ring.set_password("repo", "Enzo", "e")
    ring.set_password("repo", "jo", "j")
    ring.set_password("repo.org", "A", "a")
    fake.store("keyring/repo/_by_hand", SecretValue.from_text("of nobody"))
    fake.store("keyring/other", SecretValue.from_text("of nobody"))
    found = ring.get_credential("repo", None)
    assert found is not None
    assert (found.username, found.password) == ("Enzo", "e")
    found = ring.get_credential("repo", "jo")
    assert found is not None
    assert (found.username, found.password) == ("jo", "j")
    assert ring.get_credential("repo", "nobody") is None
    assert ring.get_credential("rep", None) is None
    assert ring.get_credential("other", None) is None


def test_what_is_refused_is_the_librarys_error(ring: JarvisKeyring, fake: FakeDaemon) -> None:
    """Each in its kind, with the daemon's words."""
    fake.answers += [lambda _: m.Failure("denied", "the policy says no")] * 3
    with pytest.raises(KeyringError, match="the policy says no"):
        ring.get_password("s", "u")
    with pytest.raises(PasswordSetError, match="the policy says no"):
        ring.set_password("s", "u", "p")
    with pytest.raises(PasswordDeleteError, match="the policy says no"):
        ring.delete_password("s", "u")
    with pytest.raises(PasswordDeleteError, match="no such secret"):
        ring.delete_password("s", "u")


def test_a_locked_daemon_is_a_locked_keyring(ring: JarvisKeyring, fake: FakeDaemon) -> None:
    """Another reason why it can't answer now is not."""
    fake.answers.append(lambda _: m.Failure("unavailable", "locked", Reason.LOCKED))
    with pytest.raises(KeyringLocked):
        ring.get_password("s", "u")
    fake.answers.append(lambda _: m.Failure("unavailable", "full", Reason.STORAGE_FULL))
    with pytest.raises(PasswordSetError, match="full"):
        ring.set_password("s", "u", "p")


def test_what_cannot_be_kept_is_refused(ring: JarvisKeyring, fake: FakeDaemon) -> None:
    """Names that are too long, text that is none, bytes that somebody else put there."""
    with pytest.raises(PasswordSetError, match="longer than 255"):
        ring.set_password("s" * 255, "u", "p")
    with pytest.raises(PasswordSetError, match="surrogates"):
        ring.set_password("s", "u", "\udcff")
    with pytest.raises(PasswordDeleteError, match="longer than 255"):
        ring.delete_password("s" * 255, "u")
    fake.store("keyring/s/u", SecretValue(b"\xff", is_text=False))
    with pytest.raises(KeyringError, match="not text"):
        ring.get_password("s", "u")


def test_a_daemon_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an empty keyring."""
    monkeypatch.setenv("JARVIS_SECRETS_SOCKET", str(tmp_path / "none"))
    with pytest.raises(KeyringError, match="none"):
        made().get_password("s", "u")


def test_it_is_chosen_only_where_there_is_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a variable, or by a default socket that we may open."""
    default = "jarvis_secretsd.client.keyringbackend.DEFAULT_SOCKET"
    monkeypatch.setattr(default, str(tmp_path / "s"))
    assert not JarvisKeyring.viable
    with pytest.raises(RuntimeError, match=re.escape(str(tmp_path / "s"))):
        _ = JarvisKeyring.priority
    monkeypatch.setenv("JARVIS_SECRETS_URL", "http://127.0.0.1:8081")
    assert JarvisKeyring.viable
    monkeypatch.delenv("JARVIS_SECRETS_URL")
    (tmp_path / "s").touch()
    assert JarvisKeyring.viable
    assert JarvisKeyring.priority == PRIORITY


def keyring(
    *arguments: str, environment: dict[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the library's own command with this environment and nothing else."""
    return subprocess.run(
        [sys.executable, "-m", "keyring", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("chosen", [{}, {"PYTHON_KEYRING_BACKEND": BACKEND}])
def test_the_command_line_finds_it(
    fake: FakeDaemon, socket_path: Path, chosen: dict[str, str]
) -> None:
    """By its entry point or by name, without desktop, D-Bus or HOME."""
    environment = {"JARVIS_SECRETS_SOCKET": str(socket_path), **chosen}
    done = keyring("set", "git", "Enzo", environment=environment, stdin="s3cret")
    assert (done.returncode, done.stderr) == (0, "")
    assert fake.secrets["keyring/git/_45nzo"] == SecretValue.from_text("s3cret")
    assert keyring("get", "git", "Enzo", environment=environment).stdout == "s3cret\n"
    listed = keyring("--list-backends", environment=environment).stdout
    assert f"{BACKEND} (priority: {PRIORITY:g})" in listed
    assert keyring("del", "git", "Enzo", environment=environment).returncode == 0
    assert keyring("get", "git", "Enzo", environment=environment).returncode == 1


def test_the_command_line_does_not_find_it_where_there_is_no_daemon(tmp_path: Path) -> None:
    """The library goes on to its other backends."""
    listed = keyring("--list-backends", environment={"HOME": os.fspath(tmp_path)})
    assert BACKEND not in listed.stdout
    assert (listed.returncode, listed.stderr) == (0, "")
