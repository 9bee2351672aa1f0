"""`inventory`: every secret of a project is found, none is shown, and nothing is run or left."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.cli.envfile import placeholder
from jarvis_secretsd.cli.inventory import gitrecord
from jarvis_secretsd.cli.inventory.command import take_stock
from jarvis_secretsd.cli.inventory.composefile import ComposeRefused, read_compose
from jarvis_secretsd.cli.inventory.finding import find
from jarvis_secretsd.cli.inventory.judging import why_secret
from jarvis_secretsd.cli.inventory.summing import Inventory, Variable
from jarvis_secretsd.values import SecretValue
from tests.cli.conftest import Tool
from tests.e2e.tools import needs

COMPOSE = """\
x-common: &common
  environment: {SHARED_TOKEN: "abcdef0123456789abcd"}
services:
  db:
    env_file: .env
    environment:
      POSTGRES_PASSWORD: ${DB_PASSWORD}
      TZ:
  api:
    <<: *common
    env_file: [.env, {path: extra.env}, {path: absent.env, required: false}]
    environment:
      - ADMIN_PASSWORD=hunter2-of-1987
      - "URL=http://${DB_USER}:${DB_PASSWORD:-fallback-of-1987}@x"
      - COST=5$$
    secrets: [smtp, {source: tls}]
  worker:
    <<: *common
secrets:
  smtp: {file: ./smtp.txt}
  tls: {environment: TLS_KEY}
"""
ENV = """\
DB_PASSWORD=hunter2-of-1987
DB_USER=jarvis
BRAVE_API_KEY=changeme
LOG_LEVEL=info
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a compose file and what it names."""
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / ".env").write_text(ENV)
    (tmp_path / "extra.env").write_text("JWT_SECRET=another-of-1987\n")
    (tmp_path / "smtp.txt").write_text("mail-of-1987\n")
    return tmp_path


def stock(project: Path, *, with_git: bool = False) -> Inventory:
    return take_stock(str(project), with_git=with_git)


def variable(found: Inventory, name: str) -> Variable:
    (one,) = (one for one in found.variables if one.name == name)
    return one


def git(project: Path, *arguments: str) -> None:
    """Run git in the project, as somebody."""
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=project, check=True, capture_output=True)


def test_secrets_are_told_from_placeholders_and_from_what_is_plain(project: Path) -> None:
    """By their names and by their values, wherever they stand."""
    found = stock(project)
    looks = {one.name: (one.secret is not None, one.placeholder) for one in found.variables}
    assert looks == {
        "ADMIN_PASSWORD": (True, None),
        "BRAVE_API_KEY": (True, "it asks to be changed"),
        "COST": (False, None),
        "DB_PASSWORD": (True, None),
        "DB_USER": (False, None),
        "JWT_SECRET": (True, None),
        "LOG_LEVEL": (False, None),
        "SHARED_TOKEN": (True, None),
        "smtp": (True, None),
    }


def test_the_same_value_and_different_ones_are_told(project: Path) -> None:
    """By comparison alone: who else has it, and whether a variable has two."""
    found = stock(project)
    assert variable(found, "ADMIN_PASSWORD").same_as == ("DB_PASSWORD",)
    assert variable(found, "DB_PASSWORD").differs, "the default in compose.yaml is another"
    assert not variable(found, "JWT_SECRET").differs


def test_services_are_those_that_get_it(project: Path) -> None:
    """By env_file, by environment, by what Compose fills in, by merges, and by secrets."""
    services = {one.name: set(one.services) for one in stock(project).variables}
    assert services["LOG_LEVEL"] == {"db", "api"}
    assert services["JWT_SECRET"] == {"api"}
    assert services["SHARED_TOKEN"] == {"worker"}, "api has a list of its own in its place"
    assert services["smtp"] == {"api"}
    assert services["DB_PASSWORD"] == {"db", "api"}


def test_places_have_lines(project: Path) -> None:
    """An editor can be sent there."""
    places = [(place.path, place.line) for place in variable(stock(project), "DB_PASSWORD").places]
    assert places == [(".env", 1), ("compose.yaml", 14)]


def test_no_value_is_ever_shown(project: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the table nor as JSON, nor in a message about a line that can't be read."""
    (project / "broken.env").write_text("A_PASSWORD=hunter2-of-1987\nhunter2-of-1987 x\n")
    monkeypatch.chdir(project)
    for arguments in ((), ("--all",), ("--json",)):
        outcome = tool("inventory", ".", "--no-git", *arguments)
        assert outcome.status == 0
        assert b"1987" not in outcome.out
        assert "1987" not in outcome.err


