"""What a compose file says of secrets: its services' variables, env files and secrets, with lines.

It is read as a tree of YAML nodes, which have lines and build no objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml
from msgspec import Struct

MAX_BYTES = 1024 * 1024
"""A compose file of a thousand services is smaller."""

MAX_SETTINGS = 20_000
"""Variables of all services: aliases can make far more of a small file than anybody wrote."""

_REFERENCE = re.compile(r"(?<!\$)(?:\$\$)*\$(?:\{([A-Za-z_]\w*)|([A-Za-z_]\w*))")
_DEFAULT = re.compile(r"\$\{([A-Za-z_]\w*):?-([^${}]+)\}")


class ComposeRefused(Exception):
    """The file isn't read; `line` is where it went wrong, counted from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


class EnvFile(Struct, frozen=True):
    """An env file that a service gets; one that isn't `required` may be missing."""

    service: str
    path: str
    line: int
    required: bool


class Said(Struct, frozen=True):
    """A text in the file, and its line; `service` is the one whose lines it stands among."""

    service: str
    text: str
    line: int


class Set(Struct, frozen=True):
    """A variable that a service gets, with the value that stands in the file (None: none does)."""

    service: str
    variable: str
    value: str | None
    line: int


class Declared(Struct, frozen=True):
    """A top-level secret: the file or the variable of whoever starts it, and who uses it."""

    name: str
    line: int
    file: str | None
    environment: str | None
    services: tuple[str, ...]


class Compose(Struct, frozen=True):
    """All that a compose file says of secrets. `uses` are variables that it fills in."""

    env_files: tuple[EnvFile, ...]
    settings: tuple[Set, ...]
    uses: tuple[Said, ...]
    secrets: tuple[Declared, ...]


def read_compose(data: bytes) -> Compose:
    """What the file says. Raises ComposeRefused."""
    if len(data) > MAX_BYTES:
        raise ComposeRefused(1, f"larger than {MAX_BYTES:,} bytes")
    try:
        root = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
        return _read(dict(_pairs(root)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ComposeRefused(mark.line + 1 if mark else 1, error.problem or "no YAML") from None
    except yaml.YAMLError:
        raise ComposeRefused(1, "characters that YAML doesn't have") from None
    except UnicodeDecodeError as error:
        raise ComposeRefused(data.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    except RecursionError:
        raise ComposeRefused(1, "nested too deeply") from None


def _read(top: dict[str, yaml.Node]) -> Compose:
    env_files: list[EnvFile] = []
    settings: list[Set] = []
    uses: list[Said] = []
    users: dict[str, list[str]] = {}
    for service, node in _pairs(top.get("services")):
        parts = dict(_pairs(node))
        env_files += _env_files(service, parts.get("env_file"))
        for name in _sources(parts.get("secrets")):
            users.setdefault(name, []).append(service)
        for found in _settings(service, parts.get("environment")):
            if len(settings) >= MAX_SETTINGS:
                raise ComposeRefused(found.line, f"more than {MAX_SETTINGS:,} variables")
            settings.append(found)
        uses += (Said(service, name, line) for name, line in _references(node, set()))
    secrets = [_declared(name, node, users) for name, node in _pairs(top.get("secrets"))]
    return Compose(tuple(env_files), tuple(settings), tuple(uses), tuple(secrets))


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """The keys of a mapping with their nodes, those that `<<` brings in first."""
    yield from _merged(node, set())


def _merged(node: yaml.Node | None, seen: set[int]) -> Iterator[tuple[str, yaml.Node]]:
    """As `_pairs`, with each mapping brought in once: aliases could make endlessly many of one."""
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.value:
        if key.value == "<<" and isinstance(key, yaml.ScalarNode):
            for merged in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                yield from _merged(merged, seen)
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            yield key.value, value


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    """What a list holds; one thing alone is a list of it."""
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return [] if node is None else [node]


def _env_files(service: str, node: yaml.Node | None) -> Iterator[EnvFile]:
    """What `env_file` names: a text, or a list of texts and of mappings with a `path`."""
    for item in _items(node):
        parts = dict(_pairs(item))
        found, required = parts.get("path", item), parts.get("required")
        if isinstance(found, yaml.ScalarNode):
            is_required = required is None or required.value != "false"
            yield EnvFile(service, found.value, _line(found), is_required)


def _sources(node: yaml.Node | None) -> Iterator[str]:
    for item in _items(node):
        found = dict(_pairs(item)).get("source", item)
        if isinstance(found, yaml.ScalarNode):
            yield found.value


def _settings(service: str, node: yaml.Node | None) -> Iterator[Set]:
    """What `environment` sets, as a mapping or as a list of `NAME=value`."""
    for name, value in dict(_pairs(node)).items():
        if isinstance(value, yaml.ScalarNode):
            is_null = value.tag == "tag:yaml.org,2002:null"
            yield from _set(service, name, None if is_null else value.value, _line(value))
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        if isinstance(item, yaml.ScalarNode):
            name, equals, text = item.value.partition("=")
            yield from _set(service, name, text if equals else None, _line(item))


def _set(service: str, name: str, text: str | None, line: int) -> Iterator[Set]:
    """A variable with its literal value; of one that is filled in, a default is such a value."""
    if text is None or not _REFERENCE.search(text):
        yield Set(service, name, text and text.replace("$$", "$"), line)
    for found in _DEFAULT.finditer(text or ""):
        yield Set(service, found[1], found[2], line)


def _references(node: yaml.Node, seen: set[int]) -> Iterator[tuple[str, int]]:
    """The variables that Compose fills in, in the texts that stand in this service."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        for found in _REFERENCE.finditer(node.value):
            yield found[1] or found[2], _line(node)
    elif isinstance(node, yaml.MappingNode):
        for _, child in _pairs(node):
            yield from _references(child, seen)
    else:
        for child in node.value:
            yield from _references(child, seen)


def _declared(name: str, node: yaml.Node, users: dict[str, list[str]]) -> Declared:
    parts = {key: value.value for key, value in _pairs(node) if isinstance(value, yaml.ScalarNode)}
    services = tuple(dict.fromkeys(users.get(name, ())))
    return Declared(name, _line(node), parts.get("file"), parts.get("environment"), services)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
