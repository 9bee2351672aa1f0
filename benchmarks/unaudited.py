"""`unaudited.py CONFIG`: the daemon with a journal that keeps nothing in the audit log's place.

It tells what the audit costs. No setting of the daemon does this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import cast

from jarvis_secretsd.daemon import app
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.configfile import load_config
from jarvis_secretsd.daemon.hardening import harden
from jarvis_secretsd.daemon.listeners import open_listeners
from jarvis_secretsd.daemon.logs import configure_logs
from jarvis_secretsd.daemon.signals import Signals
from jarvis_secretsd.domain.audit import Event, VaultHead


class NullAudit:
    """Takes entries and keeps none. It stands for ever where the log stood that it replaces."""

    def __init__(self, log: AuditLog) -> None:
        self.log_id = log.log_id
        self.signed_head = log.signed_head

    def write(self, now: datetime, events: Sequence[Event], vault: VaultHead) -> None:
        """Forget the entries."""

    def sync(self) -> None:
        """Nothing is there to sync."""

    def reopen(self, now: datetime, vault: VaultHead) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


def serve(config_path: Path) -> None:
    """Serve as the daemon does, until a signal ends it."""
    config = load_config(config_path, os.environ)
    configure_logs(config.logging, sys.stderr, os.environ)
    harden(lambda fault: print(f"fault={fault}", file=sys.stderr))
    with ExitStack() as undo:
        signals = undo.enter_context(closing(Signals()))
        state = undo.enter_context(closing(app.load_state(config, lambda _: None, None, "")))
        undo.callback(state.audit.close)
        state.audit = cast(AuditLog, NullAudit(state.audit))
        daemon = app.Daemon(config, state, app.read_policy(config))
        listeners = open_listeners(config.server, deny_remote=config.security.deny_network_remote)
        for listener in listeners:
            undo.callback(listener.close)
        daemon.loop(listeners, signals).run()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
