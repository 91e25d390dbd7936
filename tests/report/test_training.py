"""Training in tables and words: curves on one scale, and what is left out where it cannot be shown."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec

from fwprof.records import MetricValue, NativeModel, RunRequest, TargetTime, TrainingPoint, WorkloadPlan
from fwprof.report.layout import to_text
from fwprof.report.sections import report
from fwprof.report.training import sparkline


def test_a_curve_runs_from_the_lowest_to_the_highest_block_of_its_scale() -> None:
    assert sparkline([0.0, 0.5, 1.0], 0.0, 1.0) == "▁▅█"
    assert sparkline([0.4, 0.6], 0.0, 1.0) == "▄▅"
    assert sparkline([0.7], 0.7, 0.7) == "▁"


def test_a_long_curve_keeps_its_ends() -> None:
    curve = sparkline([0.0] * 500 + [1.0], 0.0, 1.0)
    assert len(curve) == 24
    assert curve == "▁" * 23 + "█"


def test_all_cells_of_a_workload_share_one_scale(build: ModuleType) -> None:
    text = to_text(report(*build.comparison()), 140)
    # The lower framework starts lowest, the higher one ends highest: no curve is stretched to its own ends.
    assert "alpha:eager  validation          71.9 %  96.9 %  96.9 %  ▁▄▆▇▇▇▇▇██" in text
    assert "beta:eager   validation          70.0 %  95.0 %  95.0 %  ▁▄▆▆▇▇▇▇▇▇" in text
    assert "one scale: accuracy 70.0 % (▁) to 98.9 % (█)" in " ".join(text.split())


def test_where_blocks_cannot_be_shown_there_are_no_curves(build: ModuleType) -> None:
    text = to_text(report(*build.comparison(), has_blocks=False), 140)
    assert "accuracy first" in text
    assert not set("▁▂▃▄▅▆▇█") & set(text)
    assert "curve" not in text


def test_several_workloads_name_a_scale_each(build: ModuleType) -> None:
    result, summary = build.quick_set()
    first, second = summary.cells
    second = msgspec.structs.replace(second, training=build.training(3, 0.6))
    text = to_text(report(result, msgspec.structs.replace(summary, cells=(first, second))), 100)
    flat = " ".join(text.split())
    assert "curves of mlp on one scale: accuracy 72.0 %" in flat
    assert "curves of lenet on one scale: accuracy 35.0 %" in flat


def test_beside_another_workload_a_regression_has_no_scale_of_accuracy(build: ModuleType) -> None:
    result, summary = build.quick_set()
    first, second = summary.cells
    points = tuple(TrainingPoint(epoch=1, split=split, loss=3.0) for split in ("train", "validation"))
    second = msgspec.structs.replace(second, training=points, targets=())
    text = to_text(report(result, msgspec.structs.replace(summary, cells=(first, second))), 200)
    assert "curves of lenet on one scale: loss 3.00 (▁) to 3.00 (█)." in " ".join(text.split())


def test_a_regression_has_its_loss_and_nothing_else(build: ModuleType) -> None:
    result, summary = build.quick_set()
    points = tuple(
        TrainingPoint(epoch=epoch, split=split, loss=3.0 / epoch)
        for epoch in (1, 2)
        for split in ("train", "validation")
    )
    cell = msgspec.structs.replace(summary.cells[0], training=points, targets=())
    text = to_text(report(result, msgspec.structs.replace(summary, cells=(cell,))), 100)
    assert "loss first  last  best  curve" in text
    assert "3.00  1.50  1.50  █▁" in text
    assert "accuracy" not in text
    assert "F1" not in text


def target_line(build: ModuleType, **changes: Any) -> str:
    result, summary = build.quick_set()
    cell = msgspec.structs.replace(summary.cells[0], **changes)
    text = to_text(report(result, msgspec.structs.replace(summary, cells=(cell,))), 140)
    (line,) = (line for line in text.splitlines() if line.startswith("95 % accuracy"))
    return line


def test_the_way_to_the_target_is_told_with_its_epochs(build: ModuleType) -> None:
    assert target_line(build).endswith("mlp: after 94 ms of training, 7 epochs")


def test_a_target_that_was_missed_says_how_the_others_fared(build: ModuleType) -> None:
    reason = "1 of 3 seeds did not reach 95 % in 20 epochs"
    metrics = build.MLP | {"time_to_accuracy": MetricValue(unit="ns", reason=reason)}
    targets = tuple(
        TargetTime(seed=seed, epoch=seed and 4, duration_ns=seed and seed * 10**7) for seed in (1, 2)
    )
    missed = TargetTime(seed=3, epoch=None, duration_ns=None, reason="did not reach it")
    line = target_line(build, metrics=metrics, targets=(*targets, missed))
    assert line.endswith(f"mlp: {reason}; the others took 10 ms to 20 ms")
    assert target_line(build, metrics=metrics, targets=(missed,)).endswith(f"mlp: {reason}")


def test_models_of_the_users_own_are_said_not_to_have_been_trained(build: ModuleType) -> None:
    native = WorkloadPlan(name="net", native=NativeModel(factory="net.py:make"))
    own = msgspec.structs.replace(build.cell_plan("b", "net", "beta"), workload=native)
    result = build.run_result(
        (build.cell_plan("a", "mlp", "alpha"), build.cell_result("a")),
        (own, build.cell_result("b")),
        request=RunRequest(epochs=3),
    )
    cells = (
        build.cell_summary("a", "mlp", "alpha", "eager", training=build.training(3, 0.9), metrics=build.MLP),
        build.cell_summary("b", "net", "beta", "eager", metrics=build.MLP),
    )
    text = to_text(report(result, build.summary(*cells)), 140)
    assert "net: not trained, a model of your own brings no data set" in text
