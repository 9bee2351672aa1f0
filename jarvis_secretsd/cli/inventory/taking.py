"""Every variable of a project with its value, its place, and the services that get it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.cli.envfile import MAX_FILE_BYTES, Dialect, EnvfileRefused, read_envfile
from jarvis_secretsd.cli.inventory.composefile import (
    Compose,
    ComposeRefused,
    Declared,
    read_compose,
)
from jarvis_secretsd.cli.inventory.finding import Found, Note, is_within
from jarvis_secretsd.values import MAX_VALUE_BYTES, SecretValue

_NAME_ON_LINE = re.compile(rb"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{0,63})=")


Kind = Literal["env", "compose", "secret"]
"""What a file is: `secret` is one that a compose file declares, and that holds a secret alone."""


class Mention(Struct, frozen=True):
    """A variable where it stands; `value` None where it couldn't be read surely.

    `services` get it, as compose files have it. `declared`: it is in a compose file's `secrets`.
    """

    variable: str
    value: SecretValue | None
    path: str
    line: int
    services: tuple[str, ...] = ()
    declared: bool = False


class Taken(Struct, frozen=True):
    """What the files say, what a person should know about them, and which files they are."""

    mentions: tuple[Mention, ...]
    notes: tuple[Note, ...]
    files: Mapping[str, Kind]


def take(root: str, found: Found) -> Taken:
    """Read all files that were found, and those that compose files name beside them."""
    notes: list[Note] = []
    composed = dict(_composed(root, found.compose_files, notes))
    users = _users(root, composed, notes)
    env_files = sorted({*found.env_files, *users})
    files: dict[str, Kind] = {
        **dict.fromkeys(env_files, "env"),
        **dict.fromkeys(found.compose_files, "compose"),
    }
    mentions: list[Mention] = []
    for path in env_files:
        for mention in _read_env(root, path, bool(composed), notes):
            services = (*users.get(path, ()), *_fillers(path, mention.variable, composed))
            mentions.append(replace(mention, services=tuple(dict.fromkeys(services))))
    for path, compose in composed.items():
        mentions += _inline(path, compose)
        for secret in compose.secrets:
            held = [*_declared(root, path, secret, notes)]
            mentions += held
            files |= {one.path: "secret" for one in held if one.path not in files}
    return Taken(tuple(mentions), tuple(notes), files)


def _composed(root: str, paths: Iterable[str], notes: list[Note]) -> Iterator[tuple[str, Compose]]:
    for path in paths:
        data = _bytes(root, path, MAX_FILE_BYTES, notes)
        try:
            if data is not None:
                yield path, read_compose(data)
        except ComposeRefused as refused:
            notes.append(Note(path, refused.text, refused.line))


def _users(root: str, composed: Mapping[str, Compose], notes: list[Note]) -> dict[str, list[str]]:
    """The services of each env file that a compose file names, as far as it is in the project."""
    users: dict[str, list[str]] = {}
    for path, compose in composed.items():
        for said in compose.env_files:
            named = _beside(path, said.path)
            if "$" in said.path:
                notes.append(Note(path, "an env_file whose name Compose fills in", said.line))
            elif not is_within(root, named):
                notes.append(Note(path, "an env_file out of the project; not read", said.line))
            elif not os.path.isfile(os.path.join(root, named)):
                if said.required:
                    notes.append(Note(path, f"there is no env_file {named}", said.line))
            else:
                users.setdefault(named, []).append(said.service)
    return users


def _fillers(path: str, variable: str, composed: Mapping[str, Compose]) -> Iterator[str]:
    """The services of a compose file beside this `.env` into which it fills the variable."""
    if os.path.basename(path) == ".env":
        for other, compose in composed.items():
            if os.path.dirname(other) == os.path.dirname(path):
                yield from (said.service for said in compose.uses if said.text == variable)
                for one in compose.settings:
                    if one.variable == variable and one.value is None:
                        yield one.service


def _read_env(root: str, path: str, is_composed: bool, notes: list[Note]) -> Sequence[Mention]:
    """Its assignments; where lines of it can't be read surely, the names alone."""
    data = _bytes(root, path, MAX_FILE_BYTES, notes)
    if data is None:
        return ()
    try:
        reading = read_envfile(data, _dialect(path, is_composed))
    except EnvfileRefused as refused:
        notes += (Note(path, found.text, found.line) for found in refused.problems)
        return [
            Mention(name[1].decode(), None, path, number)
            for number, line in enumerate(data.split(b"\n"), start=1)
            if (name := _NAME_ON_LINE.match(line))
        ]
    return [Mention(one.variable, one.value, path, one.line) for one in reading.assignments]


def _dialect(path: str, is_composed: bool) -> Dialect:
    if os.path.basename(path) == ".envrc":
        return Dialect.SHELL
    return Dialect.COMPOSE if is_composed else Dialect.LITERAL


def _inline(path: str, compose: Compose) -> Iterator[Mention]:
    """The values that stand in the compose file itself."""
    for one in compose.settings:
        if one.value is not None:
            value = SecretValue.from_text(one.value[: MAX_VALUE_BYTES // 4])
            yield Mention(one.variable, value, path, one.line, (one.service,))


def _declared(root: str, path: str, secret: Declared, notes: list[Note]) -> Iterator[Mention]:
    """The file of a top-level secret."""
    if secret.file is None:
        return
    named = _beside(path, secret.file)
    if "$" in secret.file or not is_within(root, named):
        notes.append(Note(path, f"the file of the secret {secret.name} is not read", secret.line))
        return
    data = _bytes(root, named, MAX_VALUE_BYTES, notes)
    if data is not None:
        yield Mention(secret.name, _value_of(data), named, 1, secret.services, declared=True)


def _value_of(data: bytes) -> SecretValue:
    try:
        return SecretValue.from_text(data.decode().removesuffix("\n"))
    except UnicodeDecodeError:
        return SecretValue(data, is_text=False)


def _beside(path: str, named: str) -> str:
    """What a compose file calls `named`, from the project's directory."""
    return os.path.normpath(os.path.join(os.path.dirname(path), named))


def _bytes(root: str, path: str, limit: int, notes: list[Note]) -> bytes | None:
    try:
        # O_NONBLOCK: a FIFO must not be waited for
        descriptor = os.open(os.path.join(root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        notes.append(Note(path, f"not read: {error.strerror}"))
        return None
    if len(data) > limit:
        notes.append(Note(path, f"not read: larger than {limit:,} bytes"))
        return None
    return data
