"""The transcripts: what the commands print is what the files say, to the letter.

With REWRITE_TRANSCRIPTS=1 in the environment the files are written anew instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess, Settings
from tests.transcripts.placeholders import Placeholders, today
from tests.transcripts.retelling import Printed, Terminal, retold

HERE = Path(__file__).parent
FILES = {file.stem: file for file in sorted(HERE.glob("*.txt"))}
POLICY = (HERE / "policy.yaml").read_text().replace("[you]", f'["{os.geteuid()}"]')
HOOK = """\
#!/bin/sh
# The far end of what matches hooked/*: it does what a transcript says in the file far-end.
cat >/dev/null
. "${0%/*}/far-end"
"""
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


def session(commands: Sequence[str]) -> list[Printed]:
    """What the commands print in the directory of a new daemon, with words for what differs."""
    day = today()
    daemon = DaemonProcess(policy=POLICY)
    hook = daemon.directory / "hook"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    settings: Settings = {
        "server": {"bind_addr": ""},
        "[hooks]": {"pattern": "hooked/*", "command": [str(hook)]},
    }
    daemon.configure(settings)
    words = Placeholders(daemon.directory, day)
    environment = {
        "PATH": PATH,
        "JARVIS_SECRETS_SOCKET": str(daemon.socket_path),
        "JARVIS_CLIENT_ID": "admin",
    }
    try:
        daemon.start()
        printed = Terminal(daemon.directory, environment)(commands)
        assert not daemon.crashed, daemon.stderr
    finally:
        daemon.dispose()
    if today() != day:  # it ran over midnight
        return session(commands)
    return [Printed(words(text), status) for text, status in printed]


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[str]]]:
    """The chosen files as they would be written now, several told at a time."""
    items = {item.name.partition("[")[2] for item in request.session.items}
    chosen = [name for name in FILES if f"{name}]" in items]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(retold, FILES[name].read_text(), session) for name in chosen}


@pytest.mark.parametrize("name", FILES)
def test_commands_print_what_the_transcript_says(
    name: str, told: Mapping[str, Future[str]]
) -> None:
    """Every command prints what stands below it, and ends with the status that is said."""
    text = told[name].result()
    if os.environ.get("REWRITE_TRANSCRIPTS"):
        FILES[name].write_text(text)
    assert text == FILES[name].read_text()
