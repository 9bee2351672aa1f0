"""Secrets as a settings source of pydantic-settings (the extra `pydantic`)."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsError

from jarvis_secretsd.client.client import SecretsClient
from jarvis_secretsd.client.errors import SecretNotFound, SecretsClientError
from jarvis_secretsd.messages import Found, Get
from jarvis_secretsd.values import SecretName, SecretValue


class FromSecret:
    """Which secret a field takes: `Annotated[SecretStr, FromSecret("db/main")]`.

    Raises ValueError for what can't be a secret's name.
    """

    def __init__(self, name: str) -> None:
        self.name = SecretName(name)


class SecretsSettingsSource(PydanticBaseSettingsSource):
    """Gives each field the secret of its name: lower case, after `prefix`.

    A field of a nested model stands below it (`db.password` takes `db/password`), and what takes
    JSON from the environment takes it from a secret. A secret that doesn't exist, or that the
    client may not read, leaves its field to the next source; but one that `FromSecret` names and
    that is denied is an error. Raises SettingsError, which names field and secret.

    Values print as stars where pydantic reports an error. Without a `client`, one is made as the
    environment says, and closed again.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        client: SecretsClient | None = None,
        *,
        prefix: str = "",
    ) -> None:
        super().__init__(settings_cls)
        self._client = client
        self._prefix = prefix

    def __call__(self) -> dict[str, Any]:
        """Every field that there is a secret for, by its alias or name."""
        return self._read(_wishes(self.settings_cls, self._prefix))

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """What one field takes, or None; the rest is as pydantic-settings wants it."""
        wishes = _wishes_of(field, field_name, self._prefix, _TOP)
        key = _key(field, field_name)
        return self._read(wishes).get(key), key, False

    def _read(self, wishes: Iterator[_Wish]) -> dict[str, Any]:
        wanted = [*wishes]
        tree: dict[str, Any] = {}
        for wish, value in self._fetch(wanted):
            _put(tree, wish.keys, self._decoded(wish, value))
        return tree

    def _fetch(self, wishes: list[_Wish]) -> list[tuple[_Wish, SecretValue]]:
        try:
            if self._client is not None:
                return _fetch(self._client, wishes)
            with SecretsClient() as client:
                return _fetch(client, wishes)
        except SecretsClientError as error:
            raise SettingsError(f"no secret can be had: {error.message}") from error

    def _decoded(self, wish: _Wish, value: SecretValue) -> Any:
        plain = value.reveal_text() if value.is_text else value.reveal()
        members = _members(wish.field.annotation)
        is_union = len(members) > 1
        fields = [*map(FieldInfo.from_annotation, members)] if is_union else [wish.field]
        if not any(map(self.field_is_complex, fields)):
            return _starred(plain)
        try:
            return _starred(self.decode_complex_value(wish.keys[-1], wish.field, plain))
        except ValueError:
            if is_union:
                return _starred(plain)
        # out here, because the context of an error from above would hold the value
        raise SettingsError(f"{wish} is not JSON")


class _Place(NamedTuple):
    """Where the walk is: the keys that lead there, and the nested models on the way."""

    keys: tuple[str, ...] = ()
    models: tuple[type[BaseModel], ...] = ()


_TOP = _Place()


class _Wish(NamedTuple):
    """A field, the keys of its value, and the secret that it takes if there is one."""

    keys: tuple[str, ...]
    field: FieldInfo
    name: str
    is_named: bool

    def __str__(self) -> str:
        return f"the secret {self.name} of the field {'.'.join(self.keys)}"


class _StarredText(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


class _StarredBytes(bytes):
    __slots__ = ()

    def __repr__(self) -> str:
        return "b'**********'"


def _wishes(model: type[BaseModel], prefix: str, place: _Place = _TOP) -> Iterator[_Wish]:
    for name, field in model.model_fields.items():
        yield from _wishes_of(field, name, prefix, place)


def _wishes_of(field: FieldInfo, name: str, prefix: str, place: _Place) -> Iterator[_Wish]:
    keys = (*place.keys, _key(field, name))
    said = next((mark.name for mark in field.metadata if isinstance(mark, FromSecret)), None)
    secret = said or prefix + name.lower()
    yield _Wish(keys, field, secret, said is not None)
    for model in _members(field.annotation):
        is_model = isinstance(model, type) and issubclass(model, BaseModel)
        if is_model and model not in place.models:  # a tree's node may hold nodes
            inner = _Place(keys, (*place.models, model))
            yield from _wishes(model, f"{secret}/", inner)


def _fetch(client: SecretsClient, wishes: list[_Wish]) -> list[tuple[_Wish, SecretValue]]:
    # Not every field is a secret. To ask for each would fill the audit log with denials.
    readable = _readable(client) if any(not wish.is_named for wish in wishes) else frozenset()
    wanted = [wish for wish in wishes if wish.is_named or wish.name in readable]
    answers = client.ask_all([Get(SecretName(wish.name)) for wish in wanted], Found)
    found, problems = [], []
    for wish, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, Found):
            found.append((wish, answer.value))
        elif not isinstance(answer, SecretNotFound):
            problems.append(f"{wish}: {answer.message}")
    if problems:
        raise SettingsError("; ".join(problems))
    return found


def _readable(client: SecretsClient) -> frozenset[str]:
    return frozenset(entry.name for entry in client.list())


def _key(field: FieldInfo, name: str) -> str:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else (alias,)
    return next((choice for choice in choices if isinstance(choice, str)), name)


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value


def _starred(value: Any) -> Any:
    match value:
        case str():
            return _StarredText(value)
        case bytes():
            return _StarredBytes(value)
        case dict():
            return {key: _starred(item) for key, item in value.items()}
        case list():
            return [*map(_starred, value)]
        case _:
            return value
