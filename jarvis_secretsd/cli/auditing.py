"""`jarvis-secretsd audit`: is the log what was written, and is all of it there?"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from jarvis_secretsd.cli import operator
from jarvis_secretsd.cli.operator import DaemonExit, config_option, dev_option
from jarvis_secretsd.cli.output import counted, show
from jarvis_secretsd.cli.usage import Group
from jarvis_secretsd.daemon.verifying import Checked, Evidence, verify
from jarvis_secretsd.domain.auditfindings import Verdict
from jarvis_secretsd.errors import SecretsError

_WORDS = {
    Verdict.INTACT: "intact",
    Verdict.TAMPERED: "TAMPERED",
    Verdict.INCOMPLETE: "INCOMPLETE",
}


@click.group(cls=Group, no_args_is_help=False)
def audit() -> None:
    """Look after the audit log."""


@audit.command(name="verify")
@config_option
@dev_option
@click.option("--log", metavar="FILE", type=click.Path(path_type=Path), help="The log to verify.")
@click.option("--key", metavar="PEM", type=click.Path(path_type=Path), help="The key to trust.")
@click.option(
    "--head",
    "heads",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="What `jarvis-secrets audit head` said once, kept elsewhere.",
)
@click.option("--from", "start", metavar="1", type=click.Choice(["1"]), help="Demand all of it.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify_command(
    log: Path | None, key: Path | None, heads: tuple[Path, ...], start: str | None, as_json: bool
) -> int:
    """Verify the log with its rotated and compressed segments.

    Exit status: 0 intact, 1 tampered, 2 nothing readable to verify, 3 a part is missing. Without
    --key the key beside the log is taken, which whoever can replace the log can replace too.
    """
    try:
        config = None if log is not None else operator.config()
        evidence = Evidence(config=config, log=log, key=key, heads=heads)
        checked = verify(evidence, from_start=start is not None)
    except SecretsError as error:
        operator.remark(error.message)
        return DaemonExit.USAGE
    except FileNotFoundError as error:
        operator.remark(f"there is no {error.filename} to verify")
        return DaemonExit.USAGE
    if as_json:
        show(msgspec.json.encode(checked.report).decode())
    else:
        show(*_lines(checked))
    return int(checked.report.verdict)


def _lines(checked: Checked) -> list[str]:
    report = checked.report
    key = "pinned with --key" if report.pinned else "found beside the log, not pinned"
    lines = [
        f"{_WORDS[report.verdict]}: entries {report.first} to {report.last} of log {report.log_id}",
        f"checked: {report.entries} entries in {counted(report.segments, 'segment')}",
        f"key: {checked.fingerprint} ({key})",
        *(f"compared: {note}" for note in checked.notes),
    ]
    lines += [
        f"{found.segment}, line {found.line}: {found.fault}"
        if found.line
        else f"{found.segment} {found.fault}"
        for found in report.findings
    ]
    if report.further:
        lines.append(f"and {report.further} findings more")
    return lines


COMMANDS = (audit,)
