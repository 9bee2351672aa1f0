"""`jarvis-secretsd init`: a configuration, a policy, and the directories that they name."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.operator import DEFAULT_CONFIG, config_option
from jarvis_secretsd.cli.output import show, show_typed
from jarvis_secretsd.daemon.accounts import Account, account, account_named
from jarvis_secretsd.daemon.config import DEFAULT_SOCKET
from jarvis_secretsd.daemon.foundation import Plan, Wishes, lay, plan
from jarvis_secretsd.domain.policy import ROOT
from jarvis_secretsd.errors import ConfigurationError

SYSTEM_STATE = Path("/var/lib/jarvis-secretsd")

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where sudo(8) looks for a command, whatever the PATH of who types it."""

UNIT_USER = "jarvis"
"""As whom our unit runs the daemon."""

UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/lib/systemd/system")
"""Where `make install` or a package may have put our units."""


@click.command()
@config_option
@click.option("--user", metavar="NAME", help="The user that runs the daemon [you].")
@click.option("--state", metavar="DIR", type=click.Path(path_type=Path), help="Vault, log, keys.")
@click.option("--socket", metavar="PATH", type=click.Path(path_type=Path), help="The Unix socket.")
@click.option("--tcp", metavar="IP:PORT", default="", help="Listen there too [no TCP].")
def init(user: str | None, state: Path | None, socket: Path | None, tcp: str) -> None:
    """Write a configuration and a policy whose admin is you, also under sudo.

    As root everything is made for the whole host, below /etc, /var/lib and /run; as another user in
    your own directories, with --config. Nothing that is there is overwritten.
    """
    admin = _person(os.environ)
    wishes = Wishes(
        admin=admin,
        daemon=_daemon_user(user, admin),
        config=Path(os.path.abspath(operator.source().path)),
        state=Path(os.path.abspath(state or _default_state(os.environ))),
        socket=Path(os.path.abspath(socket or _default_socket(os.environ, state))),
        tcp=tcp,
    )
    made = plan(wishes, os.environ)
    lay(made)
    _tell(made, wishes)
    if admin.uid == ROOT:
        operator.remark(
            "the admin of the policy is root (uid 0), since nobody else ran this. Every container "
            "that runs as root without a user namespace is that root, and so is admin too. Better: "
            "write a user of yours in its place"
        )


def _person(environ: Mapping[str, str]) -> Account:
    """Who runs this: the user behind sudo(8), else the user of the process."""
    said = environ.get("SUDO_UID") or environ.get("SUDO_USER")
    if not said:
        return account(os.geteuid())
    found = account_named(said)
    if found is None:
        raise ConfigurationError(
            (f"SUDO_UID or SUDO_USER is {said!a}, which is no user; unset both to be who you are",)
        )
    return found


def _daemon_user(name: str | None, person: Account) -> Account:
    own = account(os.geteuid())
    if name is None:
        return person if own.uid == ROOT else own
    found = account_named(name)
    if found is None:
        command = f"useradd --system --user-group --shell /usr/sbin/nologin {shlex.quote(name)}"
        raise ConfigurationError((f"--user: there is no user {name!a}; run: {command}",))
    if own.uid not in (ROOT, found.uid):
        raise ConfigurationError((f"--user: only root can make files for {found}; use sudo",))
    return found


def _default_state(environ: Mapping[str, str]) -> Path:
    if os.geteuid() == ROOT:
        return SYSTEM_STATE
    home = _directory(environ, "HOME")
    found = _directory(environ, "XDG_STATE_HOME") or (home and home / ".local" / "state")
    if found is None:
        raise ConfigurationError(("HOME isn't set; name a directory with --state DIR",))
    return found / "jarvis-secretsd"


def _default_socket(environ: Mapping[str, str], state: Path | None) -> Path:
    if os.geteuid() == ROOT:
        return DEFAULT_SOCKET
    runtime = _directory(environ, "XDG_RUNTIME_DIR") or state or _default_state(environ)
    return runtime / "jarvis" / DEFAULT_SOCKET.name


def _directory(environ: Mapping[str, str], variable: str) -> Path | None:
    path = Path(environ.get(variable, ""))
    return path if path.is_absolute() else None


def _tell(made: Plan, wishes: Wishes) -> None:
    """What was made, and what to do next."""
    other = wishes.config != DEFAULT_CONFIG
    own = wishes.daemon.uid == wishes.admin.uid
    program = "jarvis-secretsd" if own else f"sudo -u {wishes.daemon.name} {_program()}"
    command = program + (f" --config {shlex.quote(str(wishes.config))}" if other else "")
    is_unit = not other and wishes.daemon.name == UNIT_USER and _has_unit()
    show("made:", *(f"  {piece}" for piece in made.pieces))
    if is_unit:
        show("next (the first of these makes vault and keys, and shows a recovery code):")
        show_typed(
            "sudo jarvis-secretsd key add recovery",
            "sudo jarvis-secretsd check",
            "sudo systemctl enable --now jarvis-secretsd",
        )
    else:
        show("next (the first start makes vault and keys, and shows a recovery code):")
        show_typed(f"{command} check", command)
    if wishes.socket != DEFAULT_SOCKET:
        show("then, for each program:")
        show_typed(f"export JARVIS_SECRETS_SOCKET={shlex.quote(str(wishes.socket))}")
    show(f"and for {wishes.admin.name}, its admin:")
    show_typed("export JARVIS_CLIENT_ID=admin")
    if wishes.socket.is_relative_to("/run") and os.geteuid() == ROOT and not is_unit:
        show(
            f"note: /run is empty after a restart of the host; a line in /etc/tmpfiles.d makes "
            f"the directory again: d {wishes.socket.parent} 0755 {wishes.daemon.name} - -"
        )


def _program() -> str:
    """Our name, if sudo finds us by it; of a venv, where we are."""
    own = os.path.join(sys.prefix, "bin", "jarvis-secretsd")
    found = shutil.which("jarvis-secretsd", path=SYSTEM_PATH)
    is_known = found is not None and os.path.realpath(found) == os.path.realpath(own)
    return "jarvis-secretsd" if is_known else shlex.quote(own)


def _has_unit() -> bool:
    return any(os.path.exists(f"{place}/jarvis-secretsd.service") for place in UNIT_DIRECTORIES)


COMMANDS = (init,)
