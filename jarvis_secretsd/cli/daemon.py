"""`jarvis-secretsd`: the daemon, and the operator's work on a vault that no daemon has open."""

from __future__ import annotations

import sys

import click

from jarvis_secretsd import __version__
from jarvis_secretsd.cli import (
    auditing,
    backing,
    checking,
    doctoring,
    founding,
    keeping,
    rekeying,
    restoring,
    serving,
    unitrestarts,
)
from jarvis_secretsd.cli.operator import DaemonExit, complain, config_option, dev_option
from jarvis_secretsd.cli.usage import Group, complaint
from jarvis_secretsd.errors import SecretsError

EPILOG = """\
Exit status: 0 done, 1 failed, 2 not a valid command, 75 another process has the
vault, 78 something must be mended first (configuration, files, keys), 79 vault
and audit log contradict each other. `audit verify` has its own."""


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="jarvis-secretsd")
@config_option
@dev_option
@click.pass_context
def cli(context: click.Context) -> None:
    """Keep the secrets of this host. Without a command: serve."""
    if context.invoked_subcommand is None:
        serving.serve()


for command in (
    *founding.COMMANDS,
    *checking.COMMANDS,
    *doctoring.COMMANDS,
    *auditing.COMMANDS,
    *keeping.COMMANDS,
    *backing.COMMANDS,
    *restoring.COMMANDS,
    *rekeying.COMMANDS,
    *unitrestarts.COMMANDS,
):
    cli.add_command(command)


def main() -> None:
    """The program. Every failure ends here, as one line on stderr and a status of `DaemonExit`."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line and give its exit status."""
    try:
        status = cli.main(arguments, prog_name="jarvis-secretsd", standalone_mode=False)
    except click.UsageError as error:
        complain(complaint(error, "jarvis-secretsd"))
        return DaemonExit.USAGE
    except SecretsError as error:
        complain(error.message)
        return DaemonExit.of(error)
    except (KeyboardInterrupt, click.Abort):
        return DaemonExit.INTERRUPTED
    return status if isinstance(status, int) else DaemonExit.OK


if __name__ == "__main__":
    main()
