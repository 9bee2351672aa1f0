"""`jarvis-secretsd` without a command: the daemon itself."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress

import structlog

from jarvis_secretsd.cli import operator
from jarvis_secretsd.daemon import app, files
from jarvis_secretsd.daemon.config import Config, LoggingConfig
from jarvis_secretsd.daemon.devmode import dev_config
from jarvis_secretsd.daemon.hardening import harden
from jarvis_secretsd.daemon.logs import configure_logs


def serve() -> None:
    """Serve until a signal ends it. Raises StartRefused, SyncFailed."""
    log = structlog.get_logger()
    configure_logs(LoggingConfig(), sys.stderr, os.environ)
    harden(lambda fault: log.error("fault", fault=fault))
    is_dev = operator.source().dev
    config = _dev_setup() if is_dev else operator.config()
    configure_logs(config.logging, sys.stderr, os.environ)
    show_code = operator.show_recovery_code if operator.is_terminal() else None

    def tell_ready() -> None:
        if is_dev:
            _print_exports(config)

    app.serve(
        config, os.environ, operator.ask_passphrase, show_code, tell_ready, operator.override()
    )


def _dev_setup() -> Config:
    """Make what a development daemon needs, once."""
    setup = dev_config(os.environ, os.geteuid())
    for directory in setup.directories:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):  # it may have been edited
        files.create_private(setup.config.security.rbac_policy_path, setup.policy.encode())
    return setup.config


def _print_exports(config: Config) -> None:
    """The two lines that lead programs of this user to the daemon."""
    sys.stdout.write(
        f"export JARVIS_SECRETS_SOCKET={shlex.quote(str(config.server.unix_path))}\n"
        "export JARVIS_CLIENT_ID=admin\n"
    )
    sys.stdout.flush()
