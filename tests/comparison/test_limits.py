"""Shares of the machine's best and of a datasheet, against numbers that can be read off."""

from __future__ import annotations

from typing import Any

import pytest

from fwprof.comparison import summarize
from fwprof.records import CellSummary, Device, LibraryLimits, Peak, Reading, RunResult, WorkloadPlan

MS = 1_000_000
STEPS = [10 * MS] * 11
"""A step of 10 ms with 2 MFLOP and 1 MB is 200 MFLOP/s and 100 MB/s."""


def best(gemm: float, copy: float, **known: float) -> dict[str, Reading]:
    units = {"gemm": "FLOP/s", "copy": "bytes/s"}
    found = {"best_gemm": gemm, "best_copy": copy, **known}
    return {
        name: Reading(value=value, unit=units[name[-4:]], basis=f"lib, {name}")
        for name, value in found.items()
    }


def cells(run: RunResult) -> tuple[CellSummary, ...]:
    return summarize(run, "folder", stored={}).cells


def test_each_cell_is_held_against_the_limit_of_its_precision_and_preset(build: Any) -> None:
    plans = [
        build.plan("whole"),
        build.plan("half", precision="bfloat16"),
        build.plan("strict", settings_preset="equal"),
        build.plan("one", threads=1),
    ]
    limits = {
        "cpu/2/float32": best(1e9, 1e9),
        "cpu/2/bfloat16": best(4e9, 2e9),
        "cpu/2/float32/equal": best(0.5e9, 1e9),
    }
    by_library = {"cpu/2/float32": (LibraryLimits(library="lib", readings={}),)}
    run = build.run(
        *(build.cell(plan.id, STEPS) for plan in plans),
        plans=plans,
        limits=limits,
        limits_by_library=by_library,
    )
    found = {cell.id: cell for cell in cells(run)}
    shares = {name: cell.metrics["share_of_best_gemm"].value for name, cell in found.items()}
    assert shares == {
        "whole": pytest.approx(20),
        "half": pytest.approx(5),
        "strict": pytest.approx(40),
        "one": None,
    }
    assert found["half"].metrics["share_of_copy"].value == pytest.approx(5)
    assert found["half"].limits == limits["cpu/2/bfloat16"]
    assert found["one"].metrics["share_of_best_gemm"].reason == "the machine's best was not measured"


def test_an_older_result_has_one_limit_for_both_presets(build: Any) -> None:
    plan = build.plan("strict", settings_preset="equal")
    (cell,) = cells(
        build.run(build.cell("strict", STEPS), plans=[plan], limits={"cpu/2/float32": best(1e9, 1e9)})
    )
    assert cell.metrics["share_of_best_gemm"].value == pytest.approx(20)


def test_the_intensity_is_flops_over_bytes(build: Any) -> None:
    own = build.plan("own", workload=WorkloadPlan(name="own"))
    first, second = cells(
        build.run(build.cell("a", STEPS), build.cell("own", STEPS), plans=[build.plan("a"), own])
    )
    intensity = first.metrics["arithmetic_intensity"]
    assert (intensity.value, intensity.unit, intensity.kind) == (2.0, "FLOP/byte", "derived")
    assert second.metrics["arithmetic_intensity"].reason == "what the model needs is not known"


def test_a_share_above_100_is_kept_and_labelled(build: Any) -> None:
    (above,) = cells(build.run(build.cell("a", STEPS), limits={"cpu/2/float32": best(0.15e9, 1e9)}))
    assert above.metrics["share_of_best_gemm"].value == pytest.approx(200 / 1.5)
    assert "above_best" in above.labels
    assert above.bound == "compute"
    (below,) = cells(build.run(build.cell("a", STEPS), limits={"cpu/2/float32": best(0.201e9, 0.101e9)}))
    assert "above_best" not in below.labels


@pytest.mark.parametrize(("now", "slower"), [(0.63e9, {"best_gemm": 0.63}), (0.81e9, {}), (2e9, {})])
def test_a_machine_far_below_its_best_is_told(build: Any, now: float, slower: dict[str, float]) -> None:
    # Copies differ by more from process to process: one of half the best says nothing of the machine.
    limits = {"cpu/2/float32": best(now, 1e9, known_gemm=1e9, known_copy=2e9)}
    (cell,) = cells(build.run(build.cell("a", STEPS), limits=limits))
    assert cell.slower_machine == pytest.approx(slower)
    assert ("slower_machine" in cell.labels) is bool(slower)


def device(**changes: Any) -> Device:
    peaks = {"float32": Peak(flops_per_s=0.5e9, source="Example datasheet, 2030")}
    return Device(**({"name": "cpu", "kind": "cpu", "title": "Example", "peaks": peaks} | changes))


def test_mfu_is_the_share_of_what_the_datasheet_promises(build: Any) -> None:
    plan = build.plan("a", device=device())
    (cell,) = cells(build.run(build.cell("a", STEPS), plans=[plan]))
    mfu = cell.metrics["mfu"]
    assert (mfu.value, mfu.unit, mfu.kind) == (pytest.approx(40), "percent", "derived")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device": device(peaks={})}, "not measured: the device plugin names no datasheet peak"),
        ({"device": device(peaks={}, no_peaks="it is split")}, "it is split"),
        ({"device": device(), "precision": "tf32"}, "the datasheet of Example names no peak in tf32"),
        ({"device": device(), "workload": WorkloadPlan(name="own")}, "what the model needs is not known"),
    ],
)
def test_without_a_peak_mfu_is_null_and_says_why(build: Any, changes: dict[str, Any], reason: str) -> None:
    (cell,) = cells(build.run(build.cell("a", STEPS), plans=[build.plan("a", **changes)]))
    assert (cell.metrics["mfu"].value, cell.metrics["mfu"].reason) == (None, reason)
