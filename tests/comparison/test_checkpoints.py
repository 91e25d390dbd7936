"""What a restored checkpoint is worth: the same next losses, or why not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fwprof.comparison.checkpoints import checkpoint_metrics, judge_checkpoints
from fwprof.comparison.labels import labels_of
from fwprof.plugin import layers
from fwprof.records import CellResult, Checkpoint, CheckpointSummary, RestoredCheckpoint, SavedCheckpoint
from fwprof.testing.samples import WORKLOAD, sample_cell, sample_result
from fwprof.workloads import plan_workload

DROPPING = replace(
    WORKLOAD,
    layers=(layers.Dense(units=8), layers.BatchNorm(), layers.Dropout(rate=0.5), layers.Dense(units=5)),
    optimizer=layers.Adam(learning_rate=0.01),
)
LOSSES, OUTPUTS = (1.0, 0.5), (0.25, -0.125)


def checkpoint(
    *, saved: dict[str, Any] | None = None, restored: dict[str, Any] | None = None, has_restored: bool = True
) -> Checkpoint:
    held = {"holds": ("parameters", "statistics", "optimizer"), "save_ns": (3, 5, 4), "size_bytes": 1000}
    found = {"restore_ns": (9, 7, 8), "losses": LOSSES, "outputs": OUTPUTS}
    return Checkpoint(
        saved=SavedCheckpoint(format="npz", **{**held, **(saved or {})}),
        restored=RestoredCheckpoint(format="npz", **{**found, **(restored or {})}) if has_restored else None,
        losses=LOSSES,
        outputs=OUTPUTS,
    )


def judged(one: Checkpoint, workload: Any = WORKLOAD) -> CheckpointSummary:
    plan = sample_cell(workload=plan_workload(workload, 16))
    (found,) = judge_checkpoints(CellResult(id=plan.id, fate="ok", checkpoints=(one,)), plan)
    return found


def test_the_same_losses_are_bit_equal() -> None:
    found = judged(checkpoint())
    assert (found.next_losses, found.loss_error, found.lacks, found.is_sound) == ("bit-equal", 0.0, (), True)


def test_another_order_of_sums_is_rounding() -> None:
    found = judged(checkpoint(restored={"losses": (1.0, 0.5 + 1e-6)}))
    assert found.next_losses == "within rounding"
    assert found.loss_error == pytest.approx(1e-6)
    assert found.is_sound


def test_what_differs_without_a_reason_is_not_sound() -> None:
    found = judged(checkpoint(restored={"losses": (1.0, 0.6)}))
    assert (found.next_losses, found.is_sound) == ("differ", False)
    assert found.loss_error == pytest.approx(0.1)
    assert found.why == "by what the format says it holds they should not"


def test_what_is_not_saved_explains_a_difference() -> None:
    found = judged(checkpoint(restored={"losses": (1.0, 0.6)}), DROPPING)
    assert (found.next_losses, found.lacks, found.is_sound) == ("differ", ("random_state",), True)
    assert found.why == "random state is not saved"


def test_several_parts_that_are_not_saved_are_named() -> None:
    one = checkpoint(saved={"holds": ("parameters", "statistics")}, restored={"losses": (2.0, 3.0)})
    assert judged(one, DROPPING).why == "optimizer and random state are not saved"


def test_dropout_hides_no_restore_that_brings_nothing_back() -> None:
    found = judged(checkpoint(restored={"losses": (1.0, 0.6), "outputs": (0.2, 0.1)}), DROPPING)
    assert (found.next_losses, found.is_sound) == ("differ", False)
    assert found.why == "so do the outputs right after the restore, which follow from the weights alone"


def test_statistics_that_are_not_saved_explain_other_outputs_too() -> None:
    one = checkpoint(saved={"holds": ("parameters",)}, restored={"losses": (1.0, 0.6), "outputs": (0.2, 0.1)})
    assert judged(one, DROPPING).is_sound


def test_a_format_that_this_mode_has_not_is_sound_and_one_that_failed_is_not() -> None:
    refused = judged(checkpoint(saved={"reason": "a graph", "is_unsupported": True}, has_restored=False))
    assert (refused.next_losses, refused.why, refused.is_sound) == ("not compared", "a graph", True)
    failed = judged(checkpoint(restored={"reason": "ValueError: damaged"}))
    assert (failed.next_losses, failed.why, failed.is_sound) == ("not compared", "ValueError: damaged", False)
    lost = judged(checkpoint(has_restored=False))
    assert (lost.why, lost.is_sound) == ("the process that restores ended early", False)


def test_metrics_are_medians_and_the_size() -> None:
    plan = sample_cell()
    found = checkpoint_metrics(CellResult(id=plan.id, fate="ok", checkpoints=(checkpoint(),)))
    assert (found["save_time.npz"].p50, found["save_time.npz"].count) == (4, 3)
    assert (found["restore_time.npz"].p50, found["restore_time.npz"].unit) == (8, "ns")
    assert (found["checkpoint_bytes.npz"].value, found["checkpoint_bytes.npz"].unit) == (1000, "bytes")


def test_a_metric_that_is_not_there_says_why() -> None:
    plan = sample_cell()
    failed = checkpoint(saved={"save_ns": (), "size_bytes": None, "reason": "a graph"}, has_restored=False)
    found = checkpoint_metrics(CellResult(id=plan.id, fate="ok", checkpoints=(failed,)))
    assert {one.reason for one in found.values()} == {"a graph"}
    nothing = checkpoint_metrics(CellResult(id=plan.id, fate="ok"))
    assert {one.reason for one in nothing.values()} == {"--checkpoints measures it"}


@pytest.mark.parametrize(
    ("one", "label"),
    [
        (checkpoint(restored={"losses": (1.0, 0.6)}), "checkpoint_differs"),
        (checkpoint(saved={"reason": "OSError: full"}), "checkpoint_failed"),
        (checkpoint(), None),
    ],
)
def test_what_is_wrong_earns_a_label(one: Checkpoint, label: str | None) -> None:
    result = sample_result()
    good, *others = result.cells
    result = replace(result, cells=(replace(good, checkpoints=(one,)), *others))
    labels = [name for name in labels_of(result)[good.id] if name.startswith("checkpoint")]
    assert labels == ([label] if label else [])
