"""What Docker Compose itself makes of env files, as it was recorded.

`python -m tests.cli.envfile.recording DOCKER-COMPOSE` records it anew; not every machine has the
program, which reads files here and starts nothing.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

RECORDING = Path(__file__).with_name("compose.jsonl")
FILES = Path(__file__).with_name("files")
PAGE = Path(__file__).parents[3] / "docs" / "dotenv.md"

BEFORE = "B=blue\nP='p q'\nQ='*$X \"y\"'\nE=\n"

_WORDS = """
    ' " \\ $ ` { } ( ) a P Q 0 _ # = ~ ! é $$ \\n \\\\ ; | : / ? - + , . ${P} $Q $U ${P:-
    ${U:- ${U- ${E:- ${E- ${P:+ ${U+ ${E? ${P:?x 'x' "y" export A= \\" \\$ \\' \\} \\t \\0
    \\x41 \\a \\v \\r }} $$P
"""
WORDS = (*_WORDS.split(), *" \t\n\v\u00a0\u2028\x01\x7f\ufeff", " # c", "\\\n")
HEADS = ("A=", "export A=", "A= ", " A=", "A = ", "A: ", "A:", "export  A = ", "Z=1\nA=")
FRAMES = ("{}", '"{}"', "'{}'", '{}"x"', "${{U:-{}}}", '"${{U:-{}}}"', "{}$P", '"{}$Q"', "{} #c")

Variables = dict[str, str | None]


def recorded() -> Iterator[tuple[str, Variables | None]]:
    """Each text, and the variables that Compose found in it; None where it refused the file."""
    for line in RECORDING.read_text().splitlines()[1:]:
        text, variables = json.loads(line)
        yield text, variables


def _texts() -> Iterator[str]:
    """The files of projects, the lines of the page below what is above them, and chance's."""
    for path in sorted(FILES.iterdir()):
        yield path.read_bytes().decode()
    for line in re.findall(r"^\| `([^`]+)` \|(?:[^|]+\|){4}$", PAGE.read_text(), re.MULTILINE):
        yield f"B=blue\n{line}\n"
    chance = random.Random(5)
    for _ in range(600):
        words = "".join(chance.choices(WORDS, k=chance.randint(0, 6)))
        yield BEFORE + chance.choice(HEADS) + chance.choice(FRAMES).format(words) + "\n"


def _ask(program: str, texts: Sequence[str]) -> list[Variables | None]:
    """One service for each text, since a start costs more than a file; a refusal is of all."""
    with tempfile.TemporaryDirectory() as directory:
        for number, text in enumerate(texts):
            Path(directory, str(number)).write_bytes(text.encode())
        services = {
            f"s{number}": {"image": "x", "env_file": [str(number)]} for number in range(len(texts))
        }
        Path(directory, "compose.yaml").write_text(json.dumps({"services": services}))
        done = subprocess.run(
            [program, "-p", "x", "config", "--format", "json"],
            cwd=directory,
            env={"HOME": directory},
            capture_output=True,
            check=False,
        )
    if done.returncode == 0:
        found = json.loads(done.stdout)["services"]
        return [_undoubled(found[name].get("environment") or {}) for name in services]
    if len(texts) == 1:
        return [None]
    half = len(texts) // 2
    return _ask(program, texts[:half]) + _ask(program, texts[half:])


def _undoubled(environment: Variables) -> Variables:
    """`config` writes a compose file, in which a dollar is two."""
    return {name: value and value.replace("$$", "$") for name, value in environment.items()}


def _record(program: str) -> None:
    told = subprocess.run([program, "version"], capture_output=True, check=True, text=True).stdout
    texts = list(dict.fromkeys(_texts()))
    lines = [told.strip(), *zip(texts, _ask(program, texts), strict=True)]
    RECORDING.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


if __name__ == "__main__":
    _record(sys.argv[1])
