from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fwprof.testing import native_network
from fwprof.testing.conformance import FRAMEWORK_CHECKS, FrameworkSubject, run_checks
from fwprof.testing.fake_framework import one_thread_more


@pytest.fixture
def failed_checks(tmp_path: Path) -> Callable[[object], Mapping[str, str]]:
    """Run the framework checks on a plugin: which did not pass, and why."""

    def run(plugin: object) -> Mapping[str, str]:
        (tmp_path / "checks").mkdir()
        subject = FrameworkSubject(
            plugin=plugin,
            name="fake",
            folder=tmp_path / "checks",
            change_setting=one_thread_more,
            native=native_network.make,
        )
        outcomes = run_checks(FRAMEWORK_CHECKS, subject)
        return {each.check: each.message for each in outcomes if each.verdict in ("failed", "error")}

    return run
