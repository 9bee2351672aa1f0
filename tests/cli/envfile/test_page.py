"""The page about `.env` files says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jarvis_secretsd.cli.envfile import Dialect, EnvfileRefused, read_envfile

PAGE = (Path(__file__).parents[3] / "docs/dotenv.md").read_text()

TABLE = PAGE[PAGE.index("## What each makes of the same line") :]
_ROW = re.compile(r"^\| `(?P<line>[^`]+)` \|(?P<cells>(?:[^|]+\|){4})$", re.MULTILINE)
ROWS = {row["line"]: row["cells"].split("|")[:-1] for row in _ROW.finditer(TABLE)}


def cell(line: str, dialect: Dialect) -> str:
    """What the table has to say about a line."""
    try:
        reading = read_envfile(f"B=blue\n{line}\n".encode(), dialect)
    except EnvfileRefused:
        return "refused"
    value = reading.assignments[1].value.reveal_text()
    shown = f"`{value}`".replace("\n", "⏎") if value else "empty"
    return f"{shown} ⚠" if reading.warnings else shown


def test_the_table_has_a_column_for_each_dialect() -> None:
    """The columns are the dialects in their order, and the table is there at all."""
    assert "| line | " + " | ".join(f"`{dialect}`" for dialect in Dialect) + " |" in TABLE
    assert len(ROWS) > 30


@pytest.mark.parametrize("line", ROWS)
def test_the_table_says_what_each_dialect_makes_of_a_line(line: str) -> None:
    """Every cell of the page is what the program does."""
    assert [said.strip() for said in ROWS[line]] == [cell(line, dialect) for dialect in Dialect]
