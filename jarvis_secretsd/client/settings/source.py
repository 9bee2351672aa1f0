"""Asking the daemon for what a settings class may take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsError

from jarvis_secretsd.client.client import SecretsClient
from jarvis_secretsd.client.errors import SecretNotFound, SecretsClientError
from jarvis_secretsd.client.settings.fields import (
    Choice,
    Place,
    Wish,
    members_of,
    wishes_of,
    wishes_of_field,
)
from jarvis_secretsd.client.settings.stars import starred
from jarvis_secretsd.messages import Found, Get
from jarvis_secretsd.values import SecretName, SecretValue


class SecretsSettingsSource(PydanticBaseSettingsSource):
    """Gives each field the secret that is named like its environment variable, in lower case.

    So aliases count, and `prefix` stands in the place of `env_prefix`. A field of a nested model
    stands below it (`db.password` takes `db/password`), and what takes JSON from the environment
    takes it from a secret. A secret that doesn't exist, or that the client may not read, leaves its
    field to the next source; but one that `FromSecret` names and that is denied is an error. Raises
    SettingsError, which names field and secret.

    Values print as stars where pydantic reports an error. Without a `client`, one is made as the
    environment says, and closed again.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        client: SecretsClient | None = None,
        *,
        prefix: str | None = None,
    ) -> None:
        super().__init__(settings_cls)
        self._client = client
        inherited = settings_cls.model_config.get("env_prefix", "").lower()
        self._top = Place(inherited if prefix is None else prefix)

    def __call__(self) -> dict[str, Any]:
        """Every field that there is a secret for, by the key that pydantic wants for it."""
        return self._read(wishes_of(self.settings_cls, self._top))

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """What one field takes, or None; the rest is as pydantic-settings wants it."""
        wishes = [*wishes_of_field(self.settings_cls, field_name, field, self._top)]
        tree = self._read(wishes)
        key = next(iter(tree), wishes[0].choices[0].keys[0])
        return tree.get(key), key, False

    def _read(self, wishes: Iterable[Wish]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for field, choice, value in self._fetch([*wishes]):
            _put(tree, choice.keys, self._decoded(field, choice, value))
        return tree

    def _fetch(self, wishes: list[Wish]) -> list[tuple[FieldInfo, Choice, SecretValue]]:
        try:
            if self._client is not None:
                return _fetch(self._client, wishes)
            with SecretsClient() as client:
                return _fetch(client, wishes)
        except SecretsClientError as error:
            raise SettingsError(f"no secret can be had: {error.message}") from error

    def _decoded(self, field: FieldInfo, choice: Choice, value: SecretValue) -> Any:
        plain = starred(value.reveal_text() if value.is_text else value.reveal())
        members = members_of(field.annotation)
        is_union = len(members) > 1
        fields = [*map(FieldInfo.from_annotation, members)] if is_union else [field]
        if not choice.is_part and not any(map(self.field_is_complex, fields)):
            return plain
        try:
            return starred(self.decode_complex_value(choice.keys[-1], field, plain))
        except ValueError:
            if is_union and not choice.is_part:
                return plain
        # out here, because the context of an error from above would hold the value
        raise SettingsError(f"{_about(choice)} is not JSON")


def _fetch(
    client: SecretsClient, wishes: list[Wish]
) -> list[tuple[FieldInfo, Choice, SecretValue]]:
    # Not every field is a secret. To ask for each would fill the audit log with denials.
    readable = _readable(client) if any(not wish.is_named for wish in wishes) else frozenset()
    chosen = [
        (wish.field, choice) for wish in wishes if (choice := _first(wish, readable)) is not None
    ]
    names = dict.fromkeys(SecretName(choice.name) for _, choice in chosen)
    answers = dict(zip(names, client.ask_all([*map(Get, names)], Found), strict=True))
    found, problems = [], []
    for field, choice in chosen:
        answer = answers[SecretName(choice.name)]
        if isinstance(answer, Found):
            found.append((field, choice, answer.value))
        elif not isinstance(answer, SecretNotFound):
            problems.append(f"{_about(choice)}: {answer.message}")
    if problems:
        raise SettingsError("; ".join(problems))
    return found


def _first(wish: Wish, readable: frozenset[str]) -> Choice | None:
    if wish.is_named:
        return wish.choices[0]
    return next((choice for choice in wish.choices if choice.name in readable), None)


def _readable(client: SecretsClient) -> frozenset[str]:
    return frozenset(entry.name for entry in client.list())


def _about(choice: Choice) -> str:
    return f"the secret {choice.name} of the field {'.'.join(choice.keys)}"


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value
