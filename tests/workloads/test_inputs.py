"""A workload's numbers travel as .npy files, and a damaged file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fwprof.errors import ExitCode, RequestError, StoreError
from fwprof.records import NativeModel, WorkloadPlan
from fwprof.testing.data_files import write_mnist
from fwprof.workloads import find_workload, plan_workload
from fwprof.workloads.data import load_data
from fwprof.workloads.inputs import read_data_set, read_inputs, write_inputs
from fwprof.workloads.weights import canonical_weights


@pytest.fixture
def plan() -> WorkloadPlan:
    return plan_workload(find_workload("mlp-small", {"data.samples": 40}), 4)


@pytest.fixture
def folder(plan: WorkloadPlan, tmp_path: Path) -> Path:
    write_inputs(plan, 4, 7, tmp_path, with_data_set=True)
    return tmp_path


def test_what_was_written_is_read_back(plan: WorkloadPlan, folder: Path) -> None:
    loaded = read_inputs(folder, plan)
    assert (loaded.name, loaded.spec, loaded.layers) == (plan.name, plan.spec, plan.layers)
    expected = canonical_weights(plan.layers, 7)
    assert all(np.array_equal(loaded.weights[name], value) for name, value in expected.items())
    assert list(loaded.weights) == list(expected)
    assert plan.spec is not None
    for found, wanted in zip(loaded.batches, load_data(plan.spec, 7).batches(8, 4), strict=True):
        assert np.array_equal(found.inputs, wanted.inputs)
        assert np.array_equal(found.targets, wanted.targets)


def test_a_reader_gets_plain_arrays_that_it_may_write_to(plan: WorkloadPlan, folder: Path) -> None:
    loaded = read_inputs(folder, plan)
    arrays = [*loaded.weights.values(), loaded.batches[0].inputs, loaded.batches[0].targets]
    data = read_data_set(folder)
    for batch in (*data.batches(1, 4), *data.epoch(0, 4, 0), *data.validation_batches(3)):
        arrays += [batch.inputs, batch.targets]
    assert all(type(value) is np.ndarray and value.flags.writeable for value in arrays)


def test_the_data_set_is_read_back_mapped_not_copied(plan: WorkloadPlan, folder: Path) -> None:
    assert plan.spec is not None
    found, wanted = read_data_set(folder), load_data(plan.spec, 7)
    assert (found.name, found.is_synthetic) == ("synthetic", True)
    assert isinstance(found.train_inputs, np.memmap)
    assert np.array_equal(found.train_inputs, wanted.train_inputs)
    assert np.array_equal(found.validation_targets, wanted.validation_targets)


def test_the_bytes_of_images_travel_as_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwprof.workloads.inputs._PART", 7)  # so that it takes several parts
    mine = {"data.source": "mnist", "data.folder": str(write_mnist(tmp_path / "mine")), "data.samples": 30}
    plan = plan_workload(find_workload("mlp-small", mine), 4)
    assert plan.spec is not None
    write_inputs(plan, 4, 7, tmp_path, with_data_set=True)
    found, wanted = read_data_set(tmp_path), load_data(plan.spec, 7)
    assert (found.train_inputs.dtype, wanted.train_inputs.dtype) == (np.float32, np.uint8)
    assert np.array_equal(found.train_inputs, wanted.train_inputs / np.float32(255))
    assert np.array_equal(found.train_targets, wanted.train_targets)
    for one, other in zip(found.epoch(1, 4, 0), wanted.epoch(1, 4, 0), strict=True):
        assert np.array_equal(one.inputs, other.inputs)
    for one, other in zip(read_inputs(tmp_path, plan).batches, wanted.batches(8, 4), strict=True):
        assert np.array_equal(one.inputs, other.inputs)


def test_the_data_set_travels_only_when_asked(plan: WorkloadPlan, tmp_path: Path) -> None:
    write_inputs(plan, 4, 7, tmp_path, with_data_set=False)
    with pytest.raises(StoreError, match=r"cannot read .*train_inputs\.npy"):
        read_data_set(tmp_path)


def test_a_batch_larger_than_the_data_set_is_refused(plan: WorkloadPlan, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a batch of 41 is larger than the data set"):
        write_inputs(plan, 41, 0, tmp_path, with_data_set=False)


def test_a_missing_weights_file_is_named(plan: WorkloadPlan, folder: Path) -> None:
    (folder / "weights" / "0.kernel.npy").unlink()
    with pytest.raises(StoreError, match=r"cannot read .*0\.kernel\.npy") as caught:
        read_inputs(folder, plan)
    assert caught.value.exit_code == ExitCode.UNREADABLE


def test_weights_of_another_shape_are_refused_with_both_shapes(plan: WorkloadPlan, folder: Path) -> None:
    np.save(folder / "weights" / "0.kernel.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(StoreError, match=r"0\.kernel\.npy does not fit the workload") as caught:
        read_inputs(folder, plan)
    assert caught.value.cause == "expected (784, 64) of float32, found (3, 2) of float32"


def test_weights_of_another_type_are_refused(plan: WorkloadPlan, folder: Path) -> None:
    np.save(folder / "weights" / "0.bias.npy", np.zeros(64))
    with pytest.raises(StoreError, match=r"0\.bias\.npy does not fit the workload"):
        read_inputs(folder, plan)


@pytest.mark.parametrize("keep", [0, 5, 60, 200_000])
def test_a_truncated_weights_file_is_named_with_what_was_expected(
    plan: WorkloadPlan, folder: Path, keep: int
) -> None:
    path = folder / "weights" / "0.kernel.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"0\.kernel\.npy is damaged") as caught:
        read_inputs(folder, plan)
    assert "(784, 64) of float32 was expected" in caught.value.cause


def test_nothing_is_unpickled(plan: WorkloadPlan, folder: Path) -> None:
    np.save(folder / "weights" / "0.kernel.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match=r"0\.kernel\.npy is damaged"):
        read_inputs(folder, plan)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'{"batch_size": "4"}', b"\xff"])
def test_a_damaged_index_is_named(plan: WorkloadPlan, folder: Path, content: bytes) -> None:
    (folder / "index.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"index\.json is damaged"):
        read_inputs(folder, plan)


def test_a_missing_index_is_named(plan: WorkloadPlan, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*index\.json"):
        read_inputs(tmp_path, plan)


def test_samples_without_labels_are_refused(folder: Path) -> None:
    np.save(folder / "data" / "train_targets.npy", np.zeros(3, np.int64))
    with pytest.raises(StoreError, match="is damaged") as caught:
        read_data_set(folder)
    assert caught.value.cause == "40 train samples, 3 labels"


def test_a_folder_that_cannot_be_written_is_a_store_error(plan: WorkloadPlan, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file is in the way")
    with pytest.raises(StoreError, match="cannot write the inputs"):
        write_inputs(plan, 4, 7, tmp_path, with_data_set=False)


def test_the_users_own_model_has_no_canonical_inputs(tmp_path: Path) -> None:
    plan = WorkloadPlan(name="mine", native=NativeModel(factory="train.py:make"))
    with pytest.raises(ValueError, match="mine is a native model"):
        write_inputs(plan, 4, 7, tmp_path, with_data_set=False)
    with pytest.raises(ValueError, match="mine is a native model"):
        read_inputs(tmp_path, plan)
