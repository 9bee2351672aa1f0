"""The commands that look back: `audit log` (who did what) and `denied` (who was refused)."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pwd import getpwuid

import click
from msgspec.structs import replace

from jarvis_secretsd import messages as m
from jarvis_secretsd.cli.arguments import client_option, parsed_by
from jarvis_secretsd.cli.completing import secret_names
from jarvis_secretsd.cli.exits import Refused
from jarvis_secretsd.cli.moments import local, parse_since
from jarvis_secretsd.cli.options import connect, options_without_client, settings, shared_options
from jarvis_secretsd.cli.output import GAP, NOTHING, counted, remark, show, show_json, show_line
from jarvis_secretsd.cli.usage import Group
from jarvis_secretsd.client import SecretsClient
from jarvis_secretsd.values import ClientId

LATEST = 100
"""Entries that are shown unless more are asked for."""

PAUSE = 1.0
"""Seconds between two questions of `--follow`; one without news leaves no entry in the log."""

RESTART = 30.0
"""Seconds that a daemon may be away while its log is followed."""

HEADINGS = ("TIME", "WHO", "OP", "NAME", "OUTCOME", "WHY")

WIDTHS = (19, 16, 8, 16, 7, 0)
"""Columns are this wide at least: what `--follow` shows later stands below what it showed first."""


@click.group(cls=Group, no_args_is_help=False)
@shared_options
def audit() -> None:
    """Read the audit log; `sudo jarvis-secretsd audit verify` proves it."""


@audit.command("head")
@shared_options
def head_command() -> None:
    """Show where the log ends, as JSON, for keeping elsewhere.

    `jarvis-secretsd audit verify --head FILE` then finds whether anything before it was changed or
    cut off. It takes the permission `audit`.
    """
    with connect() as client:
        show_json(client.ask(m.AuditHead(), m.AuditHeadStatus))


@audit.command("log")
@click.option("--follow", "-f", is_flag=True, help="Go on showing what is new, until Ctrl-C.")
@click.option(
    "--name",
    "pattern",
    metavar="PATTERN",
    shell_complete=secret_names,
    help="Only about these secrets; * is any run.",
)
@client_option("--client", "subject", text="Only by this client.")
@click.option(
    "--since",
    metavar="TIME",
    callback=parsed_by(lambda text: text and parse_since(text, datetime.now(UTC))),
    help="Not older: 2h, 3d, 2026-11-25, ...",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=LATEST,
    help=f"At most the latest N [{LATEST}].",
)
@click.option(
    "--file",
    "paths",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    help="Read this file of a log, .gz too, and ask no daemon.",
)
@options_without_client
def log_command(
    follow: bool,
    pattern: str | None,
    subject: ClientId | None,
    since: datetime | None,
    limit: int,
    paths: tuple[str, ...],
) -> None:
    """Show the latest entries of the audit log, the oldest of them first.

    Times are this machine's. It takes the permission `audit`; who you are is said before the
    command: `jarvis-secrets --client ID audit log`. Nothing is verified by it: that is
    `jarvis-secretsd audit verify`.
    """
    asked = m.AuditLog(pattern=pattern, subject=subject, since=since)
    if paths:
        if follow:
            raise click.UsageError("--follow asks the daemon, and --file doesn't")
        _show_files(paths, asked, limit)
        return
    with connect(wait=RESTART if follow else None) as client:
        found = _latest(client, asked, limit)
        sheet = Sheet(found.entries)
        sheet.add(found.entries)
        _tell_gaps(found)
        if found.before is not None and len(found.entries) == limit and not follow:
            remark(f"these are the latest {limit:,}; --limit N shows more")
        if follow:
            for entries in _news(client, replace(asked, after=found.after)):
                sheet.add(entries)


def _latest(client: SecretsClient, asked: m.AuditLog, limit: int) -> m.AuditPage:
    """The latest entries, of as many pages as it takes, as if they were one."""
    found: deque[m.AuditEntry] = deque()
    unread: dict[str, None] = {}
    unreadable, after = 0, None
    while True:
        wanted = min(limit - len(found), m.MAX_PAGE)
        page = client.ask(replace(asked, limit=wanted), m.AuditPage)
        found.extendleft(reversed(page.entries))
        unread.update(dict.fromkeys(page.unread))
        unreadable += page.unreadable
        after = page.after if after is None else after
        if page.before is None or len(found) >= limit:
            return m.AuditPage(tuple(found), after, page.before, unreadable, tuple(unread))
        asked = replace(asked, before=page.before)


def _news(client: SecretsClient, asked: m.AuditLog) -> Iterator[Sequence[m.AuditEntry]]:
    """What comes after that, as it comes."""
    while True:
        page = client.ask(asked, m.AuditPage)
        if page.entries:
            yield page.entries
        if page.after == asked.after:
            time.sleep(PAUSE)
        asked = replace(asked, after=page.after)


def _show_files(paths: Sequence[str], asked: m.AuditLog, limit: int) -> None:
    from jarvis_secretsd.daemon.segments import read_lines  # noqa: PLC0415  # only here
    from jarvis_secretsd.domain.auditpaging import Sieve  # noqa: PLC0415  # as above

    sieve = Sieve(asked)
    try:
        lines = chain.from_iterable(map(read_lines, paths))
        entries = filter(None, (sieve.entry(line.removesuffix(b"\n")) for line in lines))
        found = tuple(deque(filter(sieve.passes, entries), limit))
    except FileNotFoundError as error:
        raise Refused(f"there is no {error.filename}") from None
    Sheet(found).add(found)
    _tell_gaps(m.AuditPage(found, 0, None, sieve.unreadable))


def _tell_gaps(page: m.AuditPage) -> None:
    if page.unreadable:
        lines = counted(page.unreadable, "line")
        remark(f"{lines} can't be read; see what `jarvis-secretsd audit verify` says")
    for name in page.unread:
        remark(f"{name} is not shown: damaged, or long; `jarvis-secrets audit log --file` reads it")
    if not page.entries:
        remark("there is no such entry")


class Sheet:
    """Prints entries below one another as they come, in columns, or as JSON."""

    def __init__(self, first: Sequence[m.AuditEntry]) -> None:
        columns = zip(HEADINGS, *map(_row, first), strict=True)
        self._widths = [
            max(least, *map(len, column)) for least, column in zip(WIDTHS, columns, strict=True)
        ]
        if not settings().json:
            self._show(HEADINGS)

    def add(self, entries: Iterable[m.AuditEntry]) -> None:
        """Print these below what was printed, at once: somebody may be waiting for them."""
        for entry in entries:
            if settings().json:
                show_line(entry)
            else:
                self._show(_row(entry))
        sys.stdout.flush()

    def _show(self, cells: Iterable[str]) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True))
        show((" " * GAP).join(padded).rstrip())


def _row(entry: m.AuditEntry) -> tuple[str, ...]:
    return (
        local(entry.time),
        _who(entry.client, entry.uid, entry.transport),
        entry.op,
        entry.name or NOTHING,
        entry.outcome,
        ", ".join(_reasons(entry)) or NOTHING,
    )


def _reasons(entry: m.AuditEntry) -> Iterator[str]:
    yield from filter(None, (entry.rule, entry.note, entry.found))
    if entry.count is not None:
        yield f"{entry.count:,} times" if entry.op == "refused" else str(entry.count)
    if entry.recovered:
        yield "written after a crash"


def _who(client: str | None, uid: int | None, transport: str | None) -> str:
    """The client and the user who was it; the daemon itself is no user."""
    if uid is None and transport in (None, "internal"):
        return "the daemon"
    return f"{client or NOTHING} ({_user(uid)})"


def _user(uid: int | None) -> str:
    if uid is None:
        return "unattested"
    try:
        return getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid}"


@click.command()
@shared_options
def denied() -> None:
    """Show the latest refusals, each with the line of policy that would allow it.

    The latest is last; the daemon remembers them since it started. It takes the permission `audit`.
    """
    with connect() as client:
        listing = client.ask(m.Denials(), m.DenialListing)
    if settings().json:
        show_json(listing)
        return
    for refusal in listing.denials:
        show(f"{local(refusal.last)}  {_told(refusal)}")
        if refusal.remedy:
            show(f"  {refusal.remedy}")
    count = counted(len(listing.denials), "refusal") if listing.denials else "no refusal"
    remark(f"{count} since the daemon started, {local(listing.since)}")
    if listing.denials:
        remark(
            "change policy.yaml, see what `jarvis-secretsd check` says, and have it read by "
            "`systemctl reload jarvis-secretsd`, or by SIGHUP"
        )


def _told(refusal: m.RefusalListed) -> str:
    asked = " ".join(filter(None, (refusal.op or "what is no request", refusal.name)))
    where = f", unit {refusal.unit}" if refusal.unit else ""
    who = _who(refusal.client, refusal.uid, "unix")
    times = f", {refusal.count:,} times" if refusal.count > 1 else ""
    return f"{who} over {refusal.transport}{where}: {asked} ({refusal.rule}{times})"


COMMANDS = (audit, denied)
