"""The inputs that cells are verified with, and the answers that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fwprof.errors import StoreError
from fwprof.workloads import find_workload, plan_workload
from fwprof.workloads.answers import Answers, check_samples, load_answers, save_answers, write_check_inputs
from fwprof.workloads.inputs import read_inputs


def test_no_bias_scale_or_statistic_is_where_training_starts(tmp_path: Path) -> None:
    text = """
name: small
input: {shape: [6], dtype: int64}
layers:
  - {kind: embedding, vocabulary: 30, units: 4}
  - {kind: lstm, units: 3}
  - {kind: batch_norm}
  - {kind: dense, units: 2}
classes: 2
optimizer: {kind: adam, learning_rate: 1e-3}
"""
    (tmp_path / "small.yaml").write_text(text)
    plan = plan_workload(find_workload(str(tmp_path / "small.yaml")), 64)
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_check_inputs(plan, 0, folder)
    loaded = read_inputs(folder, plan)
    assert {len(batch.targets) for batch in loaded.batches} == {8}
    flat = {name: value for name, value in loaded.weights.items() if value.ndim == 1}
    assert {name.rpartition(".")[2] for name in flat} == {
        "bias", "gamma", "beta", "moving_mean", "moving_variance",
    }  # fmt: skip
    for name, value in flat.items():
        assert not np.isin(value, (0.0, 1.0)).any(), name
    assert loaded.weights["2.moving_variance"].min() > 0


@pytest.mark.parametrize(
    ("name", "changes", "samples"),
    [("mlp", {}, 8), ("mlp", {"accumulate": 3}, 9), ("resnet18", {}, 2), ("resnet18", {"accumulate": 4}, 4)],
)
def test_check_batches_are_small_and_can_be_cut(name: str, changes: dict[str, int], samples: int) -> None:
    assert check_samples(plan_workload(find_workload(name, changes), 12)) == samples


def test_what_begins_at_zero_is_moved_so_that_it_hides_nothing(tmp_path: Path) -> None:
    plan = plan_workload(find_workload("finetune-lora"), 16)
    write_check_inputs(plan, 0, tmp_path)
    assert all(value.any() for value in read_inputs(tmp_path, plan).weights.values())


@pytest.mark.parametrize("name", ["mlp-small", "digits-mlp"])
def test_few_training_samples_still_fill_a_check_batch(name: str, tmp_path: Path) -> None:
    plan = plan_workload(find_workload(name, {"data.samples": 2}), 2)
    write_check_inputs(plan, 0, tmp_path)
    assert {len(batch.targets) for batch in read_inputs(tmp_path, plan).batches} == {8}


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    answers = Answers(
        outputs=numbers.random((8, 3)),
        loss=1.5,
        gradients={"4.1.kernel": numbers.random((2, 3))},
        parameters={"4.1.kernel": numbers.random((2, 3)), "4.1.bias": numbers.random(3)},
        losses=(1.5, 1.25),
        sensitivity={"4.1.kernel": 1e-3},
    )
    save_answers(answers, tmp_path)
    found = load_answers(tmp_path)
    assert (found.loss, found.losses, found.sensitivity) == (1.5, (1.5, 1.25), {"4.1.kernel": 1e-3})
    assert set(found.parameters) == {"4.1.kernel", "4.1.bias"}
    np.testing.assert_array_equal(found.gradients["4.1.kernel"], answers.gradients["4.1.kernel"])
    np.testing.assert_array_equal(found.outputs, answers.outputs)


def test_answers_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*answers\.json"):
        load_answers(tmp_path)
