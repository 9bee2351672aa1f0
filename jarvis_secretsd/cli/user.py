"""`jarvis-secrets`: what a person or a script asks of the daemon, all of it through the socket."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from jarvis_secretsd.cli.exits import Exit, explain, status_of
from jarvis_secretsd.cli.output import complain, release
from jarvis_secretsd.cli.streams import mend_streams
from jarvis_secretsd.client import SecretsClient, SecretsClientError
from jarvis_secretsd.errors import SecretsError
from jarvis_secretsd.values import SecretName


def main() -> None:
    """The program. Every failure ends here, as one line on stderr and a status of `Exit`."""
    mend_streams()
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line and give its exit status."""
    try:
        status = _carry_out(arguments)
        sys.stdout.flush()
    except (SecretsClientError, SecretsError) as error:
        complain(explain(error))
        return status_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return Exit.BROKEN_PIPE
    except OSError as error:
        complain(f"can't write the result: {error.strerror}")
        _forget_stdout()
        return Exit.FAILURE
    return status


def _carry_out(arguments: list[str]) -> int:
    # Scripts ask for a value by the hundred, and importing click takes longer than the daemon's
    # answer. This is `secrets.get` without an option; everything else is the group's.
    if len(arguments) == 2 and arguments[0] == "get" and (name := _name(arguments[1])):
        with SecretsClient(cache_ttl=0) as client:
            release(client.fetch(name).value)
        return Exit.OK
    from jarvis_secretsd.cli.group import run_group  # noqa: PLC0415

    return run_group(arguments)


def _name(text: str) -> SecretName | None:
    try:
        return SecretName(text)
    except ValueError:
        return None


def _forget_stdout() -> None:
    """Whoever read us is gone; the interpreter would complain when it flushes at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
