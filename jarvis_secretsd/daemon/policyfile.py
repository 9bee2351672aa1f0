"""The policy as a file: YAML text to a `Policy`, every fault with its line. The only home of YAML.

YAML is read down to the bone: every scalar is the text that was written (no Norway problem), and
what makes a text mean something that it doesn't show (anchors, aliases, tags, merge keys, repeated
keys) is refused. What the text may say is `daemon.policyschema`'s business.
"""

from __future__ import annotations

import grp
import hashlib
import pwd
import re
from collections.abc import Iterator
from typing import NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from jarvis_secretsd.daemon.policyschema import (
    Items,
    Lookup,
    Node,
    Problems,
    Table,
    Text,
    read_clients,
)
from jarvis_secretsd.domain.policy import Policy
from jarvis_secretsd.errors import ConfigurationError

MAX_POLICY_BYTES = 256 * 1024
"""Thousands of clients; what is larger is another file put there by mistake."""

MAX_DEPTH = 16
"""A policy is five levels deep; the rest is for no one."""

_HIDDEN_BREAK = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
"""What YAML takes for the end of a line, and hardly any editor shows as one."""


class _Broken(Exception):
    """The text can't be read on from here; the problem is recorded."""


def user_id(name: str) -> int | None:
    """The uid of this user of the host, or None (getpwnam(3))."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def group_id(name: str) -> int | None:
    """The gid of this group of the host, or None (getgrnam(3))."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def load_policy(
    text: bytes,
    *,
    source: str,
    own_uid: int,
    users: Lookup = user_id,
    groups: Lookup = group_id,
) -> Policy:
    """The policy that this text writes; `own_uid` is the daemon's, for clients that bind nobody.

    Raises ConfigurationError with every problem, each as `SOURCE:LINE: what; remedy`.
    """
    problems = Problems()
    try:
        root = _Reader(_decode(text, problems), problems).document()
        found = read_clients(root, problems, own_uid=own_uid, users=users, groups=groups)
    except _Broken:
        found = {}
    if problems:
        raise ConfigurationError(problems.lines(source))
    return Policy(found, hashlib.sha256(text).hexdigest(), own_uid)


def _decode(data: bytes, problems: Problems) -> str:
    if len(data) > MAX_POLICY_BYTES:
        problems.add(
            1, f"{len(data):,} bytes; a policy has at most {MAX_POLICY_BYTES:,}; is it one?"
        )
        raise _Broken
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(data.count(b"\n", 0, error.start) + 1, "not UTF-8; save the file as UTF-8")
        raise _Broken from error
    for hidden in _HIDDEN_BREAK.finditer(text):
        line = text.count("\n", 0, hidden.start()) + 1
        problems.add(line, f"{hidden[0]!a} ends a line for YAML, unseen; delete it")
    return text


class _Reader:
    """One YAML document, event by event, so that its depth is known before anything is built."""

    def __init__(self, text: str, problems: Problems) -> None:
        self._problem = problems.add
        self._events = self._parse(text)

    def document(self) -> Node:
        """The document's root. Raises _Broken where nothing more can be read."""
        next(self._events)  # the stream's start
        if isinstance(next(self._events), StreamEndEvent):
            self._fail(1, "the policy is empty; add a client under `clients`")
        root = self._node(next(self._events), depth=1)
        next(self._events)  # the document's end
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            self._fail(_line(after), "a second document begins; keep all in one")
        return root

    def _parse(self, text: str) -> Iterator[Event]:
        try:
            yield from yaml.parse(text, Loader=yaml.BaseLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._fail(mark.line + 1 if mark else 1, _explain(error))
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._fail(line, "a control character, which YAML can't hold; delete it")
        except (ValueError, OverflowError):  # of PyYAML's own, for numbers such as "\UFFFFFFFF"
            self._fail(1, "not YAML: an escape or directive with an impossible number; delete it")

    def _node(self, event: Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._fail(_line(event), f"nested deeper than {MAX_DEPTH}; a policy needs five levels")
        self._refuse_indirection(event)
        match event:
            case SequenceStartEvent():
                return Items(_line(event), tuple(self._items(depth)))
            case MappingStartEvent():
                return Table(_line(event), tuple(self._rows(depth)))
            case AliasEvent():
                return Text(_line(event), f"*{event.anchor}")
            case ScalarEvent(value=text):
                return Text(_line(event), text)
            case _:
                raise AssertionError(f"YAML gave {event} for a node")

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _rows(self, depth: int) -> Iterator[tuple[Text, Node]]:
        first: dict[str, int] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Text):
                self._problem(key.line, "a key must be plain text; write `key: value`")
            elif key.text in first:
                again = f"{key.text!a} is given twice, first in line {first[key.text]}; keep one"
                self._problem(key.line, again)
            else:
                first[key.text] = key.line
                yield key, value

    def _refuse_indirection(self, event: Event) -> None:
        match event:
            case AliasEvent(anchor=name):
                self._problem(
                    _line(event),
                    f'`*{name}` without quotes is an alias; for a pattern write "*{name}"',
                )
                return
            case NodeEvent(anchor=str(name)):
                self._problem(_line(event), f"`&{name}` is an anchor, not used here; write it out")
        if isinstance(event, ScalarEvent) and event.value == "<<" and event.style is None:
            self._problem(_line(event), "`<<` merges mappings, not used here; write it out")
        if getattr(event, "tag", None) is not None:
            self._problem(_line(event), "`!` begins a tag, not used here; put text in quotes")

    def _fail(self, line: int, text: str) -> NoReturn:
        self._problem(line, text)
        raise _Broken


def _line(event: Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _explain(error: yaml.MarkedYAMLError) -> str:
    if error.context == "while scanning an alias":
        return 'a pattern that begins with * needs quotes; write "*" or "*_key"'
    problem = error.problem or error.context or "can't be read"
    if "'\\t'" in problem:
        return "a tab where YAML allows none; indent with spaces"
    return f"not YAML: {problem}; mind indentation, brackets and quotes"
