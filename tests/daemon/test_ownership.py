"""A state in another user's directories is refused with what mends it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from jarvis_secretsd.daemon.config import PathsConfig
from jarvis_secretsd.daemon.ownership import foreign_directories, insist_on_own
from jarvis_secretsd.errors import ConfigurationError

ROOTS, NOBODYS = Path("/usr"), Path("/no/such/directory")


def paths(vault: Path, audit: Path) -> PathsConfig:
    return PathsConfig(vault_path=vault / "vault.json", audit_path=audit / "audit.jsonl")


def test_ones_own_directories_are_no_fault(tmp_path: Path) -> None:
    """Nor is one that isn't there: whoever opens it says so."""
    insist_on_own(paths(tmp_path, NOBODYS))


def test_each_foreign_directory_is_named_once_with_the_command(tmp_path: Path) -> None:
    """A directory that holds both files is one fault, and root's is never to be run as root."""
    assert [*foreign_directories(paths(ROOTS, ROOTS), 4242, 4243)] == [
        "/usr belongs to uid 0, not to uid 4242, who runs this; run: chown -R 4242:4243 /usr"
    ]
    assert len([*foreign_directories(paths(ROOTS, tmp_path), os.getuid() + 1, 7)]) == 2


def test_another_users_directory_may_also_be_run_as_theirs(tmp_path: Path) -> None:
    """The line of a Compose file has the owner's uid and gid."""
    found = tmp_path.stat()
    (said,) = foreign_directories(paths(tmp_path, tmp_path), found.st_uid + 1, 7)
    if found.st_uid == 0:
        assert "user:" not in said
    else:
        assert f'user: "{found.st_uid}:{found.st_gid}"' in said


@pytest.mark.root("gives a directory to another user")
def test_a_start_says_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    """Both directories, each with its owner's `user:` line."""
    vault, audit = tmp_path / "vault", tmp_path / "audit"
    for directory, uid in ((vault, 4001), (audit, 4002)):
        directory.mkdir()
        os.chown(directory, uid, uid)
    with pytest.raises(ConfigurationError) as refused:
        insist_on_own(paths(vault, audit))
    assert re.findall('user: "(.*)"', refused.value.message) == ["4001:4001", "4002:4002"]
