"""Batches whose lengths change: what is computed of each, and what the pipeline gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace

from fwprof.plugin import layers
from fwprof.testing.definitions import loss_of
from fwprof.testing.small import make_workload
from fwprof_jax import plugin

LONGEST, VOCABULARY = 9, 7
SPECS = (
    layers.Embedding(vocabulary=VOCABULARY, units=4),
    layers.Branches(
        layers=(
            layers.Chain(
                layers=(
                    layers.Conv1d(filters=3, size=4, stride=3, padding="same"),
                    layers.MaxOverSequence(),
                )
            ),
            layers.Chain(
                layers=(layers.Conv1d(filters=3, size=2, padding="same"), layers.AverageOverSequence())
            ),
            layers.Chain(layers=(layers.Conv1d(filters=2, size=3, padding="same"), layers.FirstOfSequence())),
            layers.Chain(layers=(layers.Attention(heads=2), layers.Gru(units=3))),
            layers.Lstm(units=2),
        )
    ),
    layers.Dense(units=3),
)


@pytest.fixture
def workload():
    """Batches of 9, 8, 7 positions and again; in each, one sequence is as long."""
    made = make_workload(SPECS, (LONGEST,), vocabulary=VOCABULARY)
    random, batches = np.random.default_rng(3), []
    for number, batch in enumerate(made.batches):
        inputs = batch.inputs.clip(min=1)[:, number % 3 :]
        for row, short in zip(inputs, [0, *random.integers(0, 4, len(inputs) - 1)], strict=True):
            row[:short] = 0
        batches.append(dataclasses.replace(batch, inputs=np.ascontiguousarray(inputs)))
    data = layers.SyntheticData(min_length=2, is_trimmed=True)
    return dataclasses.replace(made, spec=replace(made.spec, data=data), batches=tuple(batches))


def test_each_length_has_the_loss_of_the_definitions(build, workload):
    model = build(workload, precision="float64")
    programs = plugin.train_step(model=model)
    for batch in workload.batches[:4]:
        found, _ = programs.read(programs.forward(model.stage(batch)))
        assert found == pytest.approx(loss_of(workload, workload.weights, batch), rel=1e-9)


def test_the_pipeline_gives_the_same_batches_and_the_step_trains_on_them(build, workload):
    model = build(workload)
    programs = plugin.train_step(model=model)
    lengths = []
    for batch in [*workload.batches, workload.batches[0]]:
        staged = programs.next_batch()
        np.testing.assert_array_equal(staged[0], batch.inputs)
        np.testing.assert_array_equal(staged[1], batch.targets)
        before = model.parameters()["2.kernel"]
        assert np.isfinite(programs.read(programs.run(staged))[0])
        assert np.any(model.parameters()["2.kernel"] != before)
        lengths.append(staged[0].shape[1])
    assert lengths[:4] == [9, 8, 7, 9]
