"""The commands that move many secrets: import from a file, run a program with them."""

from __future__ import annotations

import os

import click

from jarvis_secretsd.cli import importing, running
from jarvis_secretsd.cli.dotenv import MAX_FILE_BYTES, DotenvRefused, Reading, Remark, read_dotenv
from jarvis_secretsd.cli.exits import Exit
from jarvis_secretsd.cli.intake import read_file
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import columns, count_bytes, remark, show, show_json


@click.command("import")
@click.argument("path", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Show names and lengths; ask nothing of the daemon.")
@shared_options
def import_file(path: str, dry_run: bool) -> int:
    """Store each variable of a .env FILE (- for stdin): FOO_BAR becomes the secret foo_bar.

    Values are taken literally. A file with a line that can't be read surely is refused whole.
    """
    try:
        reading = read_dotenv(read_file(path, MAX_FILE_BYTES))
    except DotenvRefused as refused:
        _tell(path, refused.problems)
        remark(f"{path} was not imported: {len(refused.problems)} of its lines are at fault")
        return Exit.FAILURE
    _tell(path, reading.warnings)
    if dry_run:
        _tell_lengths(reading)
        return Exit.OK
    with connect() as client:
        done = importing.carry_out(client, importing.plan(client, reading.assignments))
    _tell_done(done)
    return Exit.OK


def _tell(path: str, remarks: tuple[Remark, ...]) -> None:
    for found in remarks:
        remark(f"{path}:{found.line}: {found.text}")


def _tell_lengths(reading: Reading) -> None:
    rows = [(found.name, count_bytes(found.value)) for found in reading.assignments]
    if rows:
        show(*columns(rows))
    remark(f"{len(rows)} would be imported; nothing was stored")


def _tell_done(done: importing.Imported) -> None:
    if settings().json:
        show_json(done)
        return
    for change, names in (
        ("created", done.created),
        ("changed", done.changed),
        ("unchanged", done.unchanged),
    ):
        show(*(f"{change} {name}" for name in names))
    show(
        f"{len(done.created)} created, {len(done.changed)} changed, "
        f"{len(done.unchanged)} unchanged; every value was read back and is the same"
    )


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--only", "patterns", multiple=True, metavar="PATTERN", help="These; * is any run.")
@click.option("--allow-dangerous", is_flag=True, help="Even variables like PATH and LD_PRELOAD.")
@shared_options
def run(command: tuple[str, ...], patterns: tuple[str, ...], allow_dangerous: bool) -> None:
    """Become COMMAND, with the secrets that you may read as variables: foo/bar is FOO_BAR.

    A secret goes before a variable of the same name that is there already.
    """
    with connect() as client:
        names = running.select([entry.name for entry in client.list()], patterns)
        running.check_names(names, allow_dangerous=allow_dangerous)
        secrets = running.fetch(client, names)
    if not names:
        remark("there is no secret that you may read; the command starts without any")
    running.become(command, running.environment(os.environb, secrets))


COMMANDS = (import_file, run)
