"""What a step trains and what it leaves alone: parts, changing lengths, frozen layers, tied tables."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from fwprof.plugin import Batch, LoadedWorkload, UnsupportedError, layers, walk
from fwprof.testing.checks import LAYER_CASES, OPTIMIZERS, check_optimizer
from fwprof.testing.small import make_workload, train

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

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


def test_a_batch_in_parts_trains_as_an_undivided_one_does(verified):
    specs = (layers.Embedding(vocabulary=9, units=4), layers.Flatten(), layers.Dense(units=3))
    after = []
    for parts in (1, 4):
        workload = make_workload(
            specs, (5,), vocabulary=9, optimizer=OPTIMIZERS["adamw"], batch=8, accumulate=parts
        )
        model, programs = verified(workload)
        losses = train(model, programs, workload.batches, 3)
        after.append({"losses": np.array(losses), **model.parameters()})
    for name, value in after[0].items():
        np.testing.assert_allclose(after[1][name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_once_for_all_parts(verified, name):
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=OPTIMIZERS[name], accumulate=2)
    check_optimizer(workload, *verified(workload), tolerance=1e-7)


@pytest.mark.parametrize("loop", ["train_on_batch", "fit"])
def test_keras_own_loops_take_every_part_and_update_once(build, loop):
    workload = make_workload(TEXT, (5,), vocabulary=9, optimizer=OPTIMIZERS["momentum"], accumulate=2)
    model, programs = build(workload)
    train(model, programs, workload.batches, 3)
    wanted = model.parameters()
    model.reset()
    programs.api()[loop](3)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_reset_clears_what_was_accumulated(build):
    workload = make_workload(TEXT, (5,), vocabulary=9, optimizer=OPTIMIZERS["adam"], accumulate=2)
    model, programs = build(workload)
    losses = train(model, programs, workload.batches, 3)
    # Half a step, as an interrupted loop of keras's own leaves it.
    model.engine.release()
    model.model.train_on_batch(*model.batches[0])
    model.reset()
    assert train(model, programs, workload.batches, 3) == pytest.approx(losses, rel=1e-5)


def test_an_eager_step_in_parts_is_split_into_its_phases(build, backend):
    workload = LAYER_CASES["gradients accumulated"]()
    options = {} if backend == "torch" else {"mode": "eager"}
    model, programs = build(workload, options=options)
    if backend == "jax":
        assert not hasattr(programs, "split")
        return
    staged = model.stage(workload.batches[0])
    assert list(programs.split(staged)) == ["forward", "backward", "optimizer"]
    updated = model.parameters()
    model.reset()
    programs.run(staged)
    for name, value in model.parameters().items():
        np.testing.assert_allclose(value, updated[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_lengths_that_change_are_traced_as_the_backend_traces_them(build, backend):
    workload = _make_trimmed()
    model, programs = build(workload)
    before = model.compilations()
    assert np.isfinite(train(model, programs, workload.batches, len(LENGTHS))).all()
    # tensorflow's second trace is for any length; jax compiles each one.
    counts = {"tensorflow": 2, "torch": 0, "jax": len(set(LENGTHS))}
    assert model.compilations() - before == counts[backend]
    train(model, programs, workload.batches, len(LENGTHS))
    assert model.compilations() - before == counts[backend]


def test_what_xla_compiles_for_each_length_is_counted(build, backend):
    workload = _make_trimmed()
    if backend == "torch":
        with pytest.raises(UnsupportedError, match="keras:torch is not compiled here yet"):
            build(workload, options={"jit": "true"})
        return
    model, programs = build(workload, options={"jit": "true"})
    before = model.compilations()
    train(model, programs, workload.batches, len(LENGTHS))
    assert model.compilations() - before == len(set(LENGTHS))


def test_the_pipeline_gives_each_batch_in_its_own_length(build):
    workload = _make_trimmed(accumulate=2)
    _, programs = build(workload)
    for batch in (*workload.batches, workload.batches[0]):
        parts = programs.next_batch()
        found = [np.concatenate([np.asarray(part[place]) for part in parts]) for place in (0, 1)]
        np.testing.assert_array_equal(found[0], batch.inputs)
        np.testing.assert_array_equal(found[1], batch.targets)


@pytest.mark.parametrize("loop", ["train_on_batch", "fit"])
def test_keras_own_loops_take_lengths_that_change(build, loop):
    # The first two are of one length: keras must not take it for that of all.
    workload = _make_trimmed()
    order = np.argsort(LENGTHS, kind="stable")
    workload = dataclasses.replace(workload, batches=tuple(workload.batches[index] for index in order))
    assert workload.batches[0].inputs.shape == workload.batches[1].inputs.shape
    model, programs = build(workload)
    train(model, programs, workload.batches, 4)
    wanted = model.parameters()
    model.reset()
    programs.api()[loop](4)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_what_is_frozen_stays_where_it_was_and_comes_back_with_reset(build):
    workload = LAYER_CASES["frozen layers"]()
    model, programs = build(workload)
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


def test_a_low_rank_layer_trains_its_small_matrices_and_comes_back_from_a_file(build, tmp_path):
    workload = LAYER_CASES["low-rank adaptation"]()
    model, programs = build(workload)
    train(model, programs, workload.batches, 3)
    saved = model.parameters()
    moved = {name for name, value in saved.items() if np.any(value != workload.weights[name])}
    assert moved == {"0.lora_a", "0.lora_b", "1.lora_a", "1.lora_b"}
    model.save(tmp_path / "state")
    model.reset()
    model.restore(tmp_path / "state")
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, saved[name], err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_trains_a_table_that_learns_from_both_of_its_places(verified, name):
    workload = LAYER_CASES["the next id, by a tied table"](optimizer=OPTIMIZERS[name])
    # Of the ids that no batch has, only the output knows.
    batches = tuple(Batch(batch.inputs % 4, batch.targets) for batch in workload.batches)
    workload = dataclasses.replace(workload, batches=batches)
    model, programs = verified(workload)
    check_optimizer(workload, model, programs, tolerance=1e-7)
    _, gradients = programs.read(programs.forward_backward(model.stage(batches[0])))
    assert np.all(np.any(gradients["0.table"] != 0, axis=1))


def test_a_plain_chain_stays_sequential_and_a_pad_that_no_maximum_takes_does_not(build):
    around = (layers.Conv2d(filters=2, size=3, padding=1), layers.Flatten(), layers.Dense(units=3))
    assert build(make_workload(around, (4, 4, 2)))[0].settings()["model"] == "sequential"
    pooled = (layers.MaxPool2d(size=3, stride=2, padding=1), *around[1:])
    assert build(make_workload(pooled, (4, 4, 2)))[0].settings()["model"] == "functional"
    with pytest.raises(UnsupportedError, match="MaxPool2d at 0 does not fit into a Sequential model"):
        build(make_workload(pooled, (4, 4, 2)), options={"model": "sequential"})


def test_an_older_keras_that_shares_no_table_is_named(build, monkeypatch):
    from keras import layers as library

    monkeypatch.delattr(library, "ReversibleEmbedding")
    with pytest.raises(UnsupportedError, match="keras cannot share the table of layer 0") as raised:
        build(LAYER_CASES["the next id, by a tied table"]())
    assert "has no ReversibleEmbedding" in str(raised.value.cause)
