"""Finds every fault of a parsed TOML table against the Struct that it should become.

msgspec stops at the first one; whoever mends a configuration wants all of them, each with what to
write instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields

MAX_SHOWN = 60
"""Characters of a wrong value that a message repeats: enough to find it, not enough to flood."""

_WORDS = {bool: "true or false", int: "an integer", str: "text", Path: "a path"}
_SHOWN = {bool: "", int: "the integer ", float: "the number ", str: "text "}


class Fault(Struct, frozen=True):
    """What is wrong with the setting at `path`, and what to write."""

    path: str
    text: str

    @property
    def section(self) -> str:
        """The top-level table that the setting is in."""
        return self.path.partition(".")[0].partition("[")[0]

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def path_of(kind: type, value: object) -> object:
    """An absolute path of a file, for msgspec's `dec_hook`. Raises ValueError."""
    path = Path(value) if kind is Path and isinstance(value, str) and "\0" not in value else None
    if path is None or not path.is_absolute() or not path.name or ".." in path.parts:
        raise ValueError("not an absolute path of a file")
    return path


def table_faults(kind: type[Struct], table: object, path: str = "") -> Iterator[Fault]:
    """Each fault of `table`, which should become a `kind`; `path` is where it lies in the file."""
    if not isinstance(table, dict):
        text = f"expected a table, got {_shown(table)}; write [{path}] on a line of its own"
        yield Fault(path, text)
        return
    known = {each.encode_name: each for each in fields(kind)}
    for key, value in table.items():
        place = f"{path}.{key}" if path else key
        if key in known:
            yield from _faults(known[key].type, value, place, _default(known[key]))
        else:
            yield Fault(place, f"unknown key; {_guess(key, known)}")
    for key, each in known.items():
        if each.required and key not in table:
            yield Fault(f"{path}.{key}", f"is missing; write {_words(each.type)}")


def _faults(kind: Any, value: object, path: str, example: object) -> Iterator[Fault]:
    base = _bare(kind)
    if isinstance(base, type) and issubclass(base, Struct):
        yield from table_faults(base, value, path)
    elif get_origin(base) is tuple and isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _faults(get_args(base)[0], item, f"{path}[{place}]", None)
    elif get_origin(base) is Mapping and isinstance(value, dict):
        key_kind, item_kind = get_args(base)
        for key, item in value.items():
            yield from _leaf_faults(key_kind, key, path, None)
            yield from _faults(item_kind, item, f"{path}.{key}", None)
    else:
        yield from _leaf_faults(kind, value, path, example)


def _leaf_faults(kind: Any, value: object, path: str, example: object) -> Iterator[Fault]:
    if _fits(kind, value, strict=True):
        return
    if isinstance(value, str) and _bare(kind) in (int, bool) and _fits(kind, value, strict=False):
        example = msgspec.convert(value, kind, strict=False)
    key = path.rpartition(".")[2]
    remedy = "" if example is None else f"; write {key} = {_toml(example)}"
    yield Fault(path, f"expected {_words(kind)}, got {_shown(value)}{remedy}")


def _fits(kind: Any, value: object, *, strict: bool) -> bool:
    try:
        msgspec.convert(value, kind, strict=strict, dec_hook=path_of)
    except msgspec.ValidationError:
        return False
    return True


def _bare(kind: Any) -> Any:
    """The type without its Annotated notes and without None."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    alternatives = [each for each in get_args(kind) if each is not NoneType]
    return _bare(alternatives[0]) if NoneType in get_args(kind) else kind


def _words(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        notes = [each.description for each in get_args(kind)[1:] if isinstance(each, Meta)]
        return next(filter(None, notes), None) or _words(get_args(kind)[0])
    base = _bare(kind)
    if get_origin(base) is Literal:
        return "one of " + ", ".join(map(_toml, get_args(base)))
    if isinstance(base, type) and issubclass(base, Enum):
        return "one of " + ", ".join(_toml(member.value) for member in base)
    if base is not kind:
        return _words(next(each for each in get_args(kind) if each is not NoneType))
    if get_origin(base) is tuple:
        return "a list in [brackets]"
    return "a table" if get_origin(base) is Mapping else _WORDS[base]


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    if type(value) not in _SHOWN:
        return "a date or time"
    text = _toml(value)
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
    return _SHOWN[type(value)] + cut


def _toml(value: object) -> str:
    return json.dumps(value, default=str)


def _default(field: FieldInfo) -> object:
    """The default where it is something to write, or None."""
    return None if field.default is NODEFAULT or field.default == () else field.default


def _guess(key: str, known: Mapping[str, FieldInfo]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
