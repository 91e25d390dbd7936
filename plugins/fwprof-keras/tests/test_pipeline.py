"""The PyDataset pipeline on each backend: samples, order, workers."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.plugin import PipelineData, UnsupportedError, layers, transforms
from fwprof.testing.small import make_workload
from fwprof_keras.modes import read_mode

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture
def make_data(tmp_path):
    def make(**asked):
        inputs = np.arange(13 * 5 * 4 * 2, dtype=np.float32).reshape(13, 5, 4, 2)
        np.save(tmp_path / "inputs.npy", inputs)
        np.save(tmp_path / "targets.npy", np.arange(13))
        data = PipelineData(
            tmp_path / "inputs.npy", tmp_path / "targets.npy", 4, transforms.Pipeline(**asked), seed=3
        )
        return data, inputs

    return make


def epoch_of(pipeline):
    import keras

    to_numpy = keras.ops.convert_to_numpy
    return [(to_numpy(inputs), to_numpy(targets).tolist()) for ((inputs, targets, _),) in pipeline]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_gives_the_samples_in_order(build, make_data, backend, workers):
    data, images = make_data(shuffle=False, workers=workers)
    model, _ = build(make_workload((layers.Flatten(), layers.Dense(units=3)), (5, 4, 2)))
    pipeline = model.pipeline(data)
    for _ in range(2):
        batches = epoch_of(pipeline)
        assert [targets for _, targets in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        np.testing.assert_array_equal(batches[1][0], images[4:8])


def test_each_epoch_has_an_order_of_its_own(build, make_data, backend):
    model, _ = build(make_workload((layers.Flatten(), layers.Dense(units=3)), (5, 4, 2)))
    pipeline = model.pipeline(make_data()[0])
    first, second = ([targets for _, targets in epoch_of(pipeline)] for _ in range(2))
    assert first != second
    assert len({label for batch in first for label in batch}) == 12


def test_the_basis_says_who_makes_batches(build, make_data, backend):
    model, _ = build(make_workload((layers.Flatten(), layers.Dense(units=3)), (5, 4, 2)))
    assert model.pipeline(make_data()[0]).basis == "PyDataset, no workers"
    # Of one thread keras makes none: it asks for batches where it trains.
    assert model.pipeline(make_data(workers=1)[0]).basis == "PyDataset, no workers"
    assert model.pipeline(make_data(workers=2)[0]).basis == "PyDataset, 2 threads"


def test_jax_is_not_forked(make_cell):
    cell = make_cell(variant="jax", options={"workers": "processes"})
    with pytest.raises(UnsupportedError, match="keras:jax cannot have workers=processes"):
        read_mode(cell)
    assert read_mode(make_cell(variant="torch", options={"workers": "processes"})).has_processes
