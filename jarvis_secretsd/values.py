"""The words everyone uses: names, values, ids and times, each valid by construction.

A `SecretName` that exists is a name; nothing later checks it again. A `SecretValue` prints as
stars, and leaves only through `reveal()`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum

TYPE_CHECKING = False  # as type checkers know it: importing typing would be a fifth of a client's
if TYPE_CHECKING:
    from typing import Self

MAX_NAME_BYTES = 255
"""Room for any real name, and for one line of a log."""

MAX_CLIENT_BYTES = 64
"""A client id is a label in the policy and in each audit line."""

MAX_VALUE_BYTES = 256 * 1024
"""A certificate chain fits many times; four of them fit one frame after escaping."""

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The `expires_at` of what is never due."""

_SEGMENT = r"[a-z0-9_][a-z0-9_.-]*"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_CLIENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KID = re.compile(r"[0-9a-f]{16}")


class SecretName(str):
    """A secret's name: segments joined by `/`, each `[a-z0-9_][a-z0-9_.-]*`, at most 255 bytes.

    Raises ValueError, which says which character is wrong and suggests the valid name.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if len(text) > MAX_NAME_BYTES or _NAME.fullmatch(text) is None:
            raise ValueError(_explain_name(text))
        return super().__new__(cls, text)

    @property
    def variable(self) -> str:
        """The environment variable of this name: upper case, `/`, `.` and `-` as `_`."""
        return re.sub(r"[/.-]", "_", self).upper()


class ClientId(str):
    """A client of the policy: `[A-Za-z0-9_][A-Za-z0-9_.-]*`, up to 64 bytes. Raises ValueError."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if len(text) > MAX_CLIENT_BYTES or _CLIENT.fullmatch(text) is None:
            raise ValueError(
                "a client id is 1 to 64 of A-Z a-z 0-9 _ . - and starts with neither '.' nor '-'"
            )
        return super().__new__(cls, text)


class Kid(str):
    """A version's key id: 16 lower-case hex digits. Raises ValueError."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if _KID.fullmatch(text) is None:
            raise ValueError("a kid is 16 lower-case hex digits")
        return super().__new__(cls, text)


class SecretValue:
    """What is secret: bytes, and whether they were put as text. Prints as stars.

    Raises ValueError over 256 KiB, and for text that UTF-8 can't hold.
    """

    __slots__ = ("_data", "is_text")

    def __init__(self, data: bytes, *, is_text: bool = True) -> None:
        if len(data) > MAX_VALUE_BYTES:
            raise ValueError(f"a value is at most {MAX_VALUE_BYTES:,} bytes, not {len(data):,}")
        self._data = data
        self.is_text = is_text

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The value that is this text, encoded as UTF-8."""
        return cls(text.encode())

    def reveal(self) -> bytes:
        """The secret itself. Every call of this is a place where a secret leaves."""
        return self._data

    def reveal_text(self) -> str:
        """The secret as text; only for a value that was put as text."""
        return self._data.decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretValue):
            return NotImplemented
        from hmac import compare_digest  # noqa: PLC0415  # a client that imports us has no use for it

        return self.is_text == other.is_text and compare_digest(self._data, other._data)

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is a guess at it

    def __repr__(self) -> str:
        return "SecretValue(***)"

    def __len__(self) -> int:
        return len(self._data)


class BearerToken:
    """A client's token as it was sent. Prints as stars; compared only by its hash."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The token itself, to show once to the one who made it."""
        return self._text

    def digest(self) -> str:
        """SHA-256 in hex. A token has 256 random bits, so a plain hash can't be searched."""
        from hashlib import sha256  # noqa: PLC0415  # as above

        return sha256(self._text.encode()).hexdigest()

    def __repr__(self) -> str:
        return "BearerToken(***)"


class Permission(StrEnum):
    """What a policy can allow. `audit` and `admin` take no name, the others do."""

    READ = "read"
    WRITE = "write"
    ROTATE = "rotate"
    DELETE = "delete"
    SIGN = "sign"
    AUDIT = "audit"
    ADMIN = "admin"


class Kind(StrEnum):
    """What a secret is, which says whether and how the daemon can make a new one."""

    PASSWORD = "password"
    API_KEY = "api_key"
    JWT_SIGNING_KEY = "jwt_signing_key"
    ENCRYPTION_KEY = "encryption_key"
    TOKEN = "token"
    STATIC = "static"
    EXTERNAL = "external"


class State(StrEnum):
    """Where a version is in its life."""

    PENDING = "pending"
    CURRENT = "current"
    GRACE = "grace"
    EXPIRED = "expired"
    DELETED = "deleted"
    UNRESOLVED = "unresolved"


def suggest_name(text: str) -> str | None:
    """The valid name that was probably meant by `text`, or None."""
    lowered = re.sub(r"[^a-z0-9_./-]+", "_", text.strip().lower())
    segments = [part.lstrip(".-") for part in lowered.split("/")]
    guess = "/".join(part for part in segments if part)[:MAX_NAME_BYTES]
    return guess if _NAME.fullmatch(guess) else None


def _explain_name(text: str) -> str:
    guess = suggest_name(text)
    hint = f"; did you mean {guess!r}?" if guess else ""
    return f"not a secret's name: {_name_fault(text)}{hint}"


def _name_fault(text: str) -> str:
    if not text:
        return "it is empty"
    if len(text) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    for place, character in enumerate(text, start=1):
        if re.fullmatch(r"[a-z0-9_./-]", character) is None:
            return f"character {place} is {character!a}; allowed are a-z 0-9 _ . - and /"
    for segment in text.split("/"):
        if not segment:
            return "a segment between slashes is empty"
        if segment[0] in ".-":
            return f"a segment starts with {segment[0]!r}"
    raise AssertionError("a name without fault was refused")