def test_it_ends_with_what_to_do_next(
    project: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command for each file that holds secrets, which works as it stands there."""
    monkeypatch.chdir(project)
    lines = tool("inventory", "--no-git").lines
    assert "  jarvis-secrets import .env --only DB_PASSWORD --dry-run" in lines
    assert "  jarvis-secrets put smtp --file smtp.txt" in lines
    assert "  jarvis-secrets put admin_password" in lines


def test_a_command_to_type_takes_no_file_for_an_option(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file is called."""
    (tmp_path / "--help.env").write_text("API_TOKEN=sk_live_abcdefgh12345678\n")
    monkeypatch.chdir(tmp_path)
    lines = tool("inventory", "--no-git").lines
    assert "  jarvis-secrets import ./--help.env --only API_TOKEN --dry-run" in lines


def test_a_file_with_a_fault_is_told_with_its_line_and_hides_nothing(project: Path) -> None:
    """The names in it are listed all the same, their values count as unread."""
    (project / "broken.env").write_text('X_TOKEN=abc\nno assignment\nY_SECRET="open\n')
    (project / "docker-compose.dev.yml").write_text("services:\n  a: [\n")
    found = stock(project)
    remarks = {(one.path, one.line) for one in found.remarks}
    assert {("broken.env", 2), ("docker-compose.dev.yml", 3)} <= remarks
    assert variable(found, "X_TOKEN").secret
    assert [file.secrets for file in found.files if file.path == "broken.env"] == [
        ("X_TOKEN", "Y_SECRET")
    ]


def test_only_files_of_the_project_are_read(project: Path, tmp_path_factory: Any) -> None:
    """Links that lead out, other people's packages and what an env_file has outside stay unread."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.env").write_text("OUTSIDE_PASSWORD=x-of-1987\n")
    (project / "link.env").symlink_to(outside / "secret.env")
    (project / "away").symlink_to(outside)
    (project / "same.env").symlink_to(".env")
    for skipped in ("node_modules/a", "venv/lib", ".git"):
        (project / skipped).mkdir(parents=True)
        (project / skipped / ".env").write_text("PACKAGE_PASSWORD=x-of-1987\n")
    (project / "own").mkdir()
    (project / "own/pyvenv.cfg").write_text("")
    (project / "own/.env").write_text("VENV_PASSWORD=x-of-1987\n")
    os.mkfifo(project / "pipe.env")
    (project / "compose.yaml").write_text(
        f"services: {{a: {{env_file: {outside}/secret.env}}}}\n"
        f"secrets: {{s: {{file: {outside}/secret.env}}}}\n"
    )
    found = stock(project)
    assert not any("PASSWORD" in one.name and one.name != "DB_PASSWORD" for one in found.variables)
    assert {file.path for file in found.files} == {".env", "extra.env", "compose.yaml"}
    told = {one.path for one in found.remarks}
    assert {"link.env", "pipe.env", "compose.yaml"} <= told


def test_what_is_too_large_is_told_and_not_read(project: Path) -> None:
    """A file that is no env file whatever its name, isn't taken into memory."""
    with (project / "dump.env").open("wb") as file:
        file.truncate(1 << 30)
    assert any(one.path == "dump.env" and "larger" in one.text for one in stock(project).remarks)


def test_a_directory_that_is_none_is_refused(tool: Tool, tmp_path: Path) -> None:
    """With its name."""
    outcome = tool("inventory", str(tmp_path / "absent"))
    assert outcome.status == 1
    assert "absent" in outcome.err


def test_an_empty_project_is_said_to_be_one(tool: Tool, tmp_path: Path) -> None:
    """Nothing found isn't silence."""
    outcome = tool("inventory", str(tmp_path), "--no-git")
    assert outcome.status == 0
    assert "nothing here looks like a secret" in outcome.err


@needs("git")
def test_git_says_what_it_tracks_and_ever_did(project: Path) -> None:
    """Tracked, tracked once, ignored, neither; and what was there once and isn't any more."""
    git(project, "init", "-q")
    (project / "gone.env").write_text("OLD_PASSWORD=x\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "all of it")
    git(project, "rm", "-q", "--cached", ".env", "gone.env")
    (project / "gone.env").unlink()
    (project / ".gitignore").write_text("ignored.env\n")
    git(project, "add", ".gitignore")
    git(project, "commit", "-qm", "less of it")
    (project / "ignored.env").write_text("A_PASSWORD=x-of-1987\n")
    (project / "new.env").write_text("B_PASSWORD=x-of-1987\n")
    found = stock(project, with_git=True)
    assert {file.path: file.git for file in found.files} == {
        ".env": "was tracked",
        "extra.env": "tracked",
        "ignored.env": "ignored",
        "new.env": "untracked",
        "compose.yaml": "tracked",
        "smtp.txt": "tracked",
    }
    assert found.gone == ("gone.env",)


@needs("git")
def test_a_project_below_its_repository_and_one_within_it(project: Path) -> None:
    """Paths are those from the project's directory, whoever's repository a file is in."""
    inner = project / "part/inner"
    inner.mkdir(parents=True)
    (inner / ".env").write_text("INNER_PASSWORD=x-of-1987\n")
    (project / "part/.env").write_text("PART_PASSWORD=x-of-1987\n")
    for place in (project, inner):
        git(place, "init", "-q")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "inner")
    git(project, "add", "part/.env")
    git(project, "commit", "-qm", "outer")
    found = stock(project / "part", with_git=True)
    assert {file.path: file.git for file in found.files} == {
        ".env": "tracked",
        "inner/.env": "tracked",
    }


@needs("git")
def test_a_repository_can_not_make_us_run_its_programs(project: Path) -> None:
    """Monitors, hooks, pagers, signatures and helpers of its configuration stay unrun."""
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "x")
    trap = project / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {project}/ran\n")
    trap.chmod(0o755)
    for name in (
        *("core.fsmonitor", "core.pager", "pager.log", "diff.external", "gpg.program"),
        *("core.sshCommand", "core.editor", "filter.x.clean", "filter.x.smudge"),
    ):
        git(project, "config", name, str(trap))
    git(project, "config", "log.showSignature", "true")
    (project / ".gitattributes").write_text("* filter=x diff=x\n")
    (project / ".git/hooks/post-index-change").write_text(trap.read_text())
    (project / ".git/hooks/post-index-change").chmod(0o755)
    (project / ".env").touch()
    found = stock(project, with_git=True)
    assert [file.git for file in found.files if file.path == ".env"] == ["tracked"]
    assert not (project / "ran").exists()


