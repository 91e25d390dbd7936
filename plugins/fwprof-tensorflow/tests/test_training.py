"""What a step trains and what it leaves alone: parts, changing lengths, frozen layers, tied tables."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import Batch, LoadedWorkload, UnsupportedError, layers, walk
from fwprof.testing.checks import LAYER_CASES, OPTIMIZERS, check_network, check_optimizer
from fwprof.testing.small import make_workload, train
from fwprof_tensorflow import plugin

TEXT = (
    layers.Embedding(vocabulary=9, units=4),
    layers.Conv1d(filters=4, size=2, activation="tanh"),
    layers.Gru(units=4, return_sequences=True),
    layers.MaxOverSequence(),
    layers.Dense(units=3),
)
LENGTHS = (7, 5, 6, 5, 7, 6, 4, 4)


def _make_trimmed(**changes: Any) -> LoadedWorkload:
    """Return a workload whose batches differ in length."""
    workload = make_workload(TEXT, (max(LENGTHS),), vocabulary=9, **changes)
    assert workload.spec is not None
    data = layers.SyntheticData(min_length=min(LENGTHS), is_trimmed=True)
    spec = msgspec.structs.replace(workload.spec, data=data)
    batches = tuple(
        Batch(batch.inputs[:, -length:], batch.targets)
        for batch, length in zip(workload.batches, LENGTHS, strict=True)
    )
    return dataclasses.replace(workload, spec=spec, batches=batches)


@pytest.mark.parametrize("variant", ["function", "eager", "xla"])
def test_a_batch_in_parts_trains_as_an_undivided_one_does(build, variant):
    specs = (layers.Embedding(vocabulary=9, units=4), layers.Lstm(units=4), layers.Dense(units=3))
    after = []
    for parts in (1, 4):
        workload = make_workload(
            specs, (5,), vocabulary=9, optimizer=OPTIMIZERS["adam"], batch=8, accumulate=parts
        )
        model = build(workload, verified=True, variant=variant)
        losses = train(model, plugin.train_step(model=model), workload.batches, 3)
        after.append({"losses": np.array(losses), **model.parameters()})
    for name, value in after[0].items():
        np.testing.assert_allclose(after[1][name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_once_for_all_parts(build, name):
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=OPTIMIZERS[name], accumulate=2)
    model = build(workload, verified=True)
    check_optimizer(workload, model, plugin.train_step(model=model), tolerance=1e-9)


def test_an_eager_step_in_parts_is_split_into_its_phases(build):
    workload = LAYER_CASES["gradients accumulated"]()
    updated = []
    for is_split in (True, False):
        model = build(workload, variant="eager")
        programs = plugin.train_step(model=model)
        staged = model.stage(workload.batches[0])
        if is_split:
            assert list(programs.split(staged)) == ["forward", "backward", "optimizer"]
        else:
            programs.run(staged)
        updated.append(model.parameters())
    for name, value in updated[0].items():
        np.testing.assert_allclose(updated[1][name], value, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(("variant", "traces"), [("function", 1), ("xla", len(set(LENGTHS))), ("eager", 0)])
def test_one_trace_serves_every_length_and_xla_compiles_each(build, variant, traces):
    workload = _make_trimmed(accumulate=2)
    model = build(workload, variant=variant)
    programs = plugin.train_step(model=model)
    losses = train(model, programs, workload.batches, len(LENGTHS))
    assert np.isfinite(losses).all()
    assert model.compilations() == traces
    before = model.parameters()
    again = train(model, programs, workload.batches, len(LENGTHS))
    assert model.compilations() == traces
    assert again != losses
    assert np.any(model.parameters()["4.kernel"] != before["4.kernel"])


def test_the_pipeline_gives_each_batch_in_its_own_length(build):
    workload = _make_trimmed()
    model = build(workload)
    programs = plugin.train_step(model=model)
    for batch in (*workload.batches, workload.batches[0]):
        inputs, targets = programs.next_batch()
        np.testing.assert_array_equal(inputs, batch.inputs)
        np.testing.assert_array_equal(targets, batch.targets)
        programs.wait(programs.run((inputs, targets)))
    assert model.compilations() == 1


def test_what_is_frozen_stays_where_it_was_and_comes_back_with_reset(build):
    workload = LAYER_CASES["frozen layers"]()
    model = build(workload, variant="function")
    programs = plugin.train_step(model=model)
    train(model, programs, workload.batches, 3)
    for name, value in model.parameters().items():
        is_kept = any(name in resolved.state for resolved in walk(workload.layers))
        assert np.array_equal(value, workload.weights[name]) == is_kept, name
    assert model.describe().parameter_count == sum(
        workload.weights[name].size for resolved in walk(workload.layers) for name in resolved.parameters
    )
    model.load_parameters({name: value + 1 for name, value in workload.weights.items()})
    model.reset()
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[name])


def test_the_base_of_a_low_rank_layer_stays_where_it_was(build):
    workload = LAYER_CASES["low-rank adaptation"]()
    model = build(workload)
    train(model, plugin.train_step(model=model), workload.batches, 3)
    moved = {name for name, value in model.parameters().items() if np.any(value != workload.weights[name])}
    assert moved == {"0.lora_a", "0.lora_b", "1.lora_a", "1.lora_b"}


def test_a_tied_table_learns_from_both_of_its_places(build):
    # Of the ids that no batch has, only the output knows; of the input's share, the definitions do.
    workload = LAYER_CASES["the next id, by a tied table"]()
    batches = tuple(Batch(batch.inputs % 4, batch.targets) for batch in workload.batches)
    workload = dataclasses.replace(workload, batches=batches)
    for variant in ("function", "xla"):
        model = build(workload, verified=True, variant=variant)
        programs = plugin.train_step(model=model)
        check_network(workload, model, programs)
        _, gradients = programs.read(programs.forward_backward(model.stage(batches[0])))
        assert np.all(np.any(gradients["0.table"] != 0, axis=1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_trains_a_tied_table(build, name):
    workload = LAYER_CASES["the next id, by a tied table"](optimizer=OPTIMIZERS[name])
    model = build(workload, verified=True)
    check_optimizer(workload, model, plugin.train_step(model=model), tolerance=1e-9)


def test_a_gru_is_saved_and_restored_with_both_biases(build, tmp_path):
    workload = LAYER_CASES["gru"]()
    model = build(workload)
    programs = plugin.train_step(model=model)
    train(model, programs, workload.batches, 2)
    saved = model.parameters()
    model.save(tmp_path / "state")
    train(model, programs, workload.batches, 2)
    model.restore(tmp_path / "state")
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, saved[name], err_msg=name)
        assert np.any(value != workload.weights[name]), name


def test_an_older_keras_that_shares_no_table_is_named(build, monkeypatch):
    monkeypatch.delattr(tf.keras.layers, "ReversibleEmbedding")
    with pytest.raises(UnsupportedError, match="tensorflow cannot share the table of layer 0") as raised:
        build(LAYER_CASES["the next id, by a tied table"]())
    assert "has no ReversibleEmbedding" in str(raised.value.cause)
