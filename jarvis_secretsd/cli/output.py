"""What the tools print: results to stdout, everything about them to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from jarvis_secretsd.messages import Result
from jarvis_secretsd.values import NEVER, SecretValue
from jarvis_secretsd.wire.codec import encode_body


def show(*lines: str) -> None:
    """Print lines to stdout."""
    for line in lines:
        print(printable(line))


def show_json(result: Result) -> None:
    """Print the result on one line, as HTTP would give it, with the value that was asked for."""
    print(encode_body(result).decode())


def remark(text: str) -> None:
    """Print a line about what is done to stderr, where no pipe takes it for the result."""
    print(f"jarvis-secrets: {printable(text)}", file=sys.stderr)


def release(value: SecretValue) -> None:
    """Write the value to stdout, byte for byte; a terminal gets a line of its own for it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(value.reveal() + (b"\n" if sys.stdout.isatty() else b""))
    sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """The text without what could steer a terminal: it may come from a peer or a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows with their cells below one another, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def moment(when: datetime) -> str:
    """A time as the daemon writes it (RFC 3339, UTC), to the second; the last one is `never`."""
    return "never" if when == NEVER else f"{when:%Y-%m-%dT%H:%M:%SZ}"


def count_bytes(value: SecretValue) -> str:
    """The length of a value, in words."""
    return "1 byte" if len(value) == 1 else f"{len(value):,} bytes"
