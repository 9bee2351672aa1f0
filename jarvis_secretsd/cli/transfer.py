"""The commands that move many secrets: import from files, export to one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from jarvis_secretsd.cli import exporting, importing
from jarvis_secretsd.cli.arguments import parsed_by
from jarvis_secretsd.cli.envfile import Dialect
from jarvis_secretsd.cli.exits import Exit, explain
from jarvis_secretsd.cli.faults import faults_told
from jarvis_secretsd.cli.gathering import choose_lines, merge, read_files
from jarvis_secretsd.cli.importreport import (
    tell_done,
    tell_notes,
    tell_prospects,
    tell_sharing,
    tell_unknown,
)
from jarvis_secretsd.cli.naming import (
    Renaming,
    Wanted,
    check_used,
    name_secrets,
    name_variables,
    parse_prefix,
    renaming_option,
)
from jarvis_secretsd.cli.options import connect, settings, shared_options
from jarvis_secretsd.cli.output import counted, hand_out, remark, show
from jarvis_secretsd.cli.selection import selecting_options
from jarvis_secretsd.client import SecretsClientError


@click.command("import")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--dialect",
    type=click.Choice([dialect.value for dialect in Dialect]),
    default=Dialect.LITERAL.value,
    help="Whose reading of the files is meant; literal is what all agree on.",
)
@click.option("--only", multiple=True, metavar="PATTERN", help="These variables; * is any run.")
@click.option("--skip", multiple=True, metavar="PATTERN", help="Not these variables.")
@renaming_option("--map", text="This variable becomes exactly this secret.")
@click.option(
    "--prefix",
    metavar="PREFIX",
    callback=parsed_by(parse_prefix),
    help="Below it go all others: with app/, FOO becomes app/foo.",
)
@click.option("--no-placeholders", is_flag=True, help="Not what nobody has filled in.")
@click.option("--no-overwrite", is_flag=True, help="Keep the value of every secret that is there.")
@click.option("--dry-run", is_flag=True, help="Show what would happen; store nothing.")
@shared_options
def import_files(
    paths: tuple[str, ...],
    dialect: str,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    renamed: tuple[Renaming, ...],
    prefix: str,
    no_placeholders: bool,
    no_overwrite: bool,
    dry_run: bool,
) -> int:
    """Store each variable of .env FILES (- for stdin): FOO_BAR becomes the secret foo_bar.

    A file with a line that can't be read surely is refused, and then nothing is imported. Every
    value is read back and compared.
    """
    with faults_told():
        lines, notes = read_files(paths, Dialect(dialect))
        check_used(dict(renamed), (line.variable for line in lines), "variable")
        meant = choose_lines(lines, only, skip)
        tell_notes(notes, {line.place for line in lines} - {line.place for line in meant})
        entries = merge([line for line in meant if line.is_filled or not no_placeholders])
        tell_sharing(entries)
        wanted = name_secrets(entries, dict(renamed), prefix)
    taken = {one.variable for one in wanted}
    skipped = [v for v in dict.fromkeys(line.variable for line in lines) if v not in taken]
    if not wanted:
        remark("there is no variable to import")
    if dry_run:
        return _rehearse(wanted, skipped, overwrite=not no_overwrite)
    with connect() as client:
        steps = importing.look(client, wanted, overwrite=not no_overwrite)
        importing.carry_out(client, steps)
    tell_done(importing.report(steps, skipped))
    if wanted and sys.stderr.isatty() and any(path != "-" for path in paths):
        remark("the files still hold the values; delete them once programs ask the daemon instead")
    return Exit.OK


def _rehearse(wanted: Sequence[Wanted], skipped: Sequence[str], *, overwrite: bool) -> int:
    """Show what the import would do, by what is there if the daemon says so."""
    try:
        with connect() as client:
            steps = importing.look(client, wanted, overwrite=overwrite)
    except SecretsClientError as error:
        tell_unknown(wanted, skipped, explain(error))
        return Exit.OK
    tell_prospects(steps, skipped)
    return Exit.DENIED if any(step.change in importing.REFUSED for step in steps) else Exit.OK


@click.command("export")
@selecting_options
@renaming_option("--as", text="The secret NAME becomes this variable.")
@click.option(
    "--strip-prefix",
    "prefix",
    metavar="PREFIX",
    callback=parsed_by(parse_prefix),
    help="Only what is below it, named without it: with app/, app/foo is FOO.",
)
@click.option(
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(),
    help="Write this new file, readable for you alone.",
)
@shared_options
def export_secrets(
    only: tuple[str, ...],
    skip: tuple[str, ...],
    renamed: tuple[Renaming, ...],
    prefix: str,
    path: str | None,
) -> None:
    """Write the secrets that you may read as a .env file: foo/bar is FOO_BAR.

    It imports to the same values, and bash reads them with `set -a; . FILE`. With --json, one
    object of variables and values.
    """
    if path is not None:
        exporting.check_free(path)
    with faults_told():
        with connect() as client:
            listed = [entry.name for entry in client.list()]
            names = exporting.select(listed, only, skip, renamed, prefix)
            given = exporting.fetch(client, name_variables(names, renamed, prefix))
        data = exporting.as_json(given) if settings().json else exporting.as_envfile(given)
    if not given:
        remark("there is no secret that you may read")
    if path is None:
        hand_out(data)
    else:
        exporting.write_new(path, data)
        show(f"wrote {counted(len(given), 'variable')} to {path}, readable for you alone")


COMMANDS = (import_files, export_secrets)
