"""The static graph: the same numbers as the traced step, and nothing added after it is built."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import LoadedWorkload, UnsupportedError, layers
from fwprof.testing.checks import check_network
from fwprof.testing.language import find_workload
from fwprof.testing.small import make_workload
from fwprof_tensorflow import plugin

SPECS = (
    layers.Conv2d(filters=4, size=3, padding="same", activation="relu"),
    layers.MaxPool2d(size=2),
    layers.Conv2d(filters=3, size=2, activation="gelu", use_bias=False),
    layers.AveragePool2d(size=2),
    layers.Flatten(),
    layers.Activation(function="tanh"),
    layers.Dense(units=3),
)
IMAGE = (9, 8, 2)


def answer(workload, model):
    """Return outputs, loss, gradients and the parameters after three steps."""
    programs = plugin.train_step(model=model)
    staged = model.stage(workload.batches[0])
    outputs = model.predict(staged)
    forward, _ = programs.read(programs.forward(staged))
    loss, gradients = programs.read(programs.forward_backward(staged))
    assert forward == loss
    for batch in workload.batches[:3]:
        programs.run(model.stage(batch))
    return outputs, loss, gradients, model.parameters()


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize(
    "optimizer",
    [
        layers.Sgd(learning_rate=0.1),
        layers.Sgd(learning_rate=0.1, momentum=0.9),
        layers.Adam(learning_rate=0.01),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_a_graph_computes_what_the_traced_step_does(build, optimizer, loss):
    workload = make_workload(SPECS, IMAGE, optimizer=optimizer, loss=loss)
    outputs, value, gradients, parameters = answer(workload, build(workload, variant="graph", verified=True))
    wanted = answer(workload, build(workload, verified=True))
    np.testing.assert_allclose(outputs, wanted[0], rtol=1e-10)
    assert value == pytest.approx(wanted[1], rel=1e-12)
    assert set(gradients) == set(wanted[2])
    for key, gradient in wanted[2].items():
        np.testing.assert_allclose(gradients[key], gradient, rtol=1e-9, atol=1e-13, err_msg=key)
    for key, parameter in wanted[3].items():
        # Its Adam keeps the powers of the betas in float32.
        np.testing.assert_allclose(parameters[key], parameter, rtol=1e-5, atol=1e-6, err_msg=key)


def test_numbered_padding_strides_and_averages_are_those_of_the_traced_step(build):
    specs = (
        layers.Conv2d(filters=4, size=3, stride=2, padding=1),
        layers.MaxPool2d(size=3, stride=2, padding=1),
        layers.Conv2d(filters=3, size=1, padding=0, activation="tanh"),
        layers.AverageOverImage(),
        layers.Dense(units=3),
    )
    workload = make_workload(specs, IMAGE, loss="mean_squared_error")
    model = build(workload, variant="graph", verified=True)
    check_network(workload, model, plugin.train_step(model=model))


@pytest.mark.parametrize("name", ["mlp", "mlp-small", "lenet"])
def test_it_takes_the_layers_of_the_workloads_it_is_for(build, name):
    spec = find_workload(name)
    workload = make_workload(spec.layers, spec.input.shape, classes=spec.classes, batch=2)
    model = build(workload, variant="graph")
    programs = plugin.train_step(model=model)
    assert np.isfinite(programs.read(programs.run(model.stage(workload.batches[0])))[0])


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ((layers.Dropout(rate=0.5), layers.Dense(units=3)), "no Dropout for layer 0"),
        ((layers.Dense(units=3), layers.BatchNorm()), "no BatchNorm for layer 1"),
        (
            (layers.Residual(layers=(layers.Dense(units=4),)), layers.Dense(units=3)),
            "no Residual for layer 0",
        ),
        (
            (layers.Frozen(layers=(layers.Dense(units=4),)), layers.Dense(units=3)),
            "no frozen layer 0",
        ),
        ((layers.Dense(units=3, lora_rank=1),), "no low-rank adaptation"),
    ],
)
def test_any_other_layer_is_refused_by_name(build, specs, words):
    with pytest.raises(UnsupportedError, match=words) as caught:
        build(make_workload(specs, (4,)), variant="graph")
    assert caught.value.next == "use --plugin tensorflow"


def test_an_optimizer_and_a_model_of_the_users_own_are_refused(build):
    adamw = layers.Adam(learning_rate=0.01, weight_decay=0.1)
    with pytest.raises(UnsupportedError, match="no Adam with weight decay"):
        build(make_workload((layers.Dense(units=3),), (4,), optimizer=adamw), variant="graph")
    with pytest.raises(UnsupportedError, match="tensorflow:graph has no accumulated gradients"):
        build(make_workload((layers.Dense(units=3),), (4,), accumulate=2), variant="graph")
    with pytest.raises(UnsupportedError, match="cannot take over a model of your own"):
        build(LoadedWorkload(name="own", native={}), variant="graph")


def test_the_description_says_that_feeding_copies(build):
    model = build(make_workload(SPECS, IMAGE), variant="graph")
    found = model.describe()
    assert (found.mode, found.native_device) == ("graph", "CPU:0")
    assert found.labels == ("whole_graph", "copies_inputs")
    assert found.settings["optimizer"] == "GradientDescentOptimizer"
    assert found.settings["parameter_dtype"] == "float32"


def test_each_program_is_pruned_once_and_the_graph_never_grows(build):
    workload = make_workload(SPECS, IMAGE)
    model = build(workload, variant="graph")
    programs = plugin.train_step(model=model)
    size = model.session.graph.version
    for batch in workload.batches[:3]:
        staged = model.stage(batch)
        for program in (programs.forward, programs.forward_backward, programs.run):
            programs.wait(program(staged))
        model.reset()
        model.predict(programs.next_batch())
    assert model.compilations() == 3
    assert model.session.graph.version == size
    assert model.session.graph.finalized


def test_a_batch_shares_no_memory_with_the_callers(build):
    workload = make_workload(SPECS, IMAGE)
    model = build(workload, variant="graph")
    staged = model.stage(workload.batches[0])
    staged[model.nodes.inputs][:] = 0
    assert np.any(workload.batches[0].inputs)


def test_building_a_graph_leaves_the_process_eager(build):
    build(make_workload(SPECS, IMAGE), variant="graph")
    assert tf.executing_eagerly()
