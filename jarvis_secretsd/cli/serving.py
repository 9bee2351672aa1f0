"""`jarvis-secretsd` without a command: the daemon itself."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import structlog

from jarvis_secretsd.cli import operator
from jarvis_secretsd.daemon import app, files
from jarvis_secretsd.daemon.config import Config
from jarvis_secretsd.daemon.devmode import dev_config
from jarvis_secretsd.daemon.hardening import harden, raise_descriptor_limit
from jarvis_secretsd.daemon.logs import configure_logs


def serve() -> None:
    """Serve until a signal ends it. Raises StartRefused, SyncFailed."""
    log = structlog.get_logger()
    harden(lambda fault: log.error("fault", fault=fault))
    config = _dev_setup() if operator.source().dev else operator.config()
    configure_logs(config.logging, sys.stderr, os.environ)
    raise_descriptor_limit()
    show_code = operator.show_recovery_code if operator.is_terminal() else None
    app.serve(config, os.environ, operator.ask_passphrase, show_code)


def _dev_setup() -> Config:
    """Make what a development daemon needs, once, and print the lines that lead programs to it."""
    setup = dev_config(os.environ, os.geteuid())
    for directory in setup.directories:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):  # it may have been edited
        files.create_private(setup.config.security.rbac_policy_path, setup.policy.encode())
    sys.stdout.write(
        f"export JARVIS_SECRETS_SOCKET={setup.config.server.socket_path}\n"
        "export JARVIS_CLIENT_ID=admin\n"
    )
    sys.stdout.flush()
    return setup.config
