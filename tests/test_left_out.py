"""No test is left out without being named, and none is skipped where all must run."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SAMPLE = """
    import pytest

    def test_plain(): pass

    @pytest.mark.root
    def test_as_several_users(): pass

    @pytest.mark.root("binds port 80")
    def test_low_port(): pass
"""

SKIPPING = """
    import pytest

    def test_plain(): pass

    @pytest.mark.skip(reason="not today")
    def test_skipped(): pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory whose tests run under our conftest."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.delenv("JARVIS_TEST_ROOT", raising=False)
    pytester.makeini("[pytest]\nmarkers =\n  root: as several users")
    return pytester


def test_left_out_tests_are_listed_with_their_reason(run: pytest.Pytester) -> None:
    """Each test marked `root` is named with its reason, and the others run."""
    run.makepyfile(SAMPLE)
    result = run.runpytest_subprocess("-q", "-p", "tests.conftest")
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "*left out: 2*",
            "*::test_as_several_users: needs uid 0*",
            "*::test_low_port: binds port 80",
        ]
    )


def test_a_skipped_test_alone_does_not_fail_an_ordinary_run(run: pytest.Pytester) -> None:
    """Without `--run-root` a skip is reported by pytest and nothing more."""
    run.makepyfile(SKIPPING)
    assert run.runpytest_subprocess("-p", "tests.conftest").ret == 0


@pytest.mark.root
def test_everything_runs_as_root(run: pytest.Pytester) -> None:
    """With `--run-root` nothing is left out."""
    run.makepyfile(SAMPLE)
    run.runpytest_subprocess("-p", "tests.conftest", "--run-root").assert_outcomes(passed=3)


@pytest.mark.root
def test_a_skipped_test_fails_a_run_as_root(run: pytest.Pytester) -> None:
    """With `--run-root` one skipped test makes the whole run fail, and the summary says why."""
    run.makepyfile(SKIPPING)
    result = run.runpytest_subprocess("-p", "tests.conftest", "--run-root")
    result.stdout.fnmatch_lines(["*failed: 1 skipped*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_no_skip_passes_where_none_may_be(run: pytest.Pytester) -> None:
    """With `--no-skips`, which anybody can give, a skipped test fails the run."""
    run.makepyfile(SKIPPING)
    result = run.runpytest_subprocess("--no-skips", "-p", "tests.conftest")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*failed: 1 skipped*"])
