"""A daemon for whoever starts it, without a configuration file: `--dev`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from jarvis_secretsd.daemon.config import Config, LoggingConfig, PathsConfig, ServerConfig
from jarvis_secretsd.daemon.configfile import level_of
from jarvis_secretsd.daemon.configrules import contradictions
from jarvis_secretsd.errors import ConfigurationError

_POLICY = """\
default_deny: true
clients:
  admin: {{users: ["{uid}"], permissions: [all], allow: ["*"]}}
"""


class DevSetup(Struct, frozen=True):
    """What takes the place of the files: a configuration, and the text of a policy.

    `directories` are those that must be there, 0700, each after its parent.
    """

    config: Config
    policy: str
    directories: tuple[Path, ...]


def dev_config(environ: Mapping[str, str], uid: int) -> DevSetup:
    """State below `$XDG_STATE_HOME`, socket below `$XDG_RUNTIME_DIR`, and `uid` may be `admin`.

    Relative directories don't count, as the XDG Base Directory Specification has it. Raises
    ConfigurationError.
    """
    state = _state_home(environ) / "jarvis-secretsd"
    runtime = _directory(environ, "XDG_RUNTIME_DIR") or state
    socket_path = runtime / "jarvis" / "secretsd.sock"
    config = Config(
        server=ServerConfig(socket_path=socket_path, socket_mode="0600"),
        paths=PathsConfig(state / "vault.json", state / "master.key", state / "audit.jsonl"),
        logging=LoggingConfig(level=level_of(environ.get("RUST_LOG", "")) or "info"),
    )
    config = replace(
        config, security=replace(config.security, rbac_policy_path=state / "policy.yaml")
    )
    faults = tuple(f"--dev: {fault}" for fault in contradictions(config))
    if faults:
        raise ConfigurationError(faults)
    return DevSetup(config, _POLICY.format(uid=uid), (state, socket_path.parent))


def _state_home(environ: Mapping[str, str]) -> Path:
    home = _directory(environ, "HOME")
    found = _directory(environ, "XDG_STATE_HOME") or (home and home / ".local" / "state")
    if found is None:
        raise ConfigurationError(
            ("--dev: HOME isn't set; set XDG_STATE_HOME to a directory for the state",)
        )
    return found


def _directory(environ: Mapping[str, str], variable: str) -> Path | None:
    path = Path(environ.get(variable, ""))
    return path if path.is_absolute() else None
