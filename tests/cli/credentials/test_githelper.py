"""`git-credential-jarvis` speaks git's protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jarvis_secretsd.cli.credentials.githelper import run_helper
from jarvis_secretsd.messages import Delete, Failure, Put
from jarvis_secretsd.values import Kind
from tests.cli.conftest import Outcome
from tests.cli.credentials.conftest import Helper
from tests.client.fake_daemon import FakeDaemon

SITE = "protocol=https\nhost=git.example\n"
NAME = "git/https/git.example"
NOTHING = (0, b"", "")

Git = Callable[..., Outcome]


@pytest.fixture
def git(ask: Helper) -> Git:
    """Runs one action with what git would say."""

    def act(action: str, said: bytes | str = "") -> Outcome:
        return ask(run_helper, action, said)

    return act


def test_what_was_stored_is_got(fake: FakeDaemon, git: Git) -> None:
    """A login comes back whole, and lies in a secret named for its host, issued elsewhere."""
    assert git("store", f"{SITE}username=ann\npassword=a=b 'ü'\n\n") == NOTHING
    got = git("get", f"capability[]=authtype\n{SITE}wwwauth[]=Basic realm=x\nnew=1\n\n")
    assert got == (0, "username=ann\npassword=a=b 'ü'\n".encode(), "")
    assert [*fake.secrets] == [NAME]
    (put,) = fake.operations(Put)
    assert isinstance(put, Put)
    assert put.kind is Kind.EXTERNAL


def test_what_is_not_there_is_nothing(fake: FakeDaemon, git: Git) -> None:
    """Git is told nothing and asks the next helper; the host's case doesn't matter."""
    assert git("get", SITE) == NOTHING
    git("store", f"{SITE}username=ann\npassword=x\n")
    assert git("get", "protocol=http\nhost=git.example\n") == NOTHING
    assert git("get", "protocol=https\nhost=git.example:8443\n") == NOTHING
    assert git("get", f"{SITE}path=team/project.git\n") == NOTHING
    assert git("get", f"{SITE}username=ben\n") == NOTHING
    assert git("get", "protocol=https\nhost=Git.Example\n").out.startswith(b"username=ann\n")


def test_a_path_has_its_own_login(fake: FakeDaemon, git: Git) -> None:
    """Where git sends the path (useHttpPath), each repository is a place of its own."""
    git("store", f"{SITE}path=team/a.git\nusername=ann\npassword=1\n")
    git("store", f"{SITE}path=team/b.git\nusername=ben\npassword=2\n")
    assert sorted(fake.secrets) == [f"{NAME}/team/a.git", f"{NAME}/team/b.git"]
    assert git("get", f"{SITE}path=team/b.git\n").out == b"username=ben\npassword=2\n"
    assert git("get", SITE) == NOTHING


def test_several_users_of_one_host_have_their_logins(fake: FakeDaemon, git: Git) -> None:
    """A user's name chooses; without one the newest user is meant; each keeps his place."""
    git("store", f"{SITE}username=ann\npassword=1\n")
    git("store", f"{SITE}username=ben\npassword=2\n")
    assert git("get", f"{SITE}username=ann\n").out == b"username=ann\npassword=1\n"
    assert git("get", SITE).out == b"username=ben\npassword=2\n"
    git("store", f"{SITE}username=ann\npassword=3\n")
    assert git("get", SITE).out == b"username=ben\npassword=2\n"
    git("erase", f"{SITE}username=ben\npassword=2\n")
    assert git("get", SITE).out == b"username=ann\npassword=3\n"
    git("erase", f"{SITE}username=ann\npassword=3\n")
    assert fake.secrets == {}
    assert git("erase", f"{SITE}username=ann\npassword=3\n") == NOTHING


def test_what_works_is_not_written_again(fake: FakeDaemon, git: Git) -> None:
    """Git stores after every success; a client that may only read is not in its way."""
    for _ in range(3):
        git("store", f"{SITE}username=ann\npassword=1\n")
    assert len(fake.operations(Put)) == 1


