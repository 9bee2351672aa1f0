"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jarvis_secretsd"
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

A_PAGE = 80
"""Lines that fit on one page of print."""


def _named_paths(text: str) -> list[str]:
    return re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py|/))`", text)


def _links(document: Path) -> list[str]:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    return [link for link in links if "://" not in link]


def test_the_modules_that_the_architecture_names_exist() -> None:
    """Each module or room in backticks is one of the program's, or of the tests."""
    named = _named_paths((ROOT / "docs/architecture.md").read_text())
    missing = [
        path for path in named if not (PACKAGE / path).exists() and not (ROOT / path).exists()
    ]
    assert len(named) > 20
    assert missing == []


def test_the_architecture_is_one_page() -> None:
    """It stays short enough to be read before the code."""
    assert len((ROOT / "docs/architecture.md").read_text().splitlines()) <= A_PAGE


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link names a file of the tree."""
    assert [link for link in _links(document) if not (document.parent / link).exists()] == []


def test_every_decision_is_listed() -> None:
    """The list of decisions names each page beside it, and nothing else."""
    pages = {path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md")}
    assert set(_links(ROOT / "docs/adr/README.md")) == pages
