"""A policy that could mean something else than it shows is refused, each fault with its line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarvis_secretsd.daemon.policyfile import (
    MAX_DEPTH,
    MAX_POLICY_BYTES,
    group_id,
    load_policy,
    user_id,
)
from jarvis_secretsd.errors import ConfigurationError
from tests.daemon.policies import client, load, problems


@pytest.mark.parametrize(
    ("spelling", "uid"),
    [
        ("0", 0), ("1", 1), ("1000", 1000), ('"1000"', 1000), ("65533", 65533), ("65535", 65535),
        ("2147483648", 2**31), ("4294967294", 2**32 - 2), ("root", 0), ("enzo", 1000),
    ],
)  # fmt: skip
def test_a_uid_is_plain_digits_or_a_user(spelling: str, uid: int) -> None:
    """Digits name a uid, whether the host has that user or not."""
    assert client(f"users: [{spelling}]").uids == {uid}


@pytest.mark.parametrize(
    "spelling",
    [
        "-1", "-2", "+1000", "01000", "007", "00", "1_000", "1000.0", "1e3", "0x3e8", "0b1",
        "4294967295", "4294967296", "9999999999", "42949672960", "18446744073709551616", "65534",
        "'#4294967295'", "'#0'", "٣", "１０", "²", '" 1000"', '"1000 "', '"1000\\n"', '"1000\\0"',
        '"\\ud800"', '""', "~", "null", "nobody", "nogroup", "overflow", "Root", "ghost", "'*'",
    ],
)  # fmt: skip
def test_no_other_spelling_is_a_user(spelling: str) -> None:
    """Signs, blanks, zeros in front, other digits, wrapped numbers and nobody bind no one."""
    for key in ("users", "groups"):
        (problem,) = problems(f"clients: {{web: {{{key}: [{spelling}]}}}}")
        assert problem.startswith("policy.yaml:1: ")


@pytest.mark.parametrize("name", ["no-such-user", "", "\0", "\ud800", "0", "a" * 5000])
def test_a_name_that_the_host_can_not_have_is_unknown(name: str) -> None:
    """Looking up any text gives a number or nothing, never an error."""
    assert user_id(name) is None
    assert group_id(name) is None


def test_users_and_groups_are_those_of_the_host() -> None:
    """Without other look-ups, names are those of passwd and group."""
    policy = load_policy(b"clients: {x: {users: [root], groups: [root]}}", source="p", own_uid=1000)
    (x,) = policy.clients.values()
    assert x.uids == x.gids == frozenset({0})


REFUSED = [
    ("", 1, "the policy is empty"),
    ("\n# nothing\n", 1, "the policy is empty"),
    ("---\n", 2, "the policy must be a mapping"),
    ("default_deny: true\n", 1, "no client is there"),
    ("clients: {}\n", 1, "no client is there"),
    ("clients:\n", 1, "clients must be a mapping"),
    ("[clients]", 1, "the policy must be a mapping"),
    ("clients: [web]", 1, "clients must be a mapping"),
    ("clients:\n  web:\n", 2, "clients.web must be a mapping"),
    ("clients:\n  web: {}\n  web: {allow: [b]}\n", 3, "'web' is given twice, first in line 2"),
    ('clients:\n  "1": {allow: [a]}\n  1: {allow: [b]}\n', 3, "'1' is given twice"),
    ("clients:\n  web:\n    allow: [a]\n    allow: [b]\n", 4, "'allow' is given twice"),
    ("clients:\n  web:\n    alow: [a]\n", 3, "did you mean `allow`?"),
    ("client: {web: {allow: [a]}}", 1, "did you mean `clients`?"),
    ("clients: {web: {allow: [*_key]}}", 1, 'for a pattern write "*_key"'),
    ("clients:\n  web:\n    allow: [*]\n", 3, "needs quotes"),
    ("clients:\n  web:\n    allow:\n      - */key\n", 4, "needs quotes"),
    ('clients: {web: {allow: "db_*"}}', 1, "clients.web.allow must be a list"),
    ("clients: {web: {allow: null}}", 1, "clients.web.allow must be a list"),
    ("clients: {web: {deny: }}", 1, "clients.web.deny must be a list"),
    ("clients: {web: {allow: {a: b}}}", 1, "clients.web.allow must be a list"),
    ("clients: {web: {allow: [[a]]}}", 1, "must hold only text"),
    ("clients: {web: {allow: ['']}}", 1, "is no pattern"),
    ("clients: {web: {allow: [é]}}", 1, "is no pattern"),
    ("clients: {web: {allow: [" + "a" * 256 + "]}}", 1, "is no pattern"),
    ("clients: {web: {users: enzo}}", 1, "clients.web.users must be a list"),
    ("clients: {web: {roles: [ghost]}}", 1, "role 'ghost' is not defined"),
    ("roles: {r: {users: [enzo]}}\nclients: {web: {}}", 1, "unknown key 'users' in roles.r"),
    ("clients: {web: {permissions: [raed]}}", 1, "did you mean `read`?"),
    ("clients: {web: {permissions: [Read]}}", 1, "unknown permission 'Read'"),
    ("clients: {web: {token: yes}}", 1, "write one of refused, accepted, required"),
    ("clients: {web: {token: [required]}}", 1, "write one of refused, accepted, required"),
    ("clients: {web: {on_rotation: stop}}", 1, "on_rotation: write one of restart, reload"),
    ("clients: {web: {on_rotation: [restart]}}", 1, "on_rotation: write one of restart, reload"),
    ("clients: {web: {units: [backend]}}", 1, "write its full name, as backend.service"),
    ("clients: {web: {units: ['*.service']}}", 1, "is no unit"),
    ("clients: {web: {units: [a/b.service]}}", 1, "is no unit"),
    ("clients: {web: {credentials: [a]}}", 1, "credentials must be a mapping"),
    ("clients: {web: {credentials: {a: [b]}}}", 1, "must be one secret;"),
    ("clients: {web: {credentials: {a: B}}}", 1, "did you mean 'b'?"),
    ('clients: {web: {credentials: {"a:b": c}}}', 1, "is no credential's name"),
    ("clients: {web: {credentials: {a/b: c}}}", 1, "is no credential's name"),
    ("clients: {web: {credentials: {..: c}}}", 1, "is no credential's name"),
    ('clients: {web: {credentials: {"": c}}}', 1, "is no credential's name"),
    ("clients: {web: {credentials: {" + "a" * 256 + ": c}}}", 1, "is no credential's name"),
    ("clients: {-web: {allow: [a]}}", 1, "can't be a client's name"),
    ("clients: {w e: {allow: [a]}}", 1, "can't be a client's name"),
    ('clients: {"w\\n\\e[31m": {alow: [a]}}', 1, "unknown key 'alow' in clients._;"),
    ("default_deny: false\nclients: {web: {}}", 1, "default_deny can only be true"),
    ("default_deny: yes\nclients: {web: {}}", 1, "default_deny can only be true"),
    ("clients: &c {web: {}}", 1, "`&c` is an anchor"),
    ("clients: {web: {allow: [&c a]}}", 1, "`&c` is an anchor"),
    ("clients: {a: &c {allow: [x]}, b: *c}", 1, "is an alias"),
    ("clients: {a: {<<: {allow: [x]}}}", 1, "`<<` merges mappings"),
    ("clients: !!python/object/apply:os.system {a: {}}", 1, "begins a tag"),
    ("clients: {a: {allow: [!!str x]}}", 1, "begins a tag"),
    ("clients: {a: {allow: [! x]}}", 1, "begins a tag"),
    ("clients: {? [a] : {}}", 1, "a key must be plain text"),
    ("clients: {a: {}}\n---\nclients: {b: {}}\n", 2, "a second document"),
    ("clients:\n\tweb: {}\n", 2, "a tab where YAML allows none"),
    ("clients: {web: {allow: [a}}", 1, "not YAML"),
    ("clients:\n  web: {allow: [a]\n", 3, "not YAML"),
    ('clients: {web: {allow: ["\\UFFFFFFFF"]}}', 1, "not YAML"),
    ("%YAML 1." + "9" * 5000 + "\n---\nclients: {}", 1, "not YAML"),
    ("# x\nclients: {web: {allow: [a\x07]}}", 2, "a control character"),
    ("# x\u2028clients: {web: {}}", 1, "ends a line for YAML, unseen"),
    ("# x\rclients: {web: {}}", 1, "ends a line for YAML, unseen"),
    ("a: " + "[" * (MAX_DEPTH + 1), 1, f"nested deeper than {MAX_DEPTH}"),
    ("a: " + "[" * 100_000, 1, f"nested deeper than {MAX_DEPTH}"),
    ("a: " + "{a: " * 10_000, 1, f"nested deeper than {MAX_DEPTH}"),
    ("a:\n" + "".join("- " * depth + "\n" for depth in range(40)), 17, "nested deeper"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what"), REFUSED)
def test_a_text_that_means_something_else_than_it_shows_is_refused(
    text: str, line: int, what: str
) -> None:
    """Each pitfall of YAML, each unknown or mistyped line, is an error with place and remedy."""
    found = problems(text)
    assert any(each.startswith(f"policy.yaml:{line}: ") and what in each for each in found)
    assert all(
        re.fullmatch(r"policy\.yaml:[0-9]+: .+[;?:,] .+|.*did you mean.*", each) for each in found
    )


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"# \xe4\nclients: {}", "policy.yaml:1: not UTF-8"),
        ("clients: {web: {}}".encode("utf-16"), "policy.yaml:1: not UTF-8"),
        (b"# x\n\xff", "policy.yaml:2: not UTF-8"),
        (b"#" * (MAX_POLICY_BYTES + 1), "policy.yaml:1: 262,145 bytes"),
    ],
)
def test_bytes_that_are_no_policy_are_refused(data: bytes, what: str) -> None:
    """Other encodings and other files are told before YAML sees them."""
    assert problems(data)[0].startswith(what)


def test_every_problem_is_told_at_once() -> None:
    """One look at the errors is enough to mend the file: each line, in order."""
    text = """\
default_deny: false
roles:
  r: {permission: [read]}
clients:
  a: {users: [ghost, nobody], allow: [x], allow: [y]}
  a: {}
  b:
    roles: [s]
    token: maybe
    units: &u [x]
"""
    lines = [int(each.split(":")[1]) for each in problems(text)]
    assert lines == [1, 3, 5, 5, 5, 6, 8, 9, 10, 10]


@given(st.text(max_size=60) | st.text("ac*&!|>%@`'\"#:-?,[]{} \n\t\\<0", max_size=40))
def test_any_text_is_a_policy_or_an_error_with_lines(text: str) -> None:
    """Nothing that a file can hold makes the loader fail in another way."""
    try:
        load(text.encode("utf-8", "surrogatepass"))
    except ConfigurationError as refusal:
        assert all(re.match(r"policy\.yaml:[0-9]+: ", each) for each in refusal.problems)
