"""Reports against golden files. `FWPROF_WRITE_GOLDEN=1 pytest tests/cli/test_reports.py` rewrites them."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from fwprof.records import Comparison, MetricValue, RunResult, RunSummary
from fwprof.report.differences import differences
from fwprof.report.layout import to_markdown, to_text
from fwprof.report.sections import report

GOLDEN = Path(__file__).parent / "golden"


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("FWPROF_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("run", ["quick_set", "comparison"])
@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_report_reads_as_it_should(build: ModuleType, run: str, width: int) -> None:
    text = to_text(report(*getattr(build, run)()), width)
    check(f"{run}-{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("run", ["quick_set", "comparison"])
def test_a_report_as_markdown_reads_as_it_should(build: ModuleType, run: str) -> None:
    check(f"{run}.md", to_markdown(report(*getattr(build, run)())))


def test_differences_between_runs_read_as_they_should(build: ModuleType) -> None:
    result, summary = build.quick_set()
    slower = msgspec.structs.replace(
        summary.cells[0], metrics=build.times(451, (120, 118, 122), (150, 145, 155), (181, 176, 186))
    )
    after = msgspec.structs.replace(summary, cells=(slower, summary.cells[1]))
    why = "the interval excludes 1 (5 and 5 sessions, 2 cells judged at once)"
    comparisons = [
        Comparison(
            metric="step_time", a="mlp-1", b="mlp-1", ratio=1.095, ci95=(1.071, 1.118), noise_floor=0.021,
            verdict="slower", why=why, labels=("floor_unknown",),
        ),
        Comparison(
            metric="step_time", a="lenet-1", b="lenet-1", ratio=None, ci95=None, noise_floor=None,
            verdict="not comparable", why="lenet-1 is in the first run only",
        ),
    ]  # fmt: skip
    sections = differences((result, result), (summary, after), comparisons, [("step_time>+5%", "fail")])
    check("differences-100.txt", to_text(sections, 100))


def test_a_run_of_which_nothing_was_measured_still_says_why(build: ModuleType) -> None:
    result = build.run_result((build.cell_plan("a", "mlp", "alpha:graph"), build.failed_cell("a")))
    cell = build.cell_summary("a", "mlp", "alpha", None, fate="unsupported", settings={}, versions={})
    text = to_text(report(result, build.summary(cell)), 100)
    assert "alpha:graph: unsupported in stage import: mode graph needs a C++ compiler" in text
    assert "install g++" in text
    assert "step p50" not in text


def test_verdicts_without_equivalence_recommend_nothing_and_say_why(build: ModuleType) -> None:
    result, summary = build.comparison()
    text = to_text(report(result, msgspec.structs.replace(summary, recommendations=())), 100)
    assert "recommended     nothing: that is done only among cells shown to do the same work" in text
    quiet = msgspec.structs.replace(summary, recommendations=(), comparisons=summary.comparisons[:1])
    assert "recommended" not in to_text(report(result, quiet), 100)


def test_own_loops_stand_beside_the_step_and_not_in_the_table(build: ModuleType) -> None:
    result, summary = build.quick_set()
    first, *others = summary.cells
    step = first.metrics["step_time"].p50
    loops = {
        "api_time.fit": MetricValue(unit="ns", p50=1.4 * step),
        "api_time.train_on_batch": MetricValue(unit="ns", p50=1.1 * step),
    }
    cell = msgspec.structs.replace(first, metrics={**first.metrics, **loops})
    text = to_text(report(result, msgspec.structs.replace(summary, cells=(cell, *others))), 100)
    assert "own loop        mlp: fit 1.4 × and train_on_batch 1.1 × the step" in text


def test_a_first_step_that_compiled_nothing_says_so(build: ModuleType) -> None:
    result, summary = build.quick_set()
    first, *others = summary.cells
    nothing = MetricValue(unit="ns", kind="derived", value=-20_000)
    cell = msgspec.structs.replace(first, metrics={**first.metrics, "compile_time": nothing})
    text = to_text(report(result, msgspec.structs.replace(summary, cells=(cell, *others))), 100)
    assert "18 ms      ~ 0" in text


def test_a_run_without_cells_says_what_was_not_there(build: ModuleType) -> None:
    result: RunResult = build.run_result(unavailable={"device gamma": "no driver is loaded"})
    empty: RunSummary = build.summary()
    text = to_text(report(result, empty), 100)
    assert "nothing that can run here" in text
    assert "device gamma: no driver is loaded" in text
