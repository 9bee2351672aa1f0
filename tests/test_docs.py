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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors_lead_to_a_heading(document: Path) -> None:
    """What follows # in a relative link is a heading of the page that it leads to."""
    links = re.findall(r"\]\(([^)#]*)#([^)]+)\)", document.read_text())
    lost = [
        f"{page}#{anchor}"
        for page, anchor in links
        if "://" not in page
        and anchor not in _anchors(document.parent / page if page else document)
    ]
    assert lost == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tests_that_a_document_names_exist(document: Path) -> None:
    """A promise that names the test that shows it, or its directory, names one that is there."""
    named = re.findall(r"\btests/[\w./-]*\w/?", document.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w -]", "", shown.strip().lower()).replace(" ", "-")
        more = (f"{anchor}-{number}" for number in range(1, len(found) + 1))
        found.add(
            anchor if anchor not in found else next(each for each in more if each not in found)
        )
    return found


def test_anchors_are_made_as_github_makes_them(tmp_path: Path) -> None:
    """Lower case, no punctuation, hyphens for spaces; a second one of a name is numbered."""
    page = tmp_path / "page.md"
    page.write_text("# `a_b`: C & [d](e)!\n```sh\n# no heading\n```\n## Twice\n### Twice\n")
    assert _anchors(page) == {"a_b-c--d", "twice", "twice-1"}


def test_every_decision_is_listed() -> None:
    """The list of decisions names each page beside it, and nothing else."""
    pages = {path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md")}
    assert set(_links(ROOT / "docs/adr/README.md")) == pages
