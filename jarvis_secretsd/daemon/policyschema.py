"""What a policy may say: the tree of its text to clients, every fault collected with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct

from jarvis_secretsd.domain.policy import (
    NO_ID,
    OVERFLOW_ID,
    ROOT,
    Client,
    Credential,
    Grant,
    OnRotation,
    Pattern,
    TokenRule,
)
from jarvis_secretsd.values import MAX_NAME_BYTES, ClientId, Permission, SecretName

Word = TypeVar("Word", bound=StrEnum)
Absent = TypeVar("Absent")

Lookup = Callable[[str], int | None]
"""The number of a user or group of the host by its name, or None."""

POLICY_KEYS = ("default_deny", "roles", "clients")
GRANT_LISTS = ("permissions", "allow", "deny")
CLIENT_LISTS = ("users", "groups", "units", "roles", *GRANT_LISTS)
CLIENT_KEYS = ("token", "credentials", "on_rotation")

ALL = "all"
EVERY_NAME = "*"
NOBODY = frozenset({"nobody", "nogroup"})

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_PATTERN = re.compile(rf"[ -~]{{1,{MAX_NAME_BYTES}}}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,247}\.service")
"""systemd.unit(5): at most 255 characters."""

_CREDENTIAL = re.compile(r"[ -.0-9;-~]{1,255}")
"""A credential's file name: printable ASCII without `:` and `/` (systemd.exec(5))."""


class Text(Struct, frozen=True):
    """A scalar as it was written."""

    line: int
    text: str


class Items(Struct, frozen=True):
    """A list."""

    line: int
    items: tuple[Node, ...]


class Table(Struct, frozen=True):
    """A mapping; no key is there twice."""

    line: int
    rows: tuple[tuple[Text, Node], ...]


Node = Text | Items | Table


