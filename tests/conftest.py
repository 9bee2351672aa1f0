"""What every test shares: which tests run, a list of those that don't, and a real daemon to ask.

Tests with a mark of `PLACES` need more than a user of this machine has. With the mark's option they
run, as root, and a skipped test is a failure. A run with none of these options names in its summary
each test that it leaves out, with the reason.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from tests.daemon_process import DaemonProcess

hypothesis.settings.register_profile("house", deadline=None)  # a busy machine isn't a defect
hypothesis.settings.load_profile("house")

PLACES = {
    "root": "needs uid 0, to act as several users",
    "systemd": "needs a systemd of its own: tests/machine/boot",
    "containers": "needs podman, as root",
}
"""Marks of tests that run only where `--run-MARK` says so, each with the reason."""

LEFT_OUT = pytest.StashKey[list[pytest.Item]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    for mark in PLACES:
        parser.addoption(
            f"--run-{mark}",
            action="store_true",
            default=os.environ.get(f"JARVIS_TEST_{mark.upper()}") == "1",
            help=f"run the tests marked `{mark}` too, and fail if any test was skipped",
        )
    parser.addoption("--no-skips", action="store_true", help="fail if any test was skipped")


def pytest_configure(config: pytest.Config) -> None:
    if (places := _places(config)) and os.geteuid() != 0:
        raise pytest.UsageError(f"--run-{min(places)} needs uid 0")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = _places(config)
    left_out = [item for item in items if not _marks(item) <= here]
    config.stash[LEFT_OUT] = left_out
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Root's tests could break the machine they run on: one once closed /tmp to everybody."""
    before = _mode_of_temporary_directory()
    try:
        return (yield)
    finally:
        if _mode_of_temporary_directory() != before:
            os.chmod(tempfile.gettempdir(), before)
            pytest.fail(f"the test changed the mode of {tempfile.gettempdir()}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if _must_not_skip(session.config) and passed and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    left_out = [] if _places(config) else config.stash.get(LEFT_OUT, [])
    if left_out:
        terminalreporter.section(f"left out: {len(left_out)} (with --run-MARK, as uid 0, they run)")
    for item in left_out:
        terminalreporter.line(f"{item.nodeid}: {_reason(item)}")
    if _must_not_skip(config) and (skipped := _skipped(config)):
        terminalreporter.section(f"failed: {skipped} skipped, and none may be here", red=True)


def _mode_of_temporary_directory() -> int:
    return stat.S_IMODE(os.stat(tempfile.gettempdir()).st_mode)


def _must_not_skip(config: pytest.Config) -> bool:
    return bool(_places(config) or config.getoption("--no-skips"))


def _skipped(config: pytest.Config) -> int:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", [])) if reporter else 0


def _reason(item: pytest.Item) -> str:
    """A mark may bring its own reason: `@pytest.mark.root("binds a port below 1024")`."""
    mark = min(_marks(item))
    marker = item.get_closest_marker(mark)
    return str(marker.args[0]) if marker and marker.args else PLACES[mark]


def _places(config: pytest.Config) -> set[str]:
    return {mark for mark in PLACES if config.getoption(f"--run-{mark}")}


def _marks(item: pytest.Item) -> set[str]:
    return {mark for mark in PLACES if item.get_closest_marker(mark)}


@pytest.fixture
def make_daemon() -> Iterator[Callable[..., DaemonProcess]]:
    """Makes daemons, not started yet; takes what `DaemonProcess` takes. All end with the test."""
    made: list[DaemonProcess] = []

    def make(**options: object) -> DaemonProcess:
        made.append(DaemonProcess(**options))  # type: ignore[arg-type]  # checked where it arrives
        return made[-1]

    yield make
    try:
        for one in made:
            one.stop_if_running()
            assert not one.crashed, one.stderr
    finally:
        for one in made:
            one.dispose()


@pytest.fixture
def daemon(make_daemon: Callable[..., DaemonProcess]) -> DaemonProcess:
    """A running daemon on both transports, whose `admin` is the user who runs the tests."""
    one = make_daemon()
    one.start()
    return one
