"""Layouts and layers by their definitions in float64, timed and verified; what torch does its own way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fwprof.plugin import ResolvedLayer, UnsupportedError, layers
from fwprof.testing.checks import LAYER_CASES, STATISTICS_CASES, check_network, check_statistics
from fwprof.testing.numpy_network import without_dropout
from fwprof.testing.small import make_workload
from fwprof_torch import plugin


@pytest.mark.parametrize("name", LAYER_CASES)
def test_a_verified_network_is_the_one_of_the_definitions(build, name):
    workload = LAYER_CASES[name]()
    model = build(workload, is_verification=True)
    check_network(workload, model, plugin.train_step(model=model))


@pytest.mark.parametrize("name", LAYER_CASES)
def test_a_timed_network_is_so_too_where_nothing_is_dropped(build, name):
    workload = LAYER_CASES[name]()
    workload = dataclasses.replace(workload, layers=without_dropout(workload.layers))
    model = build(workload, double=True)
    check_network(workload, model, plugin.train_step(model=model))


@pytest.mark.parametrize("name", STATISTICS_CASES)
def test_moving_statistics_follow_the_biased_batch_statistics(build, name):
    workload = STATISTICS_CASES[name]()
    model = build(workload, double=True)
    check_statistics(workload, model, plugin.train_step(model=model))


CONV, FLATTEN = layers.Conv2d(filters=3, size=2, activation="tanh"), layers.Flatten()
FLATTENED_IN_BRANCHES = (
    layers.Chain(layers=(CONV, FLATTEN)),
    layers.Chain(layers=(layers.AveragePool2d(size=2), FLATTEN, layers.Activation(function="tanh"))),
    layers.Chain(layers=(CONV, FLATTEN, layers.Dense(units=2))),
    layers.AverageOverImage(),
    FLATTEN,
)
IMAGE_CASES = {
    "flattened in a chain": (
        layers.Chain(layers=(CONV, layers.Chain(layers=(FLATTEN,)))),
        layers.Dropout(rate=0),
    ),
    "flattened in branches": (layers.Branches(layers=FLATTENED_IN_BRANCHES),),
    "flattened in branches that are added": (
        layers.Branches(layers=(layers.Chain(layers=(CONV, FLATTEN)),) * 2, join="add"),
    ),
    "joined along the channels": (
        layers.Branches(layers=(CONV, layers.Conv2d(filters=2, size=2))),
        layers.Chain(layers=(FLATTEN,)),
    ),
    "as they are": (
        layers.Branches(layers=(layers.Chain(), layers.Chain(layers=(layers.LayerNorm(),)))),
        FLATTEN,
    ),
}


@pytest.mark.parametrize("rank", [None, 2], ids=["dense", "low rank"])
@pytest.mark.parametrize("name", IMAGE_CASES)
def test_features_of_images_reach_the_dense_layer_in_their_order(build, name, rank):
    workload = make_workload((*IMAGE_CASES[name], layers.Dense(units=3, lora_rank=rank)), (6, 5, 2))
    model = build(workload, is_verification=True)
    check_network(workload, model, plugin.train_step(model=model))


def test_a_flatten_costs_no_reordering_where_one_dense_layer_follows_its_chain(build):
    specs = (*IMAGE_CASES["flattened in a chain"], layers.Dense(units=3))
    kinds = {type(module).__name__ for module in build(make_workload(specs, (6, 5, 2))).module.modules()}
    assert "Flatten" in kinds
    assert "FlattenCanonical" not in kinds


def test_a_hand_made_convolution_sees_height_width_and_channels_apart(build):
    """A kernel with one 1 picks one pixel of one channel: any swapped axis picks another."""
    specs = (layers.Conv2d(filters=2, size=2), layers.Flatten())
    workload = make_workload(specs, (2, 2, 3), classes=2, batch=1)
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[0, 1, 2, 0] = 1  # top right pixel, last channel → first filter
    kernel[1, 0, 1, 1] = 1  # bottom left pixel, second channel → second filter
    model = build(workload)
    model.load_parameters({"0.kernel": kernel, "0.bias": np.zeros(2, np.float32)})
    image = workload.batches[0].inputs
    found = model.predict(model.stage(workload.batches[0]))
    np.testing.assert_allclose(found, [[image[0, 0, 1, 2], image[0, 1, 0, 1]]], rtol=1e-6)


def test_prediction_leaves_the_random_state_and_the_training_mode(build):
    specs = (layers.BatchNorm(), layers.Dropout(rate=0.5), layers.Dense(units=3))
    workload = make_workload(specs, (4,))
    model = build(workload)
    before = torch.get_rng_state()
    model.predict(model.stage(workload.batches[0]))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.module.training


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (layers.Conv2d(filters=2, size=1), (4, 4), "Conv2d at 0 takes an image"),
        (layers.Embedding(vocabulary=3, units=2), (4, 4), r"Embedding at 0 takes ids"),
        (layers.Lstm(units=2), (4,), r"Lstm at 0 takes \(length, channels\)"),
        (layers.Gru(units=2), (4,), r"Gru at 0 takes \(length, channels\)"),
        (layers.Conv1d(filters=2, size=1), (4,), r"Conv1d at 0 takes \(length, channels\)"),
        (layers.MaxOverSequence(), (4,), r"MaxOverSequence at 0 takes \(length, channels\)"),
        (layers.FirstOfSequence(), (4,), r"FirstOfSequence at 0 takes \(length, channels\)"),
        (layers.AverageOverImage(), (4, 4), "AverageOverImage at 0 takes an image"),
        (layers.PairwiseProducts(), (4,), r"PairwiseProducts at 0 takes \(rows, channels\)"),
        (layers.Attention(heads=1), (4,), r"Attention at 0 takes \(length, channels\)"),
        (layers.BatchNorm(), (2, 2, 2, 2), "batch_norm at 0 takes at most"),
    ],
)
def test_a_layer_in_a_place_it_cannot_have_is_refused_by_name(build, layer, shape, words):
    # The language refuses such workloads itself, which the plugin does not rely on.
    wrong = ResolvedLayer(path="0", layer=layer, input_shape=shape, output_shape=shape, parameters={})
    with pytest.raises(UnsupportedError, match=words):
        build(dataclasses.replace(make_workload((layers.Dense(units=3),), (4,)), layers=(wrong,)))


def test_unknown_parameters_and_wrong_shapes_are_refused_by_name(build):
    model = build(make_workload((layers.Dense(units=5), layers.Dense(units=3)), (4,)))
    with pytest.raises(ValueError, match=r"unknown parameter '7\.kernel'"):
        model.load_parameters({"7.kernel": np.zeros((4, 5), np.float32)})
    with pytest.raises(ValueError, match=r"parameter '0\.kernel': shape \(5, 4\) instead of \(4, 5\)"):
        model.load_parameters({"0.kernel": np.zeros((5, 4), np.float32)})
