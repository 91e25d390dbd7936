"""`fwprof doctor`: fit, or what is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fwprof.testing.installed import FAKES, FakeDistribution, installed

BROKEN = FakeDistribution(
    name="fwprof-broken",
    entry_points={"fwprof.meters": {"broken": "fwprof_broken_meter"}},
    modules={"fwprof_broken_meter": "raise ImportError('a library is missing')\n"},
)


def doctor(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fwprof.cli.main", "doctor"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "FWPROF_STATE": str(tmp_path / "state"), "COLUMNS": "140"},
        timeout=300,
    )


def test_a_machine_with_a_framework_and_a_device_is_fit(tmp_path: Path) -> None:
    with installed(tmp_path / "fakes"):
        done = doctor(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "framework fake (fwprof-fakes 1.0): ready" in done.stdout
    assert "fakecard:1: Fake card 1" in done.stdout
    assert "fit to run" in done.stdout
    assert str(tmp_path / "state") in done.stdout


def test_a_plugin_that_cannot_be_imported_is_named_with_the_reason(tmp_path: Path) -> None:
    with installed(tmp_path / "fakes", FAKES, BROKEN):
        done = doctor(tmp_path)
    assert done.returncode == 5
    assert "meter broken (fwprof-broken 1.0): broken: ImportError: a library is missing" in done.stdout
    assert "not fit to run" in done.stdout
