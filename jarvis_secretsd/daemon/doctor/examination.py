"""The whole examination: what `check` says, and then what surrounds the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from jarvis_secretsd.daemon.accounts import Account, account, acting_as
from jarvis_secretsd.daemon.app import read_policy
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.configfile import load_config
from jarvis_secretsd.daemon.doctor.containers import examine_containers
from jarvis_secretsd.daemon.doctor.leftovers import examine_leftovers
from jarvis_secretsd.daemon.doctor.living import (
    examine_answers,
    examine_limits,
    is_kept_out_of_swap,
)
from jarvis_secretsd.daemon.doctor.machine import examine_clock, examine_disks, examine_swap
from jarvis_secretsd.daemon.doctor.processes import holder_of
from jarvis_secretsd.daemon.doctor.symptoms import Level, Symptom, Symptoms
from jarvis_secretsd.daemon.inspection import Inspection, inspect, inspect_config, whom_to_be
from jarvis_secretsd.domain.policy import ROOT, Client
from jarvis_secretsd.errors import SecretsError


class Diagnosis(Struct, frozen=True):
    """What was found. `running` is None where no sound configuration says which daemon is meant."""

    running: bool | None
    symptoms: tuple[Symptom, ...]

    def count(self, level: Level) -> int:
        """So many of that level."""
        return sum(symptom.level is level for symptom in self.symptoms)


def examine(path: Path | None, environ: Mapping[str, str], config: Config | None) -> Diagnosis:
    """Everything about the daemon of this configuration file, or of this configuration."""
    inspection = inspect_config(config) if config else inspect(path or Path(), environ)
    found = Symptoms([*_told(inspection)])
    binds_root = False
    with suppress(SecretsError, FileNotFoundError), acting_as(_reader(path, environ)):
        config = config or load_config(path or Path(), environ)
        binds_root = any(ROOT in one.uids and one.bound for one in _clients(config))
    if config is None:
        found.note("", "what surrounds the daemon was not looked at: the configuration says where")
    else:
        _examine_surroundings(config, path, found, binds_root=binds_root)
    return Diagnosis(inspection.running, tuple(found.found))


def _reader(path: Path | None, environ: Mapping[str, str]) -> Account:
    """As whom the files are read."""
    return whom_to_be(path, environ) if path else account(os.geteuid())


def _clients(config: Config) -> Iterable[Client]:
    with suppress(SecretsError):
        return read_policy(config).clients.values()
    return ()


def _told(inspection: Inspection) -> tuple[Symptom, ...]:
    """What `check` says, whose texts say where and what to do themselves."""
    levels = (
        (Level.FAULT, inspection.errors),
        (Level.WARNING, inspection.warnings),
        (Level.NOTE, inspection.notes),
    )
    return tuple(Symptom(level, "", text) for level, texts in levels for text in texts)


def _examine_surroundings(
    config: Config, path: Path | None, found: Symptoms, *, binds_root: bool
) -> None:
    if config.audit.sync == "interval":
        found.warn(
            "audit.sync",
            'is "interval": after a power cut, secrets may have left without an entry',
            'set it to "always"',
        )
    process = holder_of(config.paths.lock_path)
    if process is not None:
        examine_limits(config, process, found)
        if config.server.unix_path is not None:
            examine_answers(config.server.unix_path, found)
        else:
            found.note(
                "", "it has no Unix socket, so it wasn't asked how it is, nor for its backup"
            )
    else:
        found.note("", "the daemon doesn't run: its limits and its last backup aren't known")
    examine_swap(found, is_kept_out=process is not None and is_kept_out_of_swap(process))
    examine_clock(config.paths, found)
    examine_disks(config.paths, found)
    examine_leftovers(config, path, found)
    if config.server.unix_path is not None:
        examine_containers(config.server.unix_path, found, binds_root=binds_root)
