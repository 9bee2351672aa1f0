"""`check`: every problem of configuration, policy, files and permissions at once. Changes nothing.

What is wrong in one place must not hide what is wrong in another, so each part is looked at by
itself, as far as the parts that it rests on are sound.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import tomli
from msgspec import Struct
from msgspec.structs import fields

from jarvis_secretsd.daemon.accounts import Account, account, acting_as
from jarvis_secretsd.daemon.app import read_policy
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.configfile import MAX_CONFIG_BYTES, parse_config
from jarvis_secretsd.daemon.configrules import contradictions
from jarvis_secretsd.daemon.configtable import path_of, table_faults
from jarvis_secretsd.daemon.credentialcheck import inspect_credentials
from jarvis_secretsd.daemon.files import read_trusted
from jarvis_secretsd.daemon.findings import Findings
from jarvis_secretsd.daemon.hookcheck import inspect_hooks
from jarvis_secretsd.daemon.reachability import inspect_reach
from jarvis_secretsd.daemon.socketcheck import inspect_listeners
from jarvis_secretsd.daemon.statecheck import inspect_state, is_running
from jarvis_secretsd.domain.advice import warnings
from jarvis_secretsd.domain.policy import ROOT, Policy

SECTIONS = frozenset(each.encode_name for each in fields(Config))


class Sound(Struct, frozen=True):
    """A configuration as far as it is sound: `broken` sections have their defaults."""

    config: Config
    broken: frozenset[str] = frozenset()

    def has(self, *sections: str) -> bool:
        """Are these sections what somebody wrote?"""
        return self.broken.isdisjoint(sections)


class Inspection(Struct, frozen=True):
    """What was found, and as whom it was looked at.

    `running` is None where no sound configuration says which daemon is meant.
    """

    uid: int
    user: str
    running: bool | None
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def inspect(path: Path, environ: Mapping[str, str]) -> Inspection:
    """Everything that this configuration leads to, looked at as the daemon will see it.

    Root looks as the owner of the state directory.
    """
    who = whom_to_be(path, environ)
    with acting_as(who):
        found = Findings()
        sound = _read_config(path, environ, found)
        return _inspect(sound, who, found)


def inspect_config(config: Config) -> Inspection:
    """As `inspect`, for a configuration that no file holds."""
    return _inspect(Sound(config), account(os.geteuid()), Findings())


def _inspect(sound: Sound | None, who: Account, found: Findings) -> Inspection:
    running = None
    if sound is None:
        found.note("policy and files were not looked at: the configuration says where they are")
    else:
        config = sound.config
        if sound.has("paths"):
            running = is_running(config.paths.lock_path)
        policy = _read_policy(config, found) if sound.has("security") else None
        if sound.has("paths", "crypto"):
            inspect_state(config, found)
        if sound.has("hooks"):
            inspect_hooks(config.hooks, found)
        if sound.has("server"):
            inspect_listeners(config.server, found, running=bool(running))
        if policy is not None and sound.has("server"):
            inspect_reach(config.server, policy, who, found)
        if policy is not None and sound.has("paths", "crypto"):
            inspect_credentials(config, policy, found)
        if sound.broken:
            names = ", ".join(sorted(sound.broken))
            found.note(f"what rests on these sections was not looked at: {names}")
    return Inspection(
        who.uid, str(who), running, tuple(found.errors), tuple(found.warnings), tuple(found.notes)
    )


def whom_to_be(path: Path, environ: Mapping[str, str]) -> Account:
    """As whom to look: root is the owner of the state directory, others are themselves."""
    own = account(os.geteuid())
    if own.uid != ROOT:
        return own
    try:
        reader = account(os.stat(path).st_uid)
        with acting_as(reader):
            sound = _read_config(path, environ, Findings())
        if sound is None or not sound.has("paths"):
            return reader
        return account(os.stat(sound.config.paths.vault_path.parent).st_uid)
    except OSError:
        return own  # whoever looks there will say what is wrong with it


def _read_config(path: Path, environ: Mapping[str, str], found: Findings) -> Sound | None:
    """The configuration as far as it is sound; None where nothing of it is."""
    sound = None
    with found.gathering():
        try:
            data = read_trusted(path, MAX_CONFIG_BYTES)
        except FileNotFoundError:
            found.error(f"there is no configuration at {path}; run: jarvis-secretsd init")
            return None
        sound = _sound_part(data)
        parse_config(data, environ, source=path.name)
    return sound


def _sound_part(data: bytes) -> Sound | None:
    """The sections of a faulty configuration that have no fault."""
    try:
        table = tomli.loads(data.decode())
    except (ValueError, RecursionError):
        return None
    broken = {fault.section for fault in table_faults(Config, table)}
    if not broken <= SECTIONS:
        return None  # a section with a mistyped name: whose settings are missing, nobody knows
    sound = {key: value for key, value in table.items() if key not in broken}
    config = msgspec.convert(sound, Config, dec_hook=path_of)
    against = {fault.section for fault in contradictions(config, broken)}
    return Sound(config, frozenset(broken | (against & SECTIONS)))


def _read_policy(config: Config, found: Findings) -> Policy | None:
    with found.gathering():
        policy = read_policy(config)
        for text in warnings(policy):
            found.warn(f"{config.security.rbac_policy_path.name}: {text}")
        return policy
    return None
