"""Canonical weights are the same for everybody, whatever stands around a layer."""

from __future__ import annotations

import msgspec
import numpy as np

from fwprof.records.workload import BatchNorm
from fwprof.workloads import find_workload
from fwprof.workloads.language import parameter_shapes, resolve
from fwprof.workloads.weights import canonical_weights


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