def test_only_what_was_refused_is_erased(fake: FakeDaemon, git: Git) -> None:
    """A password that somebody has renewed meanwhile stays."""
    git("store", f"{SITE}username=ann\npassword=new\n")
    assert git("erase", f"{SITE}username=ann\npassword=old\n") == NOTHING
    assert git("erase", f"{SITE}path=x\nusername=ann\n") == NOTHING
    assert not fake.operations(Delete)
    git("erase", SITE)
    assert fake.secrets == {}


@pytest.mark.parametrize(
    "said",
    [
        f"{SITE}username=ann\n",
        f"{SITE}password=x\n",
        f"{SITE}username=ann\npassword_expiry_utc=99999999999\n",
        "protocol=https\nusername=ann\npassword=x\n",
        "host=git.example\nusername=ann\npassword=x\n",
        "protocol=cert\nhost=\npath=/a.pem\nusername=\npassword=x\n",
        f"{SITE}username=ann\npassword=x\nephemeral=1\n",
        f"{SITE}username=ann\npassword=x\npassword_expiry_utc=1\n",
        f"{SITE}authtype=Bearer\ncredential=x\n",
        f"\n{SITE}username=ann\npassword=x\n",
        "",
    ],
)
def test_what_is_no_lasting_login_is_not_stored(fake: FakeDaemon, git: Git, said: str) -> None:
    """Without host, user and password, or where it won't last, there is nothing to keep."""
    assert git("store", said) == NOTHING
    assert fake.secrets == {}


def test_a_user_may_have_no_name(fake: FakeDaemon, git: Git) -> None:
    """Some sites take a token beside an empty name; git says so, and hears it again."""
    git("store", f"{SITE}username=\npassword=token\n")
    assert git("get", SITE).out == b"username=\npassword=token\n"
    assert git("get", f"{SITE}username=ann\n") == NOTHING
    git("erase", f"{SITE}username=\npassword=token\n")
    assert fake.secrets == {}


def test_a_login_that_ends_is_given_until_then(fake: FakeDaemon, git: Git) -> None:
    """Its end comes back with it; after its end it isn't given, and another user's is."""
    later = int(time.time()) + 1000
    git("store", f"{SITE}username=ann\npassword=x\npassword_expiry_utc={later}\n")
    expected = f"username=ann\npassword=x\npassword_expiry_utc={later}\n"
    assert git("get", SITE).out == expected.encode()
    end(fake, later)
    assert git("get", SITE) == NOTHING
    git("store", f"{SITE}username=ben\npassword=y\n")
    git("store", f"{SITE}username=eve\npassword=z\npassword_expiry_utc={later}\n")
    end(fake, later)
    assert git("get", SITE).out == b"username=ben\npassword=y\n"


def test_a_refresh_token_outlives_its_password(fake: FakeDaemon, git: Git) -> None:
    """The next helper renews the login with it, so git is told it, but no password that is over."""
    later = int(time.time()) + 1000
    more = f"password_expiry_utc={later}\noauth_refresh_token=r\n"
    git("store", f"{SITE}username=ann\npassword=x\n{more}")
    assert git("get", SITE).out == f"username=ann\npassword=x\n{more}".encode()
    end(fake, later)
    assert git("get", SITE).out == b"username=ann\noauth_refresh_token=r\n"


def end(fake: FakeDaemon, moment: int) -> None:
    """Let every login that is stored for this moment be over."""
    fake.hold(**{NAME: fake.secrets[NAME].reveal_text().replace(str(moment), "1000")})


@pytest.mark.parametrize("expires", ["9" * 5000, "soon", "-1", ""])
def test_an_end_that_is_none_is_no_end(fake: FakeDaemon, git: Git, expires: str) -> None:
    """Whatever another helper made of it, the login is kept."""
    said = f"{SITE}username=ann\npassword=x\npassword_expiry_utc={expires}\n"
    assert git("store", said) == NOTHING
    assert git("get", SITE).out == b"username=ann\npassword=x\n"