class Problems:
    """Every fault found so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, text: str) -> None:
        """Record a fault; `text` says what is wrong and how to mend it."""
        self._found[line, text] = None

    def lines(self, source: str) -> tuple[str, ...]:
        """`SOURCE:LINE: what; remedy`, in the order of the file."""
        ordered = sorted(self._found, key=lambda problem: problem[0])
        return tuple(f"{source}:{line}: {text}" for line, text in ordered)


def read_clients(
    root: Node, problems: Problems, *, own_uid: int, users: Lookup, groups: Lookup
) -> Mapping[ClientId, Client]:
    """The clients that this tree writes; meaningless if anything was added to `problems`."""
    return _Schema(problems, own_uid, users, groups).policy(root)


class _Block(Struct, frozen=True):
    """A mapping whose keys are known beforehand: its lists of text, and the rest as it stands."""

    where: str
    line: int
    lists: Mapping[str, tuple[Text, ...]]
    others: Mapping[str, Node]

    def texts(self, key: str) -> tuple[Text, ...]:
        return self.lists.get(key, ())


class _Schema:
    """Reads on after each fault, with something harmless in its place, so that all are found."""

    def __init__(self, problems: Problems, own_uid: int, users: Lookup, groups: Lookup) -> None:
        self._problem = problems.add
        self._own_uids = frozenset({own_uid}) - {ROOT, OVERFLOW_ID, NO_ID}
        self._users = users
        self._groups = groups

    def policy(self, root: Node) -> Mapping[ClientId, Client]:
        block = self._block("the policy", root, lists=(), others=POLICY_KEYS)
        default = block.others.get("default_deny", Text(0, "true"))
        if not (isinstance(default, Text) and default.text == "true"):
            self._problem(
                default.line,
                "default_deny can only be true: what no line allows is denied; drop it",
            )
        roles = {key.text: self._role(key, value) for key, value in self._rows(block, "roles")}
        named = block.others.get("clients", Table(block.line, ()))
        if isinstance(named, Table) and not named.rows:
            self._problem(named.line, "no client is there; add one under `clients`")
        found = [self._client(key, value, roles) for key, value in self._rows(block, "clients")]
        return {client.id: client for client in found}

    def _role(self, key: Text, value: Node) -> Grant:
        where = f"roles.{self._label(key, 'role')}"
        block = self._block(where, value, lists=GRANT_LISTS)
        return self._grant(block, self._permissions(block))

    def _client(self, key: Text, value: Node, roles: Mapping[str, Grant]) -> Client:
        client_id = self._label(key, "client")
        block = self._block(f"clients.{client_id}", value, lists=CLIENT_LISTS, others=CLIENT_KEYS)
        bound = bool(block.texts("users") or block.texts("groups"))
        token = self._word(block, "token", TokenRule, TokenRule.REFUSED)
        units = frozenset(self._units(block))
        bare = not bound and not units and token is TokenRule.REFUSED
        own = self._grant(block, self._own_permissions(block, bare=bare))
        return Client(
            client_id,
            uids=self._numbers(block, "users", self._users) if bound else self._own_uids,
            gids=self._numbers(block, "groups", self._groups),
            units=units,
            bound=bound,
            token=token,
            grants=tuple(
                grant
                for grant in (own, *self._named_roles(block, roles))
                if grant.permissions or grant.deny
            ),
            credentials=tuple(self._credentials(block)),
            on_rotation=self._word(block, "on_rotation", OnRotation, None),
        )

    def _own_permissions(self, block: _Block, *, bare: bool) -> frozenset[Permission]:
        if "permissions" in block.lists or not _is_everything(block.texts("allow")):
            return self._permissions(block)
        if bare:  # as in the policies of before clients were bound to users
            return frozenset(Permission)
        self._problem(
            block.texts("allow")[0].line,
            f'{block.where}: allow ["*"] of a bound client needs its permissions said; '
            "add `permissions: [read]` or `permissions: [all]`",
        )
        return frozenset()

    def _permissions(self, block: _Block) -> frozenset[Permission]:
        """Those given; [read] where patterns are given without permissions."""
        if "permissions" not in block.lists:
            return frozenset({Permission.READ} if block.texts("allow") else ())
        return frozenset[Permission]().union(
            *(self._permission(item) for item in block.texts("permissions"))
        )

    def _permission(self, item: Text) -> frozenset[Permission]:
        if item.text == ALL:
            return frozenset(Permission)
        try:
            return frozenset({Permission(item.text)})
        except ValueError:
            known = (*Permission, ALL)
            self._problem(
                item.line, f"unknown permission {item.text!a}; {_choose(item.text, known)}"
            )
            return frozenset()

    def _grant(self, block: _Block, permissions: frozenset[Permission]) -> Grant:
        return Grant(
            block.where,
            permissions,
            allow=tuple(self._patterns(block, "allow")),
            deny=tuple(self._patterns(block, "deny")),
        )

    def _patterns(self, block: _Block, key: str) -> Iterator[Pattern]:
        for item in block.texts(key):
            if _PATTERN.fullmatch(item.text) is None:
                self._problem(
                    item.line,
                    f"{item.text[:40]!a} is no pattern; write 1 to {MAX_NAME_BYTES} characters of "
                    "ASCII: a secret's name, with * for any run of characters",
                )
            yield Pattern.of(item.text)

    def _named_roles(self, block: _Block, roles: Mapping[str, Grant]) -> Iterator[Grant]:
        for item in block.texts("roles"):
            if item.text in roles:
                yield roles[item.text]
            else:
                self._problem(
                    item.line,
                    f"role {item.text!a} is not defined; add it under `roles`, or mend its name",
                )

    def _numbers(self, block: _Block, key: str, look_up: Lookup) -> frozenset[int]:
        found = (self._number(item, key.removesuffix("s"), look_up) for item in block.texts(key))
        return frozenset(number for number in found if number is not None)

    def _number(self, item: Text, kind: str, look_up: Lookup) -> int | None:
        is_number = _NUMBER.fullmatch(item.text) is not None
        number = int(item.text) if is_number else look_up(item.text)
        if item.text in NOBODY or number in (OVERFLOW_ID, NO_ID):
            self._problem(
                item.line,
                f"{kind} {item.text!a} can't be named: it is what the kernel shows for everyone "
                f"it has no number for; run the program under a {kind} of its own",
            )
        elif number is None:
            self._problem(
                item.line,
                f"unknown {kind} {item.text!a}; create it, or write its number in plain digits",
            )
        elif number > NO_ID:
            self._problem(item.line, f"{kind} {item.text} is beyond {NO_ID - 1}, the last; mend it")
        return number

    def _units(self, block: _Block) -> Iterator[str]:
        for item in block.texts("units"):
            if _UNIT.fullmatch(item.text) is None:
                self._problem(
                    item.line, f"{item.text!a} is no unit; write its full name, as backend.service"
                )
            yield item.text

    def _word(self, block: _Block, key: str, words: type[Word], default: Absent) -> Word | Absent:
        """One of these words; the default where the key isn't there."""
        node = block.others.get(key)
        if isinstance(node, Text):
            with suppress(ValueError):
                return words(node.text)
        if node is not None:
            self._problem(node.line, f"{block.where}.{key}: {_choose('', words)}")
        return default

    def _credentials(self, block: _Block) -> Iterator[Credential]:
        for key, value in self._rows(block, "credentials"):
            if _CREDENTIAL.fullmatch(key.text) is None or key.text in (".", ".."):
                self._problem(
                    key.line,
                    f"{key.text[:40]!a} is no credential's name; "
                    "write 1 to 255 characters of ASCII without : and /",
                )
            if not isinstance(value, Text):
                self._problem(
                    value.line, f"{key.text!a} must be one secret; write its name after the colon"
                )
                continue
            try:
                yield Credential(key.text, SecretName(value.text))
            except ValueError as error:
                self._problem(value.line, f"{value.text[:40]!a} is {error}")

    def _label(self, key: Text, kind: str) -> ClientId:
        try:
            return ClientId(key.text)
        except ValueError:
            self._problem(
                key.line,
                f"{key.text[:40]!a} can't be a {kind}'s name; write 1 to 64 letters, digits, "
                "'_', '.' or '-', the first none of '.-'",
            )
            return ClientId("_")

    def _block(
        self, where: str, node: Node, *, lists: tuple[str, ...], others: tuple[str, ...] = ()
    ) -> _Block:
        texts: dict[str, tuple[Text, ...]] = {}
        rest: dict[str, Node] = {}
        for key, value in self._table(where, node).rows:
            if key.text in lists:
                texts[key.text] = tuple(self._texts(f"{where}.{key.text}", key.line, value))
            elif key.text in others:
                rest[key.text] = value
            else:
                hint = _choose(key.text, (*lists, *others))
                self._problem(key.line, f"unknown key {key.text[:40]!a} in {where}; {hint}")
        return _Block(where, node.line, texts, rest)

    def _rows(self, block: _Block, key: str) -> tuple[tuple[Text, Node], ...]:
        node = block.others.get(key)
        return () if node is None else self._table(key, node).rows

    def _table(self, where: str, node: Node) -> Table:
        if isinstance(node, Table):
            return node
        self._problem(node.line, f"{where} must be a mapping; write its keys as `key: value`")
        return Table(node.line, ())

    def _texts(self, where: str, line: int, node: Node) -> Iterator[Text]:
        if not isinstance(node, Items):
            self._problem(line, f"{where} must be a list; write `[a, b]`, or `[]` for none")
            return
        for item in node.items:
            if isinstance(item, Text):
                yield item
            else:
                self._problem(item.line, f"{where} must hold only text; write one name an item")


def _is_everything(allow: tuple[Text, ...]) -> bool:
    return [item.text for item in allow] == [EVERY_NAME]


def _choose(text: str, known: Iterator[str] | tuple[str, ...] | type[StrEnum]) -> str:
    names = [str(name) for name in known]
    close = get_close_matches(text, names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"write one of {', '.join(names)}"
