"""The log for people and machines. It can say only what is plainly no secret.

An allow-list decides: scalars, names and times are told, all else is named by its class. What is
told can't break out of its line.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from jarvis_secretsd.daemon.config import Level, LoggingConfig
from jarvis_secretsd.daemon.hardening import fault
from jarvis_secretsd.values import BearerToken, SecretValue

MAX_TEXT = 1024
"""Characters of one field: a peer that sends long names doesn't fill the disk with them."""

MASK = "***"

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""What syslog calls our levels; journald reads it in front of a line (sd-daemon(3))."""

_NUMBERS: Mapping[Level, int] = {
    "trace": 0,
    "debug": 10,
    "info": 20,
    "warn": 30,
    "error": 40,
    "off": 50,  # nothing of ours is logged as critical
}

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""Controls, line separators, and what changes the order or hides: a terminal obeys them."""


def configure_logs(config: LoggingConfig, stream: TextIO, environ: Mapping[str, str]) -> None:
    """Log to `stream` from now on: coloured only on a terminal, and not under NO_COLOR.

    journald gets each line's priority, and no time, which it has itself.
    """
    structlog.configure(
        processors=_processors(config, stream, environ),
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[config.level]),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )


def safe(value: object) -> object:
    """What may be logged of a value: itself, stars, or the name of its class."""
    told: object = f"<{type(value).__name__}>"
    match value:
        case None | bool() | int() | float():
            told = value
        case SecretValue() | BearerToken() | bytes() | bytearray() | memoryview():
            told = MASK
        case str() | Path():
            told = _cut(str(value))
        case datetime():
            told = value.isoformat()
        case BaseException():
            told = fault(value)
        case tuple() | list() | frozenset() | set():
            told = [safe(each) for each in value]
        case Mapping():
            told = {_cut(str(safe(key))): safe(each) for key, each in value.items()}
    return told


def escape(text: str) -> str:
    """The text with each character that a terminal would obey written out, as `\\x1b`."""
    return _UNPRINTABLE.sub(lambda match: ascii(match.group())[1:-1], text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


class _Lines:
    """Writes lines. One that can't be written is lost: a full disk must not stop the service."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


def _processors(
    config: LoggingConfig, stream: TextIO, environ: Mapping[str, str]
) -> list[Processor]:
    common: list[Processor] = [structlog.processors.add_log_level, _reduce_exception, _keep_safe]
    timed: list[Processor] = [*common, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    if config.json:
        return [*timed, structlog.processors.JSONRenderer(sort_keys=False)]  # ASCII only
    console = structlog.dev.ConsoleRenderer(
        colors=stream.isatty()
        and not environ.get("NO_COLOR")
        and environ.get("TERM", "dumb") != "dumb",
        exception_formatter=structlog.dev.plain_traceback,  # the default one prints locals
    )
    if _is_journal(stream, environ):  # which knows the time, and takes the level
        return [*common, _escape_all, _prioritized(console)]
    return [*timed, _escape_all, console]


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Does journald read what is written here? (JOURNAL_STREAM, systemd.exec(5))"""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _prioritized(render: Processor) -> Processor:
    """The renderer, with what its level is to syslog in front of the line."""

    def renderer(logger: object, method: str, event: EventDict) -> str:
        return f"<{_PRIORITIES.get(method, 6)}>{render(logger, method, event)!s}"

    return renderer


def _reduce_exception(_logger: object, _method: str, event: EventDict) -> EventDict:
    """An exception's class and place instead of its traceback."""
    for key in ("stack_info", "stack", "exception"):  # a renderer gives these lines of their own
        event.pop(key, None)
    match event.pop("exc_info", None):
        case BaseException() as error:
            event["fault"] = fault(error)
        case given if given and (current := sys.exception()):
            event["fault"] = fault(current)
    return event


def _keep_safe(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: safe(value) for key, value in event.items()}


def _escape_all(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {
        escape(key): escape(value if isinstance(value, str) else repr(value))
        for key, value in event.items()
    }
