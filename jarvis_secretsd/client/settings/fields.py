"""Which secrets the fields of a settings class may take. Pure: it looks at the class alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel
from pydantic.fields import FieldInfo

from jarvis_secretsd.values import SecretName


class FromSecret:
    """Which secret a field takes: `Annotated[SecretStr, FromSecret("db/main")]`.

    Raises ValueError for what can't be a secret's name.
    """

    def __init__(self, name: str) -> None:
        self.name = SecretName(name)


class Choice(NamedTuple):
    """A secret that a field may take, and the keys that lead to where pydantic looks for it.

    `is_part`: the secret is a JSON text that pydantic takes the field out of (AliasPath).
    """

    name: str
    keys: tuple[str, ...]
    is_part: bool = False


class Wish(NamedTuple):
    """A field and the secrets that it may take, the first of them that there is.

    `is_named`: it takes the one that `FromSecret` names.
    """

    field: FieldInfo
    choices: tuple[Choice, ...]
    is_named: bool


class Place(NamedTuple):
    """Where the walk is: the keys that lead there, and the nested models on the way.

    Names of secrets begin with one of `starts`; those of fields then with `prefix`.
    """

    prefix: str = ""
    starts: tuple[str, ...] = ("",)
    keys: tuple[str, ...] = ()
    models: tuple[type[BaseModel], ...] = ()


def wishes_of(model: type[BaseModel], place: Place) -> Iterator[Wish]:
    """A wish for each field, and for each field of the models in it."""
    for name, field in model.model_fields.items():
        yield from wishes_of_field(model, name, field, place)


def wishes_of_field(
    model: type[BaseModel], name: str, field: FieldInfo, place: Place
) -> Iterator[Wish]:
    """The same for one field."""
    said = next((mark.name for mark in field.metadata if isinstance(mark, FromSecret)), None)
    ways = _ways(model, name, field, place)
    choices = tuple(way._replace(name=start + way.name) for start in place.starts for way in ways)
    if said is not None:
        choices = (ways[0]._replace(name=said),)
    yield Wish(field, choices, said is not None)
    starts = tuple(f"{choice.name}/" for choice in choices if not choice.is_part)
    for inner in _models_in(field.annotation):
        if inner not in place.models:  # a tree's node may hold nodes
            below = Place("", starts, ways[0].keys, (*place.models, inner))
            yield from wishes_of(inner, below)


def members_of(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, else the one type; an alias (`type X = ...`) is what it stands for."""
    bare = _bare(annotation)
    if get_origin(bare) not in (Union, UnionType):
        return (annotation,)
    return tuple(member for part in get_args(bare) for member in members_of(part))


def _ways(model: type[BaseModel], name: str, field: FieldInfo, place: Place) -> list[Choice]:
    """How the field can be had here, as pydantic-settings reads its environment variable."""
    config = model.model_config
    alias = None if config.get("validate_by_alias") is False else field.validation_alias
    aliases = alias.choices if isinstance(alias, AliasChoices) else [alias] if alias else []
    ways = [_way(alias, place.keys) for alias in aliases]
    if not ways or config.get("validate_by_name") or config.get("populate_by_name"):
        ways.append(Choice(place.prefix + name.lower(), (*place.keys, name)))
    if ways[0].is_part:
        return ways
    # Sources give a field by one key, its first: pydantic takes two for one too many.
    return [way if way.is_part else way._replace(keys=ways[0].keys) for way in ways]


def _way(alias: str | AliasPath, keys: tuple[str, ...]) -> Choice:
    path = alias.path if isinstance(alias, AliasPath) else [alias]
    key = str(path[0])
    return Choice(key.lower(), (*keys, key), is_part=len(path) > 1)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for member in map(_bare, members_of(annotation)):
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member


def _bare(annotation: Any) -> Any:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = annotation.__origin__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation
