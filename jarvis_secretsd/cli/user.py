"""`jarvis-secrets`: what a person or a script asks of the daemon, all of it through the socket."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from jarvis_secretsd import __version__
from jarvis_secretsd.cli import secrets, standing, transfer
from jarvis_secretsd.cli.exits import Exit, explain, status_of
from jarvis_secretsd.cli.options import shared_options
from jarvis_secretsd.cli.output import remark
from jarvis_secretsd.client import SecretsClientError
from jarvis_secretsd.errors import SecretsError

EPILOG = """\b
Environment: JARVIS_SECRETS_SOCKET, JARVIS_SECRETS_URL, JARVIS_CLIENT_ID,
JARVIS_SECRETS_TOKEN_FILE (a file that holds a client's token), JARVIS_SECRETS_UID (who
may hold the URL's port, beside root and you), JARVIS_SECRETS_WAIT (seconds for a start).

\b
Exit status: 0 done, 1 failed, 2 not a valid request, 3 not found, 4 denied,
5 no daemon, 6 the daemon can't now, 7 changed meanwhile; `run` ends as its
command does, 126 and 127 as in a shell."""


@click.group(
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="jarvis-secrets")
@shared_options
def cli() -> None:
    """Fetch, store and rotate the secrets of this host."""


for command in (*secrets.COMMANDS, *transfer.COMMANDS, *standing.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """The program. Every failure ends here, as one line on stderr and a status of `Exit`."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line and give its exit status."""
    try:
        status = cli.main(arguments, prog_name="jarvis-secrets", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "jarvis-secrets"
        remark(f"{error.format_message()} (see `{path} --help`)")
        return Exit.USAGE
    except (SecretsClientError, SecretsError) as error:
        remark(explain(error))
        return status_of(error)
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except (SystemExit, BrokenPipeError):  # of click's exits only that for a broken pipe is left
        _forget_stdout()
        return Exit.BROKEN_PIPE
    except OSError as error:
        remark(f"can't write the result: {error.strerror}")
        _forget_stdout()
        return Exit.FAILURE
    return status if isinstance(status, int) else Exit.OK


def _forget_stdout() -> None:
    """Whoever read us is gone; the interpreter would complain when it flushes at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
