"""scikit-learn's handwritten digits as a data set."""

from __future__ import annotations

from fwprof.errors import PluginUnavailableError
from fwprof.records import Workload
from fwprof.workloads.data.dataset import DataSet, held_out_count, split
from fwprof.workloads.data.images import expect_images
from fwprof.workloads.weights import generator

SHAPES = ((8, 8, 1), (64,))
COUNT = 1797
"""All there are, known without importing scikit-learn, which takes a second."""


def count_digits(workload: Workload, test_fraction: float) -> int:
    """Return how many digits train.

    Raises:
        RequestError: the workload does not fit them.
    """
    expect_images(workload, SHAPES)
    return COUNT - held_out_count(COUNT, test_fraction)


def load_digits(workload: Workload, test_fraction: float, seed: int) -> DataSet:
    """Return the images, scaled to 0–1.

    Raises:
        PluginUnavailableError: scikit-learn is not installed.
        RequestError: the workload does not fit them.
    """
    expect_images(workload, SHAPES)
    try:
        from sklearn.datasets import load_digits as load_bunch
    except ImportError as error:
        raise PluginUnavailableError(
            "the data set digits needs scikit-learn, which is not installed",
            cause=str(error),
            next="pip install 'fwprof[data]'",
        ) from error
    bunch = load_bunch()
    # Pixels count 0 to 16.
    inputs = (bunch.data / 16.0).astype("float32").reshape(-1, *workload.input.shape)
    targets = bunch.target.astype("int64")
    validation, train = split(len(targets), test_fraction, generator(seed, "digits split"))
    return DataSet(
        name="digits",
        train_inputs=inputs[train],
        train_targets=targets[train],
        validation_inputs=inputs[validation],
        validation_targets=targets[validation],
        is_synthetic=False,
    )