@needs("git")
@pytest.mark.parametrize("old", [False, True], ids=["git", "a git before 2.45"])
def test_a_repository_that_lacks_a_part_is_not_completed(
    project: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    """git fetches what a partial clone lacks from where its configuration says: by any command."""
    (project / "part").mkdir()
    (project / "part/.env").write_text(ENV)
    git(project, "init", "-q")
    for text in ("one", "two"):
        (project / "part/.env").write_text(f"A={text}\n")
        git(project, "add", ".")
        git(project, "commit", "-qm", text)
    asked = ["git", "rev-parse", "HEAD^:part"]
    lost = subprocess.run(asked, cwd=project, check=True, capture_output=True, text=True).stdout
    (project / ".git/objects" / lost[:2] / lost[2:].strip()).unlink()
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::touch {project}/ran",
        "protocol.ext.allow": "always",
    }.items():
        git(project, "config", name, value)
    if old:
        monkeypatch.delitem(gitrecord._ENVIRONMENT, "GIT_NO_LAZY_FETCH")
    found = stock(project, with_git=True)
    assert not (project / "ran").exists()
    assert any("git can't say" in one.text for one in found.remarks)


def test_without_git_the_rest_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it isn't installed, or there is no repository, that is a remark."""
    found = stock(project, with_git=True)
    assert any("git" in one.text for one in found.remarks)
    assert variable(found, "DB_PASSWORD").secret
    monkeypatch.setenv("PATH", "/nonexistent")
    assert any(one.text == "git isn't installed" for one in stock(project, with_git=True).remarks)


