"""`jarvis-secrets help`: its pages say what the program really does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from jarvis_secretsd.cli.exits import Exit
from jarvis_secretsd.cli.group import ENTRIES
from jarvis_secretsd.cli.layout import MAX_WIDTH
from jarvis_secretsd.cli.manual import TOPICS, laid_out
from tests.cli.conftest import Tool
from tests.cli.terminal import on_terminal

PACKAGE = Path(__file__).parents[2] / "jarvis_secretsd"
NARROW = 44

UNBREAKABLE = "  from jarvis_secretsd.client import get_secret"
"""A line to type that is wider than the narrowest window."""


def _topic(name: str) -> str:
    return files("jarvis_secretsd.cli").joinpath("topics", f"{name}.txt").read_text()


def _variables_read() -> Iterator[str]:
    """The names under which any module looks something up in its environment."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            match node:
                case ast.Call(ast.Attribute(value, "get" | "pop"), [ast.Constant(str(name)), *_]):
                    if ast.unparse(value).endswith("environ"):
                        yield name
                case ast.Call(_, [ast.Name("environ"), ast.Constant(str(name))]):
                    yield name
                case ast.Assign([ast.Name(constant)], ast.Constant(str(name))):
                    if constant.endswith("_VARIABLE") and not name.startswith("_"):
                        yield name


def test_topics_are_listed(tool: Tool) -> None:
    """Without a topic help lists all, and each of them has its page."""
    listed = tool("help")
    assert listed.status == 0
    for topic, what in TOPICS.items():
        assert re.search(rf"^  {topic} +{what}$", listed.out.decode(), re.MULTILINE)
        assert tool("help", topic).out.decode().startswith(_topic(topic)[:20])
    pages = {page.name for page in files("jarvis_secretsd.cli").joinpath("topics").iterdir()}
    assert pages == {f"{topic}.txt" for topic in TOPICS}


@pytest.mark.parametrize("command", ENTRIES)
def test_a_command_is_explained_as_by_its_own_help(tool: Tool, command: str) -> None:
    """`help COMMAND` ends with what `COMMAND --help` says."""
    assert tool("help", command).out.endswith(tool(command, "--help").out)


def test_what_is_neither_topic_nor_command_is_said_so(tool: Tool) -> None:
    """The answer says where both are listed."""
    outcome = tool("help", "nonsense")
    assert outcome.status == 2
    assert "`jarvis-secrets help` lists" in outcome.err
    assert "did you mean 'import'?" in tool("help", "importing").err


def test_the_exit_statuses_are_all_told() -> None:
    """The page names every status that there is, in order, and no other."""
    told = [int(n) for n in re.findall(r"^  (\d+) +\S", _topic("exit-status"), re.MULTILINE)]
    assert told == sorted(Exit)


def test_every_variable_that_is_read_is_told() -> None:
    """The page names each variable that any module reads, and what click reads for us."""
    page = re.sub(r"(?m)^(  \S.*?)  +.*$", r"\1", _topic("environment"))
    told = set(re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b", page))
    read = set(_variables_read())
    assert {"JARVIS_CLIENT_ID", "EDITOR", "RUST_LOG", "XDG_STATE_HOME"} <= read
    assert told == read | {"PAGER"}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_fits_its_window(topic: str) -> None:
    """Prose and lists are broken for it; what is to be typed is short enough to stay whole."""
    for width in (NARROW, MAX_WIDTH):
        lines = laid_out(_topic(topic), width).splitlines()
        assert all(len(line) <= width or line == UNBREAKABLE for line in lines)


def test_a_list_stands_beside_or_below_its_terms() -> None:
    """A line of two columns is one of a list; other lines that are indented stay as they are."""
    page = "Prose.\n\n  a  the first\n  word  the second\n\n  to be  typed \\\n    as it is\n"
    typed = ["", "  to be  typed \\", "    as it is"]
    wide = ["Prose.", "", "  a     the first", "  word  the second"]
    assert laid_out(page, 40).splitlines() == wide + typed
    narrow = [
        "Prose.",
        "",
        "  a",
        "      the",
        "      first",
        "  word",
        "      the",
        "      second",
    ]
    assert laid_out(page, 12).splitlines() == narrow + typed


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_names_commands_that_there_are(topic: str) -> None:
    """Whatever a page tells to type begins with a command of the program."""
    for command in re.findall(r"jarvis-secrets ([a-z-]+)", _topic(topic)):
        assert command in ENTRIES


def test_a_long_page_is_paged_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    """What is longer than the window goes through the pager, and nothing that goes into a pipe."""
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged; cat\n")
    pager.chmod(0o755)
    monkeypatch.setenv("PAGER", str(pager))
    assert on_terminal("help", "environment", lines=20)[1].startswith(b"paged")
    assert not on_terminal("help", "environment", lines=200)[1].startswith(b"paged")
    assert not tool("help", "environment").out.startswith(b"paged")
