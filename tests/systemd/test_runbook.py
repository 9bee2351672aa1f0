"""docs/runbook.md: each section's commands, as they stand there, after what it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.systemd.host import SERVICE, STATE, Host, clean
from tests.systemd.pages import ADMIN, Page, add_admin, typed

pytestmark = pytest.mark.systemd("breaks the daemon's host in each way that the runbook mends")

PAGE = Page("runbook.md")

SMALL_DISK = f"""
systemctl stop {SERVICE}
cp -a {STATE} /root/state
mount -t tmpfs -o size=4m,mode=0700,uid=jarvis,gid=jarvis tmpfs {STATE}
cp -a /root/state/. {STATE}
systemctl start {SERVICE}
install -o jarvis -g jarvis -m 0600 /dev/null {STATE}/audit.jsonl-20260101.gz
dd if=/dev/zero of={STATE}/audit.jsonl-20260101.gz bs=64k status=none || true
for entry in $(seq 300); do
  su {ADMIN} -c 'jarvis-secrets --client admin get mail_password' >/dev/null || exit 0
done
exit 1  # the disk isn't full
"""

SITUATIONS = {
    "The master key is lost": f"rm {STATE}/master.key",
    "Restore a backup": f"""
        systemctl stop 'jarvis-*.socket' {SERVICE}
        find {STATE} -mindepth 1 -not -name master.key -delete
    """,
    "The disk is full": SMALL_DISK,
    "The start is refused": f"""
        systemctl stop 'jarvis-*.socket' {SERVICE}
        cp -a {STATE}/vault.json /root/vault.json
        systemctl start {SERVICE}
        su {ADMIN} -c 'printf x | jarvis-secrets --client admin put since_then'
        systemctl stop 'jarvis-*.socket' {SERVICE}
        cp -a /root/vault.json {STATE}/vault.json
        systemctl start {SERVICE} && exit 1
        test "$(systemctl show -P ExecMainStatus {SERVICE})" = 79
    """,
}
"""What is done, as root, before the commands of a section are typed."""

SHOWN = {
    "Add a secret": "yes",
    "Rotate a secret": "rotated",
    "A program is refused": "no_such_right",
    "What to back up, and how": "proven",
    "Review the audit log": "intact",
    "The master key is lost": "recovery",
    "Restore a backup": "mail_password",
    "The disk is full": "storage_full",
    "The clock is wrong": "clock",
    "A secret may have leaked": "revoked",
    "The start is refused": "79",
}
"""What a person sees somewhere below these commands, among other things."""

CODE = re.compile(r"(?:[0-9A-Z]{4}-){8}[0-9A-Z]{4}")


class Desk:
    """The admin's: with the paper on which the recovery code is written."""

    def __init__(self) -> None:
        self.code = ""

    def types(self, commands: str) -> str:
        """Type these; a new recovery code is written down."""
        shown = typed(commands, {"Recovery code: ": self.code, "[y/N]: ": "y"})
        found = CODE.findall(shown)
        self.code = found[-1] if found else self.code
        return shown


@pytest.fixture(scope="module")
def desk(installed: Host) -> Iterator[Desk]:
    """An installation of the operations page, with some secrets, while the runbook is read."""
    add_admin()
    with clean(installed) as host:
        desk = Desk()
        desk.types(
            "echo 'export JARVIS_CLIENT_ID=admin' >~/.profile\n"
            "sudo jarvis-secretsd init --user jarvis\n"
            "sudo jarvis-secretsd key add recovery\n"
            "sudo systemctl enable --now jarvis-secretsd.service\n"
        )
        host.run("jarvis-secrets", "--client", "no_such_right", "list", user="web", ok=False)
        yield desk
        host.systemctl("stop", "jarvis-*.socket", SERVICE)
        host.run("umount", str(STATE), ok=None)


@pytest.mark.parametrize("heading", PAGE.headings)
def test_what_the_runbook_says_works(heading: str, installed: Host, desk: Desk) -> None:
    """After what the section is about, its commands succeed one after the other, and it serves."""
    installed.run("bash", "-ec", SITUATIONS.get(heading, "true"))
    shown = desk.types(PAGE.commands(heading))
    assert SHOWN.get(heading, "") in shown, shown
    installed.until(lambda: installed.show("ActiveState") == "active")
    assert desk.types("jarvis-secrets health")


def test_every_section_of_the_runbook_has_commands_or_is_listed() -> None:
    """The table at the top leads to each section, and to nothing else."""
    linked = re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE.text)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in PAGE.headings}
    assert anchors == set(linked)