@needs("git")
def test_a_git_that_hangs_is_given_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, with a remark and without a history."""
    slow = project / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    monkeypatch.setattr(gitrecord, "PATIENCE", 0.2)
    assert any("took more than" in one.text for one in stock(project, with_git=True).remarks)


@needs("git")
@pytest.mark.root("looks at a repository of another user")
def test_another_users_repository_is_left_to_its_owner(project: Path) -> None:
    """git refuses it, which is told as what it is."""
    git(project, "init", "-q")
    for path in (project, *project.rglob("*")):
        os.chown(path, 1500, 1500, follow_symlinks=False)
    found = stock(project, with_git=True)
    assert any("as its owner" in one.text for one in found.remarks)


JUDGED = {
    "POSTGRES_PASSWORD=x": True,
    "PGPASSWORD=x": True,
    "DB_PASS=x": True,
    "JWT_SIGNING_KEY=x": True,
    "BRAVE_API_KEY=x": True,
    "AWS_SECRET_ACCESS_KEY=x": True,
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE": True,
    "SESSION_SECRET=x": True,
    "STRIPE_KEY=x": True,
    "REDIS_CACHE_KEY=x": False,
    "GITHUB_TOKEN=x": True,
    "SENTRY_DSN=https://abc@o1.ingest.sentry.io/1": True,
    "DATABASE_URL=postgres://u:p@db/x": True,
    "X=-----BEGIN PRIVATE KEY-----\nabc": True,
    "X=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig": True,
    "X=ghp_abcdefghijklmnopqrst": True,
    "X=f3q98hf983hf98h3f98hqwe": True,
    "X=9f86d081884c7d659a2feaa0c55ad015": True,
    "X=q83vEjRWeJCrze8SNFZ4kA0BAgMEBQYH": True,
    "X=production-database-in-frankfurt-2": False,
    "X=HomeAssistantProductionServer1": False,
    "X=registry.example.org-team-image-v1": False,
    "DATABASE_URL=postgres://db/x": False,
    "POSTGRES_PASSWORD_FILE=/run/secrets/db": False,
    "NEXT_PUBLIC_API_KEY=x": False,
    "TOKEN_TTL=3600": False,
    "MAX_TOKENS=4096": False,
    "USE_TOKENS=true": False,
    "AUTH_ENABLED=true": False,
    "COMPASS=north": False,
    "PASSENGER_NAME=x": False,
    "MONKEY=banana": False,
    "POSTGRES_USER=jarvis": False,
    "LOG_LEVEL=info": False,
    "HOME_DIR=/var/lib/some/place/that/is/long1": False,
    "TENANT_ID=0b4f7f7e-9d62-4b0e-8c9d-1f2e3d4c5b6a": False,
}


@pytest.mark.parametrize("line", JUDGED)
def test_a_variable_is_judged_as_a_person_would(line: str) -> None:
    """Names and values as projects have them."""
    name, _, text = line.partition("=")
    assert (why_secret(name, SecretValue.from_text(text)) is not None) is JUDGED[line]


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=32, max_size=64))
def test_why_never_quotes_a_value(text: str) -> None:
    """Whatever it says of a value, the value isn't in it."""
    value = SecretValue.from_text(text)
    for said in (why_secret("X", value), why_secret("X_PASSWORD", value), placeholder(value)):
        assert said is None or text not in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("services:\n  a: {b\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("\ufffe", 1),
        ("[" * 5000, 1),
        ("a: *nowhere\n", 1),
    ],
)
def test_a_compose_file_that_is_none_says_where(text: str, line: int) -> None:
    """The line is where a person should look."""
    with pytest.raises(ComposeRefused) as refused:
        read_compose(text.encode())
    assert refused.value.line == line


@pytest.mark.parametrize("text", ["", "just text", "services: [a, b]", "services: {a: 5}", "[]"])
def test_a_compose_file_of_another_shape_holds_nothing(text: str) -> None:
    """Whatever YAML it is."""
    assert not read_compose(text.encode()).settings


def test_aliases_can_not_make_it_take_long() -> None:
    """A few lines that stand for billions are read as what they are: a few lines."""
    lines = ["a0: &a0 {X_PASSWORD: $Y}"]
    for level in range(1, 40):
        merged = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {{<<: [{merged}], k: [{merged}]}}")
    lines += ["services:", "  s: {environment: *a39, labels: [*a39, *a39]}", "x: &x [*x]"]
    found = read_compose("\n".join(lines).encode())
    assert {said.text for said in found.uses} == {"Y"}


def test_finding_visits_a_bounded_number_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory that is a whole disk it ends, and says where."""
    from jarvis_secretsd.cli.inventory import finding

    for number in range(30):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}/.env").write_text("")
    monkeypatch.setattr(finding, "MAX_VISITED", 40)
    found = find(str(tmp_path))
    assert 0 < len(found.env_files) < 30
    assert "not looked at" in found.notes[0].text


def test_the_json_is_whole(project: Path, tool: Tool) -> None:
    """Also what the table leaves out."""
    told = json.loads(tool("inventory", str(project), "--no-git", "--json").out)
    assert {one["name"] for one in told["variables"]} >= {"LOG_LEVEL", "DB_PASSWORD"}
    assert {file["kind"] for file in told["files"]} == {"env", "compose", "secret"}


def test_nothing_is_written_or_asked(
    project: Path, tool: Tool, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project is as it was, and no daemon has heard of it."""
    before = {path: path.stat().st_mtime_ns for path in sorted(project.rglob("*"))}
    tool("inventory", str(project))
    assert {path: path.stat().st_mtime_ns for path in sorted(project.rglob("*"))} == before
    assert fake.asked == []
