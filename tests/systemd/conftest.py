"""A host with the daemon installed. In the guest that tests/machine/boot boots, and nowhere else:
what is done here is done to the machine it runs on.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.systemd.consumers import Consumers, consumers
from tests.systemd.host import Host, add_user, install, is_installed


@pytest.fixture(scope="module")
def installed() -> Host:
    """The host after `make install`; nothing is configured, nothing runs."""
    where = subprocess.check_output(["systemd-detect-virt"], text=True)
    assert where.strip() == "systemd-nspawn", "run these by tests/machine/boot"
    if not is_installed():
        install()
    for name in ("web", "other"):
        add_user(name)
    return Host()


@pytest.fixture(scope="module")
def served(installed: Host) -> Iterator[Consumers]:
    """One daemon for all tests; each brings its policy and its units."""
    with consumers(installed) as served:
        yield served


@pytest.fixture
def host(installed: Host) -> Host:
    """The daemon runs, new and empty, with `admin` for root and `web` for the user web."""
    installed.reset()
    installed.begin()
    return installed
