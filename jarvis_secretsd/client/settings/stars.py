"""Values that print as stars, for a library whose errors repeat what it was given."""

from __future__ import annotations

from typing import Any

from pydantic_core import SchemaSerializer, core_schema

STARS = "**********"


class _Starred:
    """Prints as stars; so pydantic writes it into the JSON of an error, and of an `Any` field."""

    __slots__ = ()
    __pydantic_serializer__ = SchemaSerializer(
        core_schema.any_schema(
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda _: STARS, when_used="json"
            )
        )
    )

    def __repr__(self) -> str:
        return f"'{STARS}'"


class _Text(_Starred, str):
    __slots__ = ()


class _Bytes(_Starred, bytes):
    __slots__ = ()


class _Integer(_Starred, int):
    __slots__ = ()
    __str__ = int.__repr__


class _Float(_Starred, float):
    __slots__ = ()
    __str__ = float.__repr__


_STARRED = {str: _Text, bytes: _Bytes, int: _Integer, float: _Float}


def starred(value: Any) -> Any:
    """The same value, of what JSON can hold or bytes, with all text and numbers in it starred."""
    match value:
        case dict():
            return {key: starred(item) for key, item in value.items()}
        case list():
            return [*map(starred, value)]
        case _:
            return _STARRED.get(type(value), _itself)(value)


def _itself(value: Any) -> Any:
    return value
