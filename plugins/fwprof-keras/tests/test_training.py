"""What a step trains and what it leaves alone: parts, changing lengths, frozen layers, tied tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fwprof.plugin import Batch, UnsupportedError, layers
from fwprof.testing import trained
from fwprof.testing.checks import LAYER_CASES, OPTIMIZERS, check_optimizer
from fwprof.testing.small import make_workload, train

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

LENGTHS = (7, 5, 6, 5, 7, 6, 4, 4)


def test_parts_train_as_the_undivided_batch_does(verified):
    trained.check_parts(verified)


def test_each_part_moves_the_statistics_on_from_the_one_before(verified):
    trained.check_statistics_of_parts(verified)


def test_outputs_are_those_of_all_parts_of_however_many_samples(verified):
    trained.check_outputs_of_parts(verified)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_once_for_all_parts(verified, name):
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=OPTIMIZERS[name], accumulate=2)
    check_optimizer(workload, *verified(workload), tolerance=1e-7)


@pytest.mark.parametrize("loop", ["train_on_batch", "fit"])
def test_keras_own_loops_take_every_part_and_update_once(build, loop):
    workload = make_workload(trained.TEXT, (5,), vocabulary=9, optimizer=OPTIMIZERS["momentum"], accumulate=2)
    model, programs = build(workload)
    train(model, programs, workload.batches, 3)
    wanted = model.parameters()
    model.reset()
    programs.api()[loop](3)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_reset_clears_what_was_accumulated(build):
    workload = make_workload(trained.TEXT, (5,), vocabulary=9, optimizer=OPTIMIZERS["adam"], accumulate=2)
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
    else:
        trained.check_split(workload, model, programs)


def test_lengths_that_change_are_traced_as_the_backend_traces_them(build, backend):
    workload = trained.make_trimmed(LENGTHS)
    model, programs = build(workload)
    before = model.compilations()
    assert np.isfinite(train(model, programs, workload.batches, len(LENGTHS))).all()
    # tensorflow's second trace is for any length; jax compiles each one.
    counts = {"tensorflow": 2, "torch": 0, "jax": len(set(LENGTHS))}
    assert model.compilations() - before == counts[backend]
    train(model, programs, workload.batches, len(LENGTHS))
    assert model.compilations() - before == counts[backend]


def test_what_xla_compiles_for_each_length_is_counted(build, backend):
    workload = trained.make_trimmed(LENGTHS)
    if backend == "torch":
        with pytest.raises(UnsupportedError, match="keras:torch is not compiled here yet"):
            build(workload, options={"jit": "true"})
        return
    model, programs = build(workload, options={"jit": "true"})
    before = model.compilations()
    train(model, programs, workload.batches, len(LENGTHS))
    assert model.compilations() - before == len(set(LENGTHS))


def test_each_length_has_the_loss_of_the_definitions(verified):
    trained.check_lengths(verified)


def test_the_pipeline_gives_each_batch_in_its_own_length(build):
    workload = trained.make_trimmed(LENGTHS)
    trained.check_lengths_from_the_pipeline(workload, *build(workload))


@pytest.mark.parametrize("loop", ["train_on_batch", "fit"])
def test_keras_own_loops_take_lengths_that_change(build, loop):
    # The first two are of one length: keras must not take it for that of all.
    workload = trained.make_trimmed(LENGTHS)
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


def test_only_what_is_not_frozen_is_trained_and_all_of_it_comes_back(build, tmp_path):
    trained.check_frozen(build, tmp_path)


def test_a_low_rank_layer_trains_its_thin_matrices(build, tmp_path):
    trained.check_low_rank(build, tmp_path)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained", "frozen"])
def test_a_tied_table_is_one_with_the_gradients_of_both_its_uses(build, is_frozen):
    trained.check_tied(build, is_frozen=is_frozen)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_trains_a_tied_table(verified, name):
    workload = LAYER_CASES["the next id, by a tied table"](optimizer=OPTIMIZERS[name])
    # Of the ids that no batch has, only the output knows.
    batches = tuple(Batch(batch.inputs % 4, batch.targets) for batch in workload.batches)
    workload = dataclasses.replace(workload, batches=batches)
    check_optimizer(workload, *verified(workload), tolerance=1e-7)


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
