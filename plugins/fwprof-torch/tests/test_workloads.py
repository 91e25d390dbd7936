"""The built-in workloads, small, as a worker builds them: those of the definitions, and they train."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwprof.testing.sweep import SAMPLED, expect_swept, sweep


def test_three_workloads_are_those_of_the_definitions(tmp_path: Path) -> None:
    expect_swept(sweep("fwprof_torch.plugin", "torch", tmp_path, workloads=SAMPLED))


@pytest.mark.sweep
@pytest.mark.parametrize("variant", ["eager", "compile"])
@pytest.mark.parametrize("is_verification", [True, False], ids=["verified", "timed"])
def test_every_workload_is_the_one_of_the_definitions(
    tmp_path: Path, variant: str, is_verification: bool
) -> None:
    found = sweep("fwprof_torch.plugin", "torch", tmp_path, variant=variant, is_verification=is_verification)
    expect_swept(found)
