"""The PyDataset pipeline on each backend, beyond what conformance asks: who makes batches."""

from __future__ import annotations

import pytest

from fwprof.plugin import UnsupportedError
from fwprof.testing.small import IMAGES, make_workload, write_samples
from fwprof_keras.modes import read_mode

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def test_the_basis_says_who_makes_batches(build, tmp_path, backend):
    model, _ = build(make_workload(*IMAGES))
    assert model.pipeline(write_samples(tmp_path)).basis == "PyDataset, no workers"
    # Of one thread keras makes none: it asks for batches where it trains.
    assert model.pipeline(write_samples(tmp_path, workers=1)).basis == "PyDataset, no workers"
    assert model.pipeline(write_samples(tmp_path, workers=2)).basis == "PyDataset, 2 threads"


def test_jax_is_not_forked(make_cell):
    cell = make_cell(variant="jax", options={"workers": "processes"})
    with pytest.raises(UnsupportedError, match="keras:jax cannot have workers=processes"):
        read_mode(cell)
    assert read_mode(make_cell(variant="torch", options={"workers": "processes"})).has_processes
