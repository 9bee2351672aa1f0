"""Reads config.toml: every problem of the file is reported at once, each with its key's path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import tomli
from msgspec.structs import replace

from jarvis_secretsd.daemon.config import Config, Level
from jarvis_secretsd.daemon.configrules import contradictions
from jarvis_secretsd.daemon.configtable import path_of, table_faults
from jarvis_secretsd.daemon.files import read_trusted
from jarvis_secretsd.errors import ConfigurationError

MAX_CONFIG_BYTES = 256 * 1024
"""A configuration of a thousand hooks fits; nothing larger is read into a TOML parser."""

OUR_TARGET = "jarvis_secretsd"

_LEVELS: Mapping[str, Level] = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "error": "error",
    "off": "off",
}


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in the file at `path`, with the level that RUST_LOG in `environ` asks for.

    Raises ConfigurationError with every problem, UnsafeFile, FileNotFoundError.
    """
    return parse_config(read_trusted(path, MAX_CONFIG_BYTES), environ, source=path.name)


def parse_config(data: bytes, environ: Mapping[str, str], *, source: str = "config.toml") -> Config:
    """The configuration that these bytes write. Raises ConfigurationError with every problem."""
    table = _parse_toml(data, source)
    faults = list(table_faults(Config, table))
    broken = {fault.section for fault in faults}
    sound = {key: value for key, value in table.items() if key not in broken}
    config = msgspec.convert(sound, Config, dec_hook=path_of)
    faults += contradictions(config, broken)
    if faults:
        raise ConfigurationError(tuple(f"{source}: {fault}" for fault in faults))
    level = level_of(environ.get("RUST_LOG", "")) or config.logging.level
    return replace(config, logging=replace(config.logging, level=level))


def level_of(rust_log: str) -> Level | None:
    """The level that RUST_LOG asks for, as env_logger reads it; None where it says nothing of us.

    A directive for `jarvis_secretsd` wins over a bare level. Other programs' directives are theirs.
    """
    levels: dict[str, Level] = {}
    for directive in rust_log.partition("/")[0].split(","):
        target, equals, level = (part.strip() for part in directive.partition("="))
        if not equals and target != OUR_TARGET:
            target, level = "", target
        word = "trace" if target == OUR_TARGET and not level else level.lower()
        if word in _LEVELS:
            levels[target] = _LEVELS[word]
    return levels.get(OUR_TARGET, levels.get(""))


def _parse_toml(data: bytes, source: str) -> dict[str, object]:
    try:
        return tomli.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fault = f"line {line} isn't UTF-8; save the file as UTF-8"
    except tomli.TOMLDecodeError as error:
        marked = data.startswith(b"\xef\xbb\xbf")
        hint = "save the file without a byte order mark" if marked else "see https://toml.io"
        fault = f"{error}; {hint}"
    except RecursionError:
        fault = "is nested too deeply; no setting is more than a list of tables"
    raise ConfigurationError((f"{source}: {fault}",))
