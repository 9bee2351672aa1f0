"""docs/clients.md: its functions for other languages, compiled and run as they stand there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jarvis_secretsd import messages as m
from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.values import SecretName
from tests.daemon_process import DaemonProcess
from tests.docs.clients_page import NO_WAY_OUT, at_socket, block, blocks, policy, put
from tests.e2e.tools import needs

NAME = "postgres_password"

TEXTS = (
    "s3cret",
    "",
    "\u00e9\u20ac \U0001f511\n",
    ' "value":"x" \\ \\n / $HOME %s {0} ',
    "".join(map(chr, range(1, 0x20))) + "\x7f\u2028",
    '{"encoding":"base64"}',
    "-----BEGIN KEY-----\r\nMIIE\r\n" * 500,
)

MAINS = {
    "python": """
import sys
from secret import secret
sys.stdout.buffer.write(secret(sys.argv[1]).encode())
""",
    "js": """
import { secret } from "./secret.mjs";
process.stdout.write(await secret(process.argv[2]));
""",
    "go": """
package main

import (
	"fmt"
	"os"
)

func main() {
	value, err := secret(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(value)
}
""",
    "rust": """
mod secret;

fn main() {
    match secret::secret(&std::env::args().nth(1).unwrap()) {
        Ok(value) => print!("{value}"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
}
""",
}
"""What calls the function of the page: the value to stdout, or the error to stderr and 1."""


class Program:
    """A paste that can be run, in a directory where `socket` leads to the daemon of the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "s"
        self.command: Callable[[str], list[str]] = lambda name: [name]

    def ask(self, name: str = NAME) -> subprocess.CompletedProcess[bytes]:
        """Run it: what it writes is the value."""
        return self._run(*self.command(name))

    def build(self, *command: str) -> None:
        """Run a compiler, without a network and with a cache of its own."""
        done = self._run(*command)
        assert done.returncode == 0, done.stderr.decode()

    def write(self, paste: str, language: str, suffix: str) -> None:
        """The page's text in a file, and what calls it in another."""
        (self.directory / f"secret{suffix}").write_text(at_socket(paste, self.socket))
        (self.directory / f"main{suffix}").write_text(MAINS[language])

    def _run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        go = {"GOCACHE": str(self.directory / "cache"), "GO111MODULE": "off", "GOFLAGS": ""}
        environment = os.environ | NO_WAY_OUT | go
        return subprocess.run(
            command, env=environment, cwd=self.directory, capture_output=True, check=False
        )


def _curl(program: Program) -> None:
    paste = at_socket(block("curl", "sh"), program.socket)
    program.command = lambda name: ["sh", "-c", paste.replace(NAME, name)]


def _python(program: Program) -> None:
    program.write(blocks("Python", "python")[-1], "python", ".py")
    program.command = lambda name: [sys.executable, "-W", "error", "main.py", name]


def _node(program: Program) -> None:
    program.write(block("Node", "js"), "js", ".mjs")
    program.command = lambda name: ["node", "main.mjs", name]


def _go(program: Program) -> None:
    program.write(block("Go", "go"), "go", ".go")
    program.build("go", "build", "-o", "ask", "secret.go", "main.go")
    program.command = lambda name: ["./ask", name]


def _rust(program: Program) -> None:
    program.write(block("Rust", "rust"), "rust", ".rs")
    program.build("rustc", "--edition", "2021", "-D", "warnings", "-o", "ask", "main.rs")
    program.command = lambda name: ["./ask", name]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(_curl, marks=needs("curl", "jq"), id="curl"),
        pytest.param(_python, id="python"),
        pytest.param(_node, marks=needs("node"), id="node"),
        pytest.param(_go, marks=needs("go"), id="go"),
        pytest.param(_rust, marks=needs("rustc"), id="rust"),
    ],
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Each language's, compiled once."""
    made = Program(tmp_path_factory.mktemp("paste"))
    request.param(made)
    return made


@pytest.fixture
def served(program: Program, make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """The daemon that the program asks, with the page's policy."""
    daemon = make_daemon(policy=policy(block("Where people already are", "yaml"), "jarvis-backend"))
    daemon.start()
    program.socket.unlink(missing_ok=True)
    program.socket.symlink_to(daemon.socket_path)
    return daemon


def test_a_text_arrives_to_the_byte(program: Program, served: DaemonProcess) -> None:
    """UTF-8, newlines, quotes, control characters, nothing at all."""
    for text in TEXTS:
        put(served, NAME, text)
        done = program.ask()
        assert (done.stdout, done.stderr, done.returncode) == (text.encode(), b"", 0)


def test_what_is_no_text_is_an_error(program: Program, served: DaemonProcess) -> None:
    """Never base64 that a program takes for its password."""
    put(served, NAME, b"\xff\0\xfe")
    done = program.ask()
    assert done.stdout == b""
    assert b"not text" in done.stderr
    assert done.returncode != 0


def test_a_refusal_is_an_error_with_its_reason(program: Program, served: DaemonProcess) -> None:
    """What doesn't exist and what the policy denies, in the daemon's words."""
    put(served, NAME, "x")
    with SecretsClient(str(served.socket_path), client_id="admin") as client:
        client.ask(m.Delete(SecretName(NAME)), m.Deleted)
    for name, words in (
        (NAME, b"no secret is named"),
        ("another", b"the policy does not allow this"),
    ):
        done = program.ask(name)
        assert done.stdout == b""
        assert words in done.stderr
        assert done.returncode != 0


def test_a_daemon_that_is_not_there_is_an_error(program: Program) -> None:
    """With a word that leads to the socket."""
    program.socket.unlink(missing_ok=True)
    done = program.ask()
    assert done.stdout == b""
    assert done.stderr
    assert done.returncode != 0


@needs("gofmt")
def test_the_go_of_the_page_is_formatted(tmp_path: Path) -> None:
    """As everybody writes it."""
    (tmp_path / "secret.go").write_text(block("Go", "go"))
    done = subprocess.run(
        ["gofmt", "-l", "secret.go"], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout == b""
