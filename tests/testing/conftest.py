from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from fwprof.testing import native_network
from fwprof.testing.conformance import FRAMEWORK_CHECKS, FrameworkSubject, run_checks
from fwprof.testing.conformance.framework_formats import FORMAT_CHECKS
from fwprof.testing.conformance.framework_pipeline import PIPELINE_CHECKS
from fwprof.testing.conformance.framework_verification import VERIFICATION_CHECKS
from fwprof.testing.fake_runtime import one_thread_more

Check = Callable[[FrameworkSubject], None]
TIMED_CHECKS: Sequence[Check] = [
    check
    for check in FRAMEWORK_CHECKS
    if check not in (*VERIFICATION_CHECKS, *FORMAT_CHECKS, *PIPELINE_CHECKS)
]


@pytest.fixture
def failed_checks(tmp_path: Path) -> Callable[..., Mapping[str, str]]:
    """Run the framework checks on a plugin: which did not pass, and why.

    Without those of cells that are verified, of checkpoints and of data pipelines: what is broken when it
    is timed is mostly broken there too.
    """

    def run(plugin: object, checks: Sequence[Check] = TIMED_CHECKS) -> Mapping[str, str]:
        (tmp_path / "checks").mkdir()
        subject = FrameworkSubject(
            plugin=plugin,
            name="fake",
            folder=tmp_path / "checks",
            change_setting=one_thread_more,
            native=native_network.make,
        )
        outcomes = run_checks(checks, subject)
        return {each.check: each.message for each in outcomes if each.verdict in ("failed", "error")}

    return run
