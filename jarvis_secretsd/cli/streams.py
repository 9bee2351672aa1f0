"""The three standard streams, so that a command can use them whatever it was started with."""

from __future__ import annotations

import os
import sys
from io import RawIOBase

# For a stream that is closed: its name, and how to open what fails on use, as it would (EBADF).
_STREAMS = (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY))


def mend_streams() -> None:
    """Open what is closed, so that no socket takes its number, and give stdout its buffer.

    Python has None for a closed stream. With PYTHONUNBUFFERED it writes once and looks no further,
    so that a full disk would cut a value off without a word.
    """
    for number, (name, unusable) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            os.open(os.devnull, unusable)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))
    if isinstance(sys.stdout.buffer, RawIOBase):
        sys.stdout = os.fdopen(
            1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False
        )
