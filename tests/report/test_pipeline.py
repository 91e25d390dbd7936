"""The table of loops through data pipelines."""

from __future__ import annotations

from typing import Any

import msgspec

from fwprof.records import DataLoop, MetricValue, PipelineRun
from fwprof.report.layout import to_text
from fwprof.report.sections import report


def told(build: Any, stall: MetricValue, steps: int = 16, width: int = 140) -> str:
    result, summary = build.quick_set()
    first, *others = summary.cells
    loop = DataLoop(number=1, steps=steps, start_ns=1, loop_ns=2, staged_ns=1)
    run = PipelineRun(
        basis="DataLoader, 2 workers (fork)",
        sample_count=1030,
        data_bytes=12_600_000,
        epoch_steps=16,
        loops=(loop,),
    )
    metrics = {
        "data_stall": stall,
        "pipeline_epoch_time": MetricValue(unit="ns", p50=21.4e6, ci95=(20.9e6, 22.0e6)),
        "pipeline_throughput": MetricValue(unit="samples/s", p50=47_850, ci95=(46_500, 49_000)),
        "pipeline_peak": MetricValue(unit="bytes", value=512_000_000),
    }
    cell = msgspec.structs.replace(first, pipeline=run, metrics={**first.metrics, **metrics})
    changed = msgspec.structs.replace(summary, cells=(cell, *others))
    return to_text(report(result, changed), width)


def test_a_row_says_what_an_epoch_takes_and_what_waiting_adds(build: Any) -> None:
    text = told(build, MetricValue(unit="ns", p50=212_000, ci95=(180_000, 244_000)))
    (row,) = [line for line in text.splitlines() if "DataLoader" in line]
    for part in ("mlp", "64", "2 workers (fork)", "21.4 ms", "48 k", "0.21 ms", "512 MB", "13 MB"):
        assert part in row, row
    assert "lenet" not in row


def test_a_stall_that_may_be_nothing_is_a_bound(build: Any) -> None:
    assert "< 44 µs" in told(build, MetricValue(unit="ns", p50=12_000, ci95=(-20_000, 44_000)))
    assert "~ 0" in told(build, MetricValue(unit="ns", p50=-12_000, ci95=(-20_000, -4_000)))


def test_loops_that_were_cut_say_so(build: Any) -> None:
    stall = MetricValue(unit="ns", p50=212_000, ci95=(180_000, 244_000))
    assert "Loops of" not in told(build, stall)
    text = " ".join(told(build, stall, steps=4).split())
    assert "Loops of 4 of 16 steps (an epoch is told from them): mlp." in text


def test_a_run_without_loops_has_no_such_table(build: Any) -> None:
    assert "data pipeline" not in to_text(report(*build.quick_set()), 140)
