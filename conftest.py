"""What all tests of the repository share: a state folder of their own, and strictness about skips."""

from __future__ import annotations

import os
import tempfile
from collections import Counter

import hypothesis
import pytest

NOT_HERE = ("card", "CUDA", "mount a file system")
"""Words of the reasons that stand even in CI: hardware and rights that its machines lack."""
CONFORMANCE = "fwprof/testing/conformance/suites.py"
"""Skips that come from here say what a plugin itself does without: a layer, a hook."""

STATE = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep what tests learn of the machine's noise out of the user's own record.

    And have torch compile in the process that asks: its pool of compilers is dropped without being
    closed, and says so in whatever test runs when it is collected.
    """
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    # How long an example takes is the machine's load, and no bug.
    hypothesis.settings.register_profile("fwprof", deadline=None)
    hypothesis.settings.load_profile("fwprof")
    config.stash[STATE] = tempfile.TemporaryDirectory(prefix="fwprof-state-")
    os.environ["FWPROF_STATE"] = config.stash[STATE].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Forget it."""
    config.stash[STATE].cleanup()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where CI, which installs every framework, skipped a test for want of one."""
    if hasattr(session.config, "workerinput"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skips = Counter(
        _reason(report) for report in reporter.stats.get("skipped", []) if not _is_of_a_plugin(report)
    )
    mendable = {reason: count for reason, count in skips.items() if not any(w in reason for w in NOT_HERE)}
    if os.environ.get("CI") and mendable:
        for reason, count in mendable.items():
            reporter.write_line(f"skipped in CI, which counts as a failure: {count} x {reason}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_of_a_plugin(report: pytest.TestReport | pytest.CollectReport) -> bool:
    return isinstance(report.longrepr, tuple) and report.longrepr[0].endswith(CONFORMANCE)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
