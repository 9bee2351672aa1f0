"""Times as people write and read them: `2h` ago, a day, and the clock of this machine."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,6}) ?([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str, now: datetime) -> datetime:
    """The time that is meant: `2h` and the like before `now`, or a day or time (ISO 8601).

    One without a zone is meant as the clock on the wall. Raises ValueError.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time; write 2h, 30m, 3d, 2026-11-25 or 2026-11-25T09:41"
        ) from None


def local(when: datetime) -> str:
    """The time on this machine's clock, to the second."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}"