@pytest.mark.parametrize("action", ["get", "store", "erase"])
@pytest.mark.parametrize("character", ["\r", "\0"])
def test_a_value_of_more_than_one_line_is_refused(
    fake: FakeDaemon, git: Git, action: str, character: str
) -> None:
    """What a reader could take for two lines goes neither in nor out (CVE-2024-52006)."""
    said = (
        f"protocol=https\nhost=git.example{character}evil.example\nusername=a\npassword=hunter2\n"
    )
    outcome = git(action, said)
    assert (outcome.status, outcome.out) == (1, b"")
    assert "a carriage return or NUL" in outcome.err
    assert "hunter2" not in outcome.err
    assert not fake.asked


@pytest.mark.parametrize("password", ["x\nhost=evil", "x\r", "x\0"])
def test_a_stored_value_of_several_lines_is_not_given(
    fake: FakeDaemon, git: Git, password: str
) -> None:
    """Whatever somebody put into the secret, git reads one line for each attribute."""
    record = {"protocol": "https", "host": "git.example"}
    logins = [{"username": "ann", "password": password}]
    fake.hold(**{NAME: json.dumps({**record, "logins": logins})})
    outcome = git("get", SITE)
    assert (outcome.status, outcome.out) == (1, b"")
    assert "the password that is stored has more than one line" in outcome.err


def test_two_urls_with_one_name_dont_mix(fake: FakeDaemon, git: Git) -> None:
    """The second is neither given the first one's login, nor overwrites or erases it."""
    port = "protocol=https\nhost=h:80\n"
    git("store", f"{port}username=ann\npassword=1\n")
    before = dict(fake.secrets)
    other = "protocol=https\nhost=h_80\n"
    assert git("get", other) == NOTHING
    assert git("erase", other) == NOTHING
    refused = git("store", f"{other}username=ann\npassword=2\n")
    assert (refused.status, refused.out) == (1, b"")
    assert "git/https/h_80 already holds logins for another URL" in refused.err
    assert fake.secrets == before


def test_a_secret_that_is_no_record_is_left_alone(fake: FakeDaemon, git: Git) -> None:
    """What else lies there is neither shown nor replaced."""
    fake.hold(**{NAME: "hunter2"})
    for action in ("get", "store", "erase"):
        outcome = git(action, f"{SITE}username=ann\npassword=1\n")
        assert (outcome.status, outcome.out) == (1, b"")
        assert f"{NAME} holds something else" in outcome.err
        assert "hunter2" not in outcome.err
    assert fake.secrets[NAME].reveal() == b"hunter2"


def test_a_change_in_between_is_taken_up(fake: FakeDaemon, git: Git) -> None:
    """When another store was faster, both logins are there afterwards."""
    git("store", f"{SITE}username=ann\npassword=1\n")
    held = fake.secrets[NAME]

    def conflict(_: object) -> Failure:
        fake.hold(**{NAME: held.reveal_text().replace("ann", "ben")})
        return Failure("conflict", "not the version that was expected")

    fake.answers = [lambda request: fake.obey(request.operation), conflict]
    assert git("store", f"{SITE}username=eve\npassword=2\n") == NOTHING
    assert git("get", f"{SITE}username=ben\n").out == b"username=ben\npassword=1\n"
    assert git("get", f"{SITE}username=eve\n").out == b"username=eve\npassword=2\n"


def test_what_git_may_ask_one_day_is_ignored(fake: FakeDaemon, git: Git) -> None:
    """An action that isn't known is no failure."""
    assert git("capability") == NOTHING
    assert not fake.asked


def test_a_denial_and_an_outage_are_one_line(git: Git, fake: FakeDaemon, tmp_path: Path) -> None:
    """Git shows stderr and goes on to the next helper; stdout stays empty."""
    fake.hold(**{NAME: "{}"})
    fake.unreadable.add(NAME)
    denied = git("get", SITE)
    assert (denied.status, denied.out) == (1, b"")
    assert denied.err.startswith(f"git-credential-jarvis: {NAME}: the policy does not allow this")
    away = git(f"--socket {tmp_path}/none.sock get", SITE)
    assert (away.status, away.out, away.err.count("\n")) == (1, b"", 1)


def test_options_stand_before_the_action(git: Git, fake: FakeDaemon) -> None:
    """`credential.helper = jarvis --client ID`, since git adds the action."""
    git("--client deploy get", SITE)
    assert fake.asked[0].client == "deploy"
    assert git("--nonsense get", SITE).status == 2
