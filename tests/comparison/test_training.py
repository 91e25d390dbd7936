"""What training passes gave: times by the epoch, the way to a target, and curves beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fwprof.comparison import compare_runs, summarize
from fwprof.comparison.training import agreements, targets_of, training_metrics
from fwprof.records import (
    CellPlan,
    CellResult,
    CurveAgreement,
    EpochTimes,
    Equivalence,
    NativeModel,
    RunRequest,
    RunResult,
    TrainingPoint,
    WorkloadPlan,
)

MS = 1_000_000
Curves = Mapping[int, Sequence[float]]


def cell(name: str, curves: Curves, **changes: Any) -> CellResult:
    """Return a cell that trained: seed → validation accuracy by the epoch; an epoch takes 10 ms."""
    points, times = [], []
    for seed, curve in curves.items():
        for epoch, accuracy in enumerate(curve, start=1):
            first_loss = changes.get("first_loss", 2.0) if epoch == 1 else 1.0
            points += [
                TrainingPoint(epoch=epoch, split="train", loss=1.0, seed=seed, first_loss=first_loss),
                TrainingPoint(
                    epoch=epoch, split="validation", loss=1 - accuracy, accuracy=accuracy, seed=seed
                ),
            ]
            times.append(
                EpochTimes(
                    epoch=epoch,
                    seed=seed,
                    train_ns=(30 if epoch == 1 else 10 + seed) * MS,
                    predict_ns=(3 * MS, 2 * MS, 1 * MS),
                    full_batch_count=2,
                )
            )
    return CellResult(
        id=name,
        fate=changes.get("fate", "ok"),
        training=tuple(points),
        epoch_times=tuple(times),
    )


def request(**changes: Any) -> RunRequest:
    return RunRequest(**{"epochs": 4, "target_accuracy": 0.9, **changes})


@pytest.fixture
def plan(build: Any) -> CellPlan:
    made: CellPlan = build.plan("a")
    return made


def metrics(plan: CellPlan, curves: Curves, **changes: Any) -> Any:
    found = training_metrics(cell("a", curves), plan, request(**changes))
    return SimpleNamespace(**found)


def test_times_are_medians_of_the_epochs_after_the_first(plan: CellPlan) -> None:
    found = metrics(plan, {0: [0.5, 0.6, 0.7, 0.8], 1: [0.5, 0.6, 0.7, 0.8]}, training_seeds=2)
    assert (found.epoch_time.p50, found.epoch_time.count) == (10.5 * MS, 6)
    assert (found.first_epoch_time.p50, found.first_epoch_time.count) == (30 * MS, 2)
    assert found.evaluate_time.p50 == 6 * MS
    # The last, smaller batch is no batch.
    assert (found.predict_time.p50, found.predict_time.count) == (2.5 * MS, 12)


def test_one_epoch_is_the_first_and_nothing_else(plan: CellPlan) -> None:
    found = metrics(plan, {0: [0.5]}, epochs=1)
    assert found.first_epoch_time.p50 == 30 * MS
    assert found.epoch_time.p50 is None
    assert found.epoch_time.reason == "one epoch was trained, and the first stands apart"
    assert found.predict_time.reason == found.epoch_time.reason


def test_a_split_smaller_than_a_batch_has_no_batch_to_predict(plan: CellPlan) -> None:
    one = cell("a", {0: [0.5, 0.6]})
    times = tuple(msgspec.structs.replace(times, full_batch_count=0) for times in one.epoch_times)
    found = training_metrics(msgspec.structs.replace(one, epoch_times=times), plan, request())
    assert found["predict_time"].reason == "the validation split is smaller than a batch"
    assert found["evaluate_time"].p50 == 6 * MS


@pytest.mark.parametrize(
    ("changes", "fate", "expected"),
    [
        ({"epochs": 0}, "ok", "nothing was trained: no --epochs"),
        ({}, "killed", "the cell is killed"),
        ({}, "ok", "no epoch was trained"),
    ],
)
def test_where_nothing_was_trained_every_metric_says_why(
    plan: CellPlan, changes: Any, fate: str, expected: str
) -> None:
    found = training_metrics(cell("a", {}, fate=fate), plan, request(**changes))
    assert {metric.reason for metric in found.values()} == {expected}


def test_a_model_of_the_users_own_has_no_data_set(plan: CellPlan) -> None:
    native = WorkloadPlan(name="net", native=NativeModel(factory="net.py:make"))
    own = msgspec.structs.replace(plan, workload=native)
    found = training_metrics(cell("a", {}), own, request())
    reason = "a model of the user's own brings batches and no data set to train on"
    assert {metric.reason for metric in found.values()} == {reason}


def test_the_way_to_the_target_adds_up_the_training_parts_of_its_epochs(plan: CellPlan) -> None:
    curves = {0: [0.5, 0.89, 0.9, 0.8], 1: [0.91, 0.5, 0.5, 0.5], 2: [0.5, 0.95, 0.96, 0.97]}
    found = targets_of(cell("a", curves), plan, request(training_seeds=3))
    assert [(one.seed, one.epoch, one.duration_ns) for one in found] == [
        (0, 3, 50 * MS), (1, 1, 30 * MS), (2, 2, 42 * MS),
    ]  # fmt: skip
    metric = metrics(plan, curves, training_seeds=3).time_to_accuracy
    assert (metric.p50, metric.count) == (42 * MS, 3)


def test_a_share_that_was_rounded_still_reaches_the_target(plan: CellPlan) -> None:
    (found,) = targets_of(cell("a", {0: [0.1 + 0.2]}), plan, request(target_accuracy=0.3))
    assert found.epoch == 1
    (found,) = targets_of(cell("a", {0: [0.7 + 0.1]}), plan, request(target_accuracy=0.8))
    assert found.epoch == 1  # 0.7 + 0.1 is 0.7999999999999999


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ({0: [0.5, 0.6, 0.7, 0.85]}, "did not reach 90 % in 4 epochs (best 85 %)"),
        ({0: [0.5, 0.6]}, "ended after epoch 2 of 4"),
        (
            {0: [0.9] * 4, 1: [0.8] * 4, 2: [0.8] * 4},
            "2 of 3 seeds did not reach 90 % in 4 epochs",
        ),
        ({0: [0.9] * 4, 1: [0.8, 0.8]}, "1 of 2 seeds did not train to the end"),
        (
            {0: [0.9] * 4, 1: [0.8] * 4, 2: []},
            "1 of 3 seeds did not reach 90 % in 4 epochs, 1 of 3 seeds did not train to the end",
        ),
    ],
)
def test_without_the_target_in_every_seed_there_is_no_time_and_the_reason_says_so(
    plan: CellPlan, curves: Curves, expected: str
) -> None:
    metric = metrics(plan, curves, training_seeds=len(curves)).time_to_accuracy
    assert (metric.p50, metric.reason) == (None, expected)


def test_a_seed_that_ended_after_the_target_reached_it(plan: CellPlan) -> None:
    assert metrics(plan, {0: [0.5, 0.95]}).time_to_accuracy.p50 == 40 * MS


def test_without_a_target_nobody_asked_for_a_time(plan: CellPlan) -> None:
    metric = metrics(plan, {0: [0.9]}, target_accuracy=None).time_to_accuracy
    assert metric.reason == "no target was set: --target-accuracy, or target_accuracy of the workload"
    assert targets_of(cell("a", {0: [0.9]}), plan, request(target_accuracy=None)) == ()


def test_a_regression_reaches_no_accuracy(plan: CellPlan) -> None:
    one = cell("a", {0: [0.5] * 4, 1: [0.5] * 4})
    points = tuple(msgspec.structs.replace(point, accuracy=None) for point in one.training)
    found = training_metrics(msgspec.structs.replace(one, training=points), plan, request(training_seeds=2))
    assert found["time_to_accuracy"].reason == "the loss of this workload has no accuracy"


def agreed(build: Any, *cells: CellResult, **changes: Any) -> CurveAgreement | None:
    found = agreements(asked(build.run(*cells), **changes))
    return found[0] if found else None


def asked(result: RunResult, **changes: Any) -> RunResult:
    plan = msgspec.structs.replace(result.plan, request=request(**changes))
    return msgspec.structs.replace(result, plan=plan)


def test_curves_that_coincide_are_said_to_be_the_same(build: Any) -> None:
    found = agreed(build, cell("a", {0: [0.5, 0.9]}), cell("b", {0: [0.4, 0.9]}), epochs=2)
    assert found is not None
    assert (found.cells, found.difference, found.spread, found.start_difference) == (("a", "b"), 0, None, 0)
    assert found.conclusion == "the first step's loss is equal, the final validation accuracy is the same"


def test_a_cell_that_does_other_work_is_named(build: Any) -> None:
    other = msgspec.structs.replace(
        cell("b", {0: [0.8]}), equivalence=Equivalence(status="not_equivalent", first_difference="the loss")
    )
    found = agreed(build, cell("a", {0: [0.9]}), other, epochs=1)
    assert found is not None
    assert found.conclusion.endswith("; b does not compute the same")


def test_one_seed_cannot_say_what_another_would_change(build: Any) -> None:
    cells = (cell("a", {0: [0.9]}), cell("b", {0: [0.925]}, first_loss=2.000002), cell("c", {0: [0.91]}))
    found = agreed(build, *cells, epochs=1)
    assert found is not None
    assert found.between == ("a", "b")
    assert found.difference == pytest.approx(0.025)
    assert found.start_difference == pytest.approx(1e-6, rel=1e-3)
    assert found.conclusion == (
        "the first step's loss agrees to 1e-06, the final validation accuracy differs by 2.5 points at most,"
        " between a and b, one seed: what another one would change is not known"
    )


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((0.91, 0.93), "no more than the 4 points by which seeds differ"),
        ((0.81, 0.83), "more than the 4 points by which seeds differ"),
    ],
)
def test_several_seeds_say_whether_a_difference_is_more_than_theirs(
    build: Any, other: tuple[float, float], expected: str
) -> None:
    second = cell("b", {0: [other[0]], 1: [other[1]]})
    found = agreed(build, cell("a", {0: [0.88], 1: [0.92]}), second, epochs=1, training_seeds=2)
    assert found is not None
    assert found.spread == pytest.approx(0.04)
    assert found.conclusion.endswith(expected)
    assert "(means of 2 seeds)" in found.conclusion


def test_a_cell_that_did_not_finish_every_seed_is_not_compared(build: Any) -> None:
    whole = cell("a", {0: [0.5, 0.9], 1: [0.5, 0.9]})
    cut = cell("b", {0: [0.5, 0.9], 1: [0.5]})
    assert agreed(build, whole, cut, epochs=2, training_seeds=2) is None
    third = msgspec.structs.replace(whole, id="c")
    found = agreed(build, whole, cut, third, epochs=2, training_seeds=2)
    assert found is not None
    assert found.cells == ("a", "c")


def test_of_a_regression_the_losses_are_compared(build: Any) -> None:
    cells = []
    for name, accuracy in (("a", 0.5), ("b", 0.25)):
        one = cell(name, {0: [accuracy]})
        points = tuple(msgspec.structs.replace(point, accuracy=None) for point in one.training)
        cells.append(msgspec.structs.replace(one, training=points))
    found = agreed(build, *cells, epochs=1)
    assert found is not None
    assert (found.measure, found.difference, found.between) == ("loss", 0.25, ("a", "b"))
    assert "the final validation loss differs by 0.25 at most" in found.conclusion


def test_a_summary_holds_points_times_and_targets(build: Any) -> None:
    one = cell("a", {0: [0.5, 0.9]})
    summary = summarize(asked(build.run(one), epochs=2), "", stored={})
    (found,) = summary.cells
    assert found.training == one.training
    assert found.target_accuracy == 0.9
    assert found.targets[0].duration_ns == 40 * MS
    assert found.metrics["time_to_accuracy"].p50 == 40 * MS
    assert found.metrics["epoch_time"].p50 == 10 * MS


def test_runs_show_epochs_beside_each_other_and_never_times_to_a_target(build: Any) -> None:
    trained = [
        msgspec.structs.replace(build.cell("a"), training=one.training, epoch_times=one.epoch_times)
        for one in (cell("a", {0: [0.5, 0.9]}), cell("a", {2: [0.5, 0.9]}))
    ]
    first, second = map(build.run, trained)
    (found,) = compare_runs(first, second, metrics=["epoch_time"], stored={})
    assert (found.ratio, found.verdict) == (pytest.approx(1.2), "one process")
    (found,) = compare_runs(first, second, metrics=["time_to_accuracy"], stored={})
    assert found.verdict == "not comparable"
    assert "is only shown" in found.why
