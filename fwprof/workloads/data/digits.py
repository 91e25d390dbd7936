"""scikit-learn's handwritten digits as a data set."""

from __future__ import annotations

from fwprof.errors import PluginUnavailableError
from fwprof.records import Workload
from fwprof.workloads.data.dataset import DataSet, misfit, split
from fwprof.workloads.weights import generator


def load_digits(workload: Workload, test_fraction: float, seed: int) -> DataSet:
    """Return the images, scaled to 0–1.

    Raises:
        PluginUnavailableError: scikit-learn is not installed.
        RequestError: the workload does not fit them.
    """
    try:
        from sklearn.datasets import load_digits as load_bunch
    except ImportError as error:
        raise PluginUnavailableError(
            "the data set digits needs scikit-learn, which is not installed",
            cause=str(error),
            next="pip install 'fwprof[data]'",
        ) from error
    shape = workload.input.shape
    is_image = shape in ((64,), (8, 8, 1)) and workload.input.dtype == "float32"
    if not is_image or workload.classes != 10 or workload.loss != "cross_entropy":
        raise misfit(workload, "digits need float32 input of shape [64] or [8, 8, 1], and 10 classes")
    bunch = load_bunch()
    # Pixels count 0 to 16.
    inputs = (bunch.data / 16.0).astype("float32").reshape(-1, *shape)
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
