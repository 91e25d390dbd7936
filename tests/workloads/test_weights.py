"""Canonical weights are the same for everybody, whatever stands around a layer."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fwprof.errors import ExitCode, RequestError, StoreError
from fwprof.records.workload import BatchNorm
from fwprof.workloads import find_workload, plan_workload
from fwprof.workloads.language import parameter_shapes, resolve
from fwprof.workloads.weights import canonical_weights, read_weights


def test_weights_have_the_declared_names_shapes_and_order() -> None:
    layers = resolve(find_workload("transformer-encoder"))
    weights = canonical_weights(layers, seed=0)
    assert {name: value.shape for name, value in weights.items()} == parameter_shapes(layers)
    assert list(weights) == list(parameter_shapes(layers))
    assert {value.dtype for value in weights.values()} == {np.dtype("float32")}


def test_the_same_seed_gives_the_same_numbers_and_another_one_others() -> None:
    layers = resolve(find_workload("lenet"))
    first, again, other = (canonical_weights(layers, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["0.kernel"], other["0.kernel"])
    assert not np.array_equal(first["0.kernel"].ravel()[:50], first["2.kernel"].ravel()[:50])


def test_a_layer_keeps_its_numbers_when_another_one_changes() -> None:
    plain = canonical_weights(resolve(find_workload("mlp")), 0)
    wider = canonical_weights(resolve(find_workload("mlp", {"layers[1].units": 7, "classes": 7})), 0)
    assert np.array_equal(plain["0.kernel"], wider["0.kernel"])


def test_kernels_are_glorot_uniform() -> None:
    weights = canonical_weights(resolve(find_workload("lenet")), 0)
    for name, fan_in, fan_out in (("2.kernel", 250, 500), ("5.kernel", 320, 50)):
        limit = (6 / (fan_in + fan_out)) ** 0.5
        assert np.abs(weights[name]).max() <= limit
        # A uniform distribution's deviation is limit/√3; 5,000 draws and more come within 5 %.
        assert abs(weights[name].std() * 3**0.5 / limit - 1) < 0.05


def test_biases_norms_tables_and_statistics_start_as_documented() -> None:
    weights = canonical_weights(resolve(find_workload("transformer-encoder")), 0)
    assert not weights["2.1.query_bias"].any()
    assert (weights["2.0.gamma"] == 1).all()
    assert not weights["2.0.beta"].any()
    assert abs(weights["0.table"].std() / 0.02 - 1) < 0.05


def test_moving_statistics_start_at_zero_mean_and_unit_variance() -> None:
    layers = resolve(find_workload("mlp"))
    norm = msgspec.structs.replace(layers[0], layer=BatchNorm(), parameters={}, state={"0.moving_mean": (3,)})
    other = msgspec.structs.replace(norm, state={"1.moving_variance": (3,)})
    weights = canonical_weights((norm, other), 0)
    assert weights["0.moving_mean"].tolist() == [0, 0, 0]
    assert weights["1.moving_variance"].tolist() == [1, 1, 1]


def test_a_low_rank_correction_starts_at_nothing() -> None:
    weights = canonical_weights(resolve(find_workload("finetune-lora")), 0)
    firsts, seconds = ([v for name, v in weights.items() if name.endswith(end)] for end in ("_a", "_b"))
    assert len(firsts) == len(seconds) == 4
    assert all(value.any() for value in firsts)
    assert not any(value.any() for value in seconds)


def test_an_lstm_starts_open_to_what_it_knows() -> None:
    weights = canonical_weights(resolve(find_workload("text-lstm")), 0)
    gates = weights["1.bias"].reshape(4, 128)
    assert gates.sum(axis=1).tolist() == [0, 128, 0, 0]
    limit = (6 / (128 + 512)) ** 0.5
    for name in ("1.kernel", "1.recurrent_kernel"):
        assert abs(weights[name].std() * 3**0.5 / limit - 1) < 0.05


SMALL = """name: mine
input: {shape: [3]}
layers: [{kind: dense, units: 2}, {kind: batch_norm}]
classes: 2
optimizer: {kind: sgd, learning_rate: 0.1}
weights: own.npz
"""
FITTING = {
    "0.kernel": np.arange(6.0).reshape(3, 2),
    "0.bias": np.ones(2),
    "1.gamma": np.ones(2, np.float16),
    "1.beta": np.ones(2),
    "1.moving_mean": np.ones(2),
    "1.moving_variance": np.ones(2),
}


@pytest.fixture
def workload_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL)
    return path


def save(workload_file: Path, **changes: np.ndarray | None) -> None:
    arrays = {**FITTING, **{name.replace("_", ".", 1): value for name, value in changes.items()}}
    with workload_file.with_name("own.npz").open("wb") as file:
        np.savez(file, **{name: value for name, value in arrays.items() if value is not None})


def test_weights_from_a_file_beside_the_workload_are_used(workload_file: Path) -> None:
    save(workload_file)
    workload = find_workload(str(workload_file))
    assert workload.weights == str(workload_file.with_name("own.npz"))
    plan = plan_workload(workload, 4)
    weights = read_weights(Path(workload.weights), plan.layers)
    assert list(weights) == list(FITTING)
    for name, value in FITTING.items():
        assert weights[name].dtype == np.float32
        assert np.array_equal(weights[name], value)


@pytest.mark.parametrize(
    ("changes", "words", "more"),
    [
        ({"_0_kernel": np.ones((2, 3))}, "", ""),
        ({"0_bias": np.ones(2, np.int64)}, "own.npz: 0.bias holds int64, not floats", ""),
        ({"0_bias": np.array([1, np.nan])}, "own.npz: 0.bias holds numbers that are not finite", ""),
        ({"0_bias": np.array([1, 1e39])}, "own.npz: 0.bias holds numbers that are not finite", ""),
        ({"0_bias": None}, "own.npz lacks 0.bias", "every parameter"),
        ({"0_kernal": np.ones(2)}, "own.npz holds '0.kernal'", "did you mean '0.kernel'?"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    workload_file: Path, changes: dict[str, np.ndarray | None], words: str, more: str
) -> None:
    if "_0_kernel" in changes:
        changes, words = (
            {"0_kernel": changes["_0_kernel"]},
            "own.npz: 0.kernel has shape (2, 3), not (3, 2)",
        )
    save(workload_file, **changes)
    with pytest.raises(RequestError, match=re.escape(words)) as caught:
        plan_workload(find_workload(str(workload_file)), 4)
    assert more in " ".join(caught.value.lines())
    assert max(map(len, caught.value.lines())) <= 100
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_weights_file_that_is_not_there_is_named(workload_file: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no weights file .*own.npz") as caught:
        plan_workload(find_workload(str(workload_file)), 4)
    assert caught.value.exit_code == ExitCode.UNREADABLE


def test_a_damaged_weights_file_is_named(workload_file: Path) -> None:
    save(workload_file)
    file = workload_file.with_name("own.npz")
    whole = file.read_bytes()
    contents = (b"", b"nonsense", whole[: len(whole) // 2], whole.replace(b"descr", b"dexcr"))
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(StoreError, match=r"own.npz is damaged or no .npz file") as caught:
            plan_workload(find_workload(str(workload_file)), 4)
        assert caught.value.cause


def test_a_single_array_and_a_pickle_are_no_weights_file(workload_file: Path) -> None:
    file = workload_file.with_name("own.npz")
    for array in (np.ones(3), np.array([{}], dtype=object)):
        with file.open("wb") as stream:
            np.save(stream, array, allow_pickle=True)
        with pytest.raises(StoreError, match=r"own.npz is damaged or no .npz file"):
            plan_workload(find_workload(str(workload_file)), 4)
