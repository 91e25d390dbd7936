"""What a report says of limits: each sentence where it is due, and nowhere else."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec

from fwprof.records import Device, MetricValue, Peak, Reading, ResolvedLayer, WorkloadPlan
from fwprof.records import workload as kinds
from fwprof.report.limits import limits_rows
from fwprof.report.names import CellNames

BEST = {
    "best_gemm": Reading(value=412e9, unit="FLOP/s", basis="lib 2, 1024 x 1024"),
    "best_copy": Reading(value=20e9, unit="bytes/s", basis="lib 2, 64 MiB"),
}
CONVOLUTION = ResolvedLayer(
    path="0",
    layer=kinds.Conv2d(filters=2, size=3),
    input_shape=(4, 4, 1),
    output_shape=(4, 4, 2),
    parameters={},
)


def percent(value: float | None) -> MetricValue:
    return MetricValue(unit="percent", kind="derived", value=value)


def rows(build: ModuleType, *cells: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, str]:
    """Rows of a report on one workload a cell: (changes of the plan, changes of the summary) each."""
    plans = [
        msgspec.structs.replace(build.cell_plan(f"c{number}", f"w{number}", "alpha"), **changes)
        for number, (changes, _) in enumerate(cells)
    ]
    result = build.run_result(*((plan, build.cell_result(plan.id)) for plan in plans))
    summaries = [
        build.cell_summary(plan.id, plan.workload.name, "alpha", "eager", precision=plan.precision, **changes)
        for plan, (_, changes) in zip(plans, cells, strict=True)
    ]
    found: dict[str, str] = {}
    last = ""
    for title, text in limits_rows(result, summaries, CellNames(result, summaries)):
        last = title or last
        found[last] = f"{found[last]} | {text}" if last in found else text
    return found


def test_a_cell_without_limits_has_no_row(build: ModuleType) -> None:
    assert rows(build, ({}, {})) == {}


def test_what_the_shares_are_of_stands_beside_them(build: ModuleType) -> None:
    metrics = {
        "share_of_best_gemm": percent(62.0),
        "share_of_copy": percent(12.0),
        "arithmetic_intensity": MetricValue(unit="FLOP/byte", value=31.4),
    }
    assert rows(build, ({}, {"bound": "compute", "metrics": metrics, "limits": BEST})) == {
        "what bounds it": "compute: w0 62 % of the best matrix product here",
        "machine's best": "412 GFLOP/s (lib 2, 1024 x 1024) and 20 GB/s copied (lib 2, 64 MiB)",
        "intensity": "w0 31 FLOP/byte; below 21 bytes take this machine longer than products",
    }


def test_two_precisions_have_two_bests(build: ModuleType) -> None:
    faster = {"best_gemm": Reading(value=900e9, unit="FLOP/s", basis="lib 2, 2048 x 2048")}
    found = rows(build, ({}, {"limits": BEST}), ({"precision": "bfloat16"}, {"limits": faster}))
    assert found["machine's best"] == (
        "cpu/2/float32: 412 GFLOP/s (lib 2, 1024 x 1024) and 20 GB/s copied (lib 2, 64 MiB)"
        " | cpu/2/bfloat16: 900 GFLOP/s (lib 2, 2048 x 2048)"
    )


def test_a_share_above_100_is_explained_by_what_the_model_is_made_of(build: ModuleType) -> None:
    metrics = {"share_of_best_gemm": percent(115.0), "share_of_copy": percent(180.0)}
    images = {"workload": WorkloadPlan(name="w0", layers=(CONVOLUTION,))}
    dense = {"workload": WorkloadPlan(name="w1")}
    above = rows(build, (images, {"metrics": metrics}), (dense, {"metrics": metrics}))["above 100 %"]
    first, second, third, fourth = above.split(" | ")
    assert first.startswith("w0, 115 % of the best matrix product: convolutions by Winograd's method or FFT")
    assert second.startswith("w0, 180 % of the best copy: bytes are counted as if nothing stayed in a cache")
    assert third.startswith("w1, 115 % of the best matrix product: its products are of shapes that run")
    assert fourth.startswith("w1, 180 % of the best copy")
    below = {"share_of_best_gemm": percent(100.0), "share_of_copy": percent(None)}
    assert "above 100 %" not in rows(build, (images, {"metrics": below}))


def test_mfu_names_its_peak_and_the_datasheet(build: ModuleType) -> None:
    peak = Peak(flops_per_s=312e12, source="Example datasheet, 2030")
    card = Device(name="cpu", kind="cpu", peaks={"bfloat16": peak})
    plan = {"device": card, "precision": "bfloat16"}
    assert rows(build, (plan, {"metrics": {"mfu": percent(41.0)}}))["mfu"] == (
        "w0 41 % of 312 TFLOP/s in bfloat16 (Example datasheet, 2030)"
    )
    split = {"device": msgspec.structs.replace(card, peaks={}, no_peaks="it is an instance")}
    assert rows(build, (split, {}), (split, {})) == {"mfu": "not measured: it is an instance"}


def test_a_slower_machine_is_told_once(build: ModuleType) -> None:
    known = Reading(value=650e9, unit="FLOP/s", basis="lib 2, 1024 x 1024, on 2030-01-01")
    slower = {"limits": BEST | {"known_gemm": known}, "slower_machine": {"best_gemm": 0.634}}
    assert rows(build, ({}, slower), ({}, slower))["slower machine"] == (
        "cpu gives 63 % of the best matrix product it gave before (lib 2, 1024 x 1024, on 2030-01-01): "
        "it is shared, or throttled"
    )
