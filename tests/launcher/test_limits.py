"""The machine's limits over runs: kept, known again, and taken over by a quick run that comes soon after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fwprof
from fwprof import events, planning
from fwprof.comparison import known_limits
from fwprof.records import RunResult
from fwprof.testing.installed import FAKES, FakeDistribution, installed

KEY = "fakecard:0/1/float32"
BARE = FakeDistribution(
    name="fwprof-bare",
    entry_points={"fwprof.frameworks": {"bare": "bare_framework:plugin"}},
    modules={
        "bare_framework": """
from fwprof.testing.fake_framework import FakeFramework

class Bare(FakeFramework):
    peak_kernels = None

plugin = Bare()
"""
    },
)


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fakes installed, and a state folder of this test's own."""
    monkeypatch.setenv("FWPROF_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(planning, "LIMITS_SECONDS", 0.05)
    (tmp_path / "installed").mkdir()
    with installed(tmp_path / "installed", FAKES, BARE):
        yield


def profile(tmp_path: Path, *, heard: list[events.Event] | None = None, **changes: Any) -> RunResult:
    request = {
        "workloads": ("mlp-small",),
        "plugins": ("fake",),
        "devices": ("fakecard:0",),
        "threads": (1,),
        "rounds": 1,
        "max_seconds": 1.0,
        "memory": False,
        "output": str(tmp_path / "runs"),
    }
    observer = heard.append if heard is not None else events.ignore
    return fwprof.profile(**(request | changes), observer=observer)


def test_each_number_of_threads_and_preset_has_a_best_of_its_own(tmp_path: Path) -> None:
    result = profile(tmp_path, threads=(1, 2), settings="equal")
    assert sorted(result.limits) == ["fakecard:0/1/float32/equal", "fakecard:0/2/float32/equal"]
    for key, readings in result.limits.items():
        (library,) = result.limits_by_library[key]
        assert library.library == "numpy"
        assert readings == library.readings
        assert readings["best_gemm"].value > 0
    assert fwprof.load(result.plan.run_id, str(tmp_path / "runs")) == result
    for cell in fwprof.summarize(result).cells:
        assert cell.metrics["share_of_best_gemm"].value is not None


def test_nothing_is_measured_for_a_precision_that_no_cell_could_compute_in(tmp_path: Path) -> None:
    result = profile(tmp_path, precisions=("float32", "bfloat16"))
    assert [cell.fate for cell in result.cells] == ["ok", "unsupported"]
    assert list(result.limits) == [KEY]


def test_what_a_session_gave_is_known_to_the_next(tmp_path: Path) -> None:
    first = profile(tmp_path)
    assert set(first.limits[KEY]) == {"best_gemm", "best_copy"}
    (line,) = known_limits.recall()
    assert (line.run, line.limits) == (first.plan.run_id, first.limits_by_library[KEY][0])
    # The machine was once a thousand times as fast.
    gemm = line.limits.readings["best_gemm"]
    faster = {"best_gemm": msgspec.structs.replace(gemm, value=1000 * gemm.value)}
    known_limits.remember(
        [msgspec.structs.replace(line, limits=msgspec.structs.replace(line.limits, readings=faster))]
    )
    second = profile(tmp_path)
    assert second.limits[KEY]["known_gemm"].value == 1000 * gemm.value
    assert second.limits_by_library[KEY][0].run == ""
    (cell,) = fwprof.summarize(second).cells
    assert "slower_machine" in cell.labels
    assert cell.slower_machine["best_gemm"] < 0.1
    assert len(known_limits.recall()) == 3


def test_a_quick_run_takes_over_what_was_measured_just_before_and_says_so(tmp_path: Path) -> None:
    first = profile(tmp_path)
    quick = profile(tmp_path, budget="quick")
    (library,) = quick.limits_by_library[KEY]
    assert library.run == first.plan.run_id
    assert quick.limits[KEY]["best_gemm"].value == first.limits[KEY]["best_gemm"].value
    assert quick.limits[KEY]["best_gemm"].basis.endswith(", 1 min before this run")
    assert len(known_limits.recall()) == 1
    # A run that is not quick measures.
    assert profile(tmp_path).limits_by_library[KEY][0].run == ""


def test_limits_that_cannot_be_kept_are_told_and_the_run_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FWPROF_STATE", str(tmp_path / "file"))
    heard: list[events.Event] = []
    result = profile(tmp_path, heard=heard)
    assert result.limits[KEY]["best_gemm"].value > 0
    warned = [event.message for event in heard if isinstance(event, events.Warned)]
    assert any("what this machine's limits were before cannot be kept" in message for message in warned)


def test_a_framework_without_kernels_is_a_reason_and_nothing_to_know(tmp_path: Path) -> None:
    result = profile(tmp_path, plugins=("bare",))
    reading = result.limits[KEY]["best_gemm"]
    assert (reading.value, reading.reason) == (None, "no library offered a kernel for this device")
    assert known_limits.recall() == []
    (cell,) = fwprof.summarize(result).cells
    assert cell.metrics["share_of_best_gemm"].reason == reading.reason
