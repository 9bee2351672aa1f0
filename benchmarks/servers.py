"""The servers of a benchmark, each a process: the daemon, the daemon without a log, and an echo."""

from __future__ import annotations

import os
import selectors
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import cast

from jarvis_secretsd.daemon import app
from jarvis_secretsd.daemon.auditlog import AuditLog
from jarvis_secretsd.daemon.config import LoggingConfig
from jarvis_secretsd.daemon.devmode import dev_config
from jarvis_secretsd.daemon.listeners import open_listeners
from jarvis_secretsd.daemon.logs import configure_logs
from jarvis_secretsd.daemon.policyfile import load_policy
from jarvis_secretsd.daemon.signals import Signals
from jarvis_secretsd.domain.audit import Event, VaultHead


class NullAudit:
    """Takes entries and keeps none: what a read costs without its witness. Never a setting."""

    def __init__(self, log: AuditLog) -> None:
        self.log_id = log.log_id
        self.signed_head = log.signed_head

    def write(self, now: datetime, events: Sequence[Event], vault: VaultHead) -> None:
        """Forget the entries."""

    def sync(self) -> None:
        """Nothing is there to sync."""

    def close(self) -> None:
        """Nothing is open."""


def serve_daemon(*, audited: bool) -> None:
    """The daemon of `--dev`, its log exchanged for a null journal unless it is `audited`."""
    configure_logs(LoggingConfig(level="error"), sys.stderr, os.environ)
    setup = dev_config(os.environ, os.geteuid())
    for directory in setup.directories:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    policy = load_policy(setup.policy.encode(), source="benchmark", own_uid=os.geteuid())
    state = app.load_state(setup.config, lambda _: None, None, "")
    if not audited:
        state.audit = cast(AuditLog, NullAudit(state.audit))
    with closing(Signals()) as signals:
        listeners = open_listeners(setup.config.server, deny_remote=True)
        app.Daemon(setup.config, state, policy).loop(listeners, signals).run()


def serve_echo(path: Path) -> None:
    """A bare selectors loop that sends back what it gets: the least that such a server costs."""
    selector = selectors.DefaultSelector()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1024)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            sock = cast(socket.socket, key.fileobj)
            if sock is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
            elif data := sock.recv(65536):
                sock.sendall(data)
            else:
                selector.unregister(sock)
                sock.close()


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        serve_echo(Path(sys.argv[2]))
    else:
        serve_daemon(audited=sys.argv[1] == "audited")
