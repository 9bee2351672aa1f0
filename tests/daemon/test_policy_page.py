"""docs/policy.md is true: its policies load, and its tables say what the program does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.policyfile import load_policy
from jarvis_secretsd.domain.policy import Decision, Pattern, Policy
from jarvis_secretsd.errors import ConfigurationError
from jarvis_secretsd.values import ClientId, Permission, SecretName
from tests.fences import fenced

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
USERS = {"enzo": 1000, "jarvis-backend": 1001, "jarvis-mcp": 1002, "prometheus": 1003}
POLICIES = fenced(PAGE, "yaml")


def load(text: str) -> Policy:
    return load_policy(
        text.encode(),
        source="policy.yaml",
        own_uid=1000,
        users=USERS.get,
        groups={"search": 20}.get,
    )


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table that begins with this heading."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    for line in table.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("text", POLICIES)
def test_each_policy_of_the_page_loads(text: str) -> None:
    """What a reader copies from the page is a valid policy."""
    assert load(text).clients


def test_the_page_s_answers_are_the_program_s() -> None:
    """Each row of the table is decided so, and by that line."""
    policy = load(POLICIES[0])
    answers = list(rows("client"))
    for client, permission, name, answer, rule in answers:
        decision = policy.decide(
            policy.clients[ClientId(*code(client))],
            Permission(*code(permission)),
            SecretName(*code(name)) if code(name) else None,
        )
        assert decision == Decision(answer == "yes", *code(rule))
    assert len(answers) == 14


def test_the_page_s_permissions_are_all_there_are() -> None:
    """No permission is missing from the table, none is invented."""
    assert [code(row[0])[0] for row in rows("permission | for")] == [*Permission, "all"]


def test_the_page_s_patterns_match_as_it_says() -> None:
    """Each example of a pattern matches, or doesn't."""
    for pattern, matching, others in rows("pattern"):
        compiled = Pattern.of(*code(pattern))
        assert all(compiled.matches(name) for name in code(matching))
        assert not any(compiled.matches(name) for name in code(others))


def test_what_the_page_calls_refused_is_refused() -> None:
    """Each row's text is an error, and its message says so in these words."""
    for written, because in rows("written"):
        (text,), (words,) = code(written), code(because)
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            load(text)
