"""Layers by their definitions in float64; what tensorflow and its keras do their own way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import ResolvedLayer, UnsupportedError, layers
from fwprof.testing.checks import LAYER_CASES, STATISTICS_CASES, check_network, check_statistics
from fwprof.testing.small import make_workload
from fwprof_tensorflow import plugin


@pytest.mark.parametrize("name", LAYER_CASES)
def test_a_network_is_the_one_of_the_definitions(build, name):
    workload = LAYER_CASES[name]()
    model = build(workload, verified=True)
    check_network(workload, model, plugin.train_step(model=model))


@pytest.mark.parametrize("name", STATISTICS_CASES)
def test_moving_statistics_follow_the_biased_batch_statistics(build, name):
    workload = STATISTICS_CASES[name]()
    model = build(workload, verified=True)
    check_statistics(workload, model, plugin.train_step(model=model))


def test_xla_computes_a_transformer_as_the_traced_step_does(build):
    workload = LAYER_CASES["transformer"]()
    model = build(workload, verified=True, variant="xla")
    programs = plugin.train_step(model=model)
    check_network(workload, model, programs)
    _, gradients = programs.read(programs.forward_backward(model.stage(workload.batches[0])))
    plain = build(workload, verified=True)
    programs = plugin.train_step(model=plain)
    _, wanted = programs.read(programs.forward_backward(plain.stage(workload.batches[0])))
    for key, value in wanted.items():
        np.testing.assert_allclose(gradients[key], value, rtol=1e-9, atol=1e-13, err_msg=key)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (layers.Conv2d(filters=2, size=1), "Conv2d at 0 takes an image"),
        (layers.MaxPool2d(size=2), "MaxPool2d at 0 takes an image"),
        (layers.Embedding(vocabulary=3, units=2), "Embedding at 0 takes ids"),
        (layers.Attention(heads=1), r"Attention at 0 takes \(length, channels\)"),
        (layers.Lstm(units=1), r"Lstm at 0 takes \(length, channels\)"),
    ],
)
def test_a_layer_in_a_place_it_cannot_have_is_refused_by_name(build, layer, words):
    # The language refuses such workloads itself, which the plugin does not rely on.
    wrong = ResolvedLayer(path="0", layer=layer, input_shape=(4,) * 4, output_shape=(4,) * 4, parameters={})
    with pytest.raises(UnsupportedError, match=words):
        build(dataclasses.replace(make_workload((layers.Dense(units=3),), (4,)), layers=(wrong,)))


def test_unknown_parameters_and_wrong_shapes_are_refused_by_name(build):
    model = build(make_workload((layers.Dense(units=5), layers.Dense(units=3)), (4,)))
    with pytest.raises(ValueError, match=r"unknown parameter '7\.kernel'"):
        model.load_parameters({"7.kernel": np.zeros((4, 5), np.float32)})
    with pytest.raises(ValueError, match=r"parameter '0\.kernel': shape \(5, 4\) instead of \(4, 5\)"):
        model.load_parameters({"0.kernel": np.zeros((5, 4), np.float32)})


def test_a_default_of_the_users_keras_does_not_reach_the_network(build):
    tf.keras.config.set_image_data_format("channels_first")
    try:
        workload = LAYER_CASES["convolution, maximum and dropout"]()
        model = build(workload, verified=True)
        check_network(workload, model, plugin.train_step(model=model))
    finally:
        tf.keras.config.set_image_data_format("channels_last")
