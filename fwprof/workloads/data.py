"""Makes or loads the data a workload trains on.

Owns samples, labels, the split and the order of batches. Knows no framework and no file of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from fwprof.contracts import Batch
from fwprof.errors import PluginUnavailableError, RequestError
from fwprof.records import Workload
from fwprof.records import workload as kinds
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

VALIDATION_SHARE = 4
"""Synthetic data has one validation sample for this many training samples."""
MAX_SYNTHETIC_BYTES = 16 * 2**30
"""More numbers in memory measure nothing better: the timed batches are few."""


@dataclass(frozen=True)
class DataSet:
    """Samples and labels, split for training and validation.

    Args:
        train_inputs: `(samples, *input.shape)`, float32 or int64; so is `validation_inputs`.
        train_targets: `(samples,)` int64 class labels; so is `validation_targets`.
        is_synthetic: made from the seed, so that its accuracy says nothing about a real task.
    """

    name: str
    train_inputs: Array
    train_targets: Array
    validation_inputs: Array
    validation_targets: Array
    is_synthetic: bool

    def batches(self, count: int, batch_size: int) -> list[Batch]:
        """Return the first `count` training batches, starting over where the samples end.

        Raises:
            RequestError: there are fewer samples than one batch holds.
        """
        import numpy as np

        self._check(batch_size)
        order = np.arange(count * batch_size) % len(self.train_targets)
        return [self._train_batch(chosen) for chosen in np.split(order, count)]

    def epoch(self, number: int, batch_size: int, seed: int) -> Iterator[Batch]:
        """Yield every training sample once, shuffled anew each epoch; a partial batch is dropped.

        Raises:
            RequestError: there are fewer samples than one batch holds.
        """
        self._check(batch_size)
        order = generator(seed, f"epoch {number}").permutation(len(self.train_targets))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield self._train_batch(order[start : start + batch_size])

    def training_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the training samples in their fixed order; the last batch may be smaller."""
        return _in_order(self.train_inputs, self.train_targets, batch_size)

    def validation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the validation samples in their fixed order; the last batch may be smaller."""
        return _in_order(self.validation_inputs, self.validation_targets, batch_size)

    def _train_batch(self, chosen: Array) -> Batch:
        import numpy as np

        # Plain arrays: a memory-mapped one would hand frameworks a subclass that they do not know.
        return Batch(np.asarray(self.train_inputs)[chosen], np.asarray(self.train_targets)[chosen])

    def _check(self, batch_size: int) -> None:
        count = len(self.train_targets)
        if batch_size > count:
            raise RequestError(
                f"a batch of {batch_size} is larger than the data set {self.name} ({count} samples)",
                next=f"set data.samples to {batch_size} or more"
                if self.is_synthetic
                else "choose a smaller batch size",
            )


def _in_order(inputs: Array, targets: Array, batch_size: int) -> Iterator[Batch]:
    import numpy as np

    for start in range(0, len(targets), batch_size):
        part = slice(start, start + batch_size)
        # Copies: a memory-mapped part would hand frameworks a subclass that they do not know.
        yield Batch(np.array(inputs[part]), np.array(targets[part]))


def load_data(workload: Workload, seed: int) -> DataSet:
    """Return the workload's data set.

    Raises:
        RequestError: the data do not have the shape that the workload's input declares.
        PluginUnavailableError: the package that brings the data is not installed.
    """
    if isinstance(workload.data, kinds.DigitsData):
        return _digits(workload, workload.data, seed)
    return _synthetic(workload, workload.data.samples, seed)


def _synthetic(workload: Workload, samples: int, seed: int) -> DataSet:
    """Make inputs at random and labels from them by a fixed random linear rule, so that a model can learn."""
    count = samples + max(1, samples // VALIDATION_SHARE)
    size = count * prod(workload.input.shape) * 8
    if size > MAX_SYNTHETIC_BYTES:
        raise RequestError(
            f"workload {workload.name}: {samples} synthetic samples would take {size / 2**30:.3g} GiB",
            next="lower data.samples",
        )
    make = _zipf_ids if workload.input.dtype == "int64" else _normal_numbers
    inputs, scores = make(workload, count, seed)
    # Centred, else the commonest ids would give nearly every sample the same label.
    targets = (scores - scores.mean(axis=0)).argmax(axis=1).astype("int64")
    return DataSet(
        name="synthetic",
        train_inputs=inputs[:samples],
        train_targets=targets[:samples],
        validation_inputs=inputs[samples:],
        validation_targets=targets[samples:],
        is_synthetic=True,
    )


def _normal_numbers(workload: Workload, count: int, seed: int) -> tuple[Array, Array]:
    import numpy as np

    size = prod(workload.input.shape)
    inputs = generator(seed, "data inputs").standard_normal((count, size), dtype=np.float32)
    rule = generator(seed, "data labels").standard_normal((size, workload.classes), dtype=np.float32)
    return inputs.reshape(count, *workload.input.shape), inputs @ rule


def _zipf_ids(workload: Workload, count: int, seed: int) -> tuple[Array, Array]:
    """Draw id k with a probability proportional to 1/(k + 1); a label adds up a score for each id."""
    import numpy as np

    vocabulary = _vocabulary(workload.layers)
    weight = np.cumsum(1.0 / np.arange(1, vocabulary + 1))
    draws = generator(seed, "data inputs").random((count, prod(workload.input.shape)))
    ids = np.searchsorted(weight, draws * weight[-1], side="right").clip(max=vocabulary - 1).astype(np.int64)
    rule = generator(seed, "data labels").standard_normal((vocabulary, workload.classes), dtype=np.float32)
    scores = np.zeros((count, workload.classes), np.float32)
    for position in ids.T:
        scores += rule[position]
    return ids.reshape(count, *workload.input.shape), scores


def _vocabulary(layers: tuple[kinds.Layer, ...]) -> int:
    """Return the size of the first embedding; resolution has made sure that there is one."""
    for layer in layers:
        if isinstance(layer, kinds.Embedding):
            return layer.vocabulary
        if isinstance(layer, kinds.Repeat | kinds.Residual) and (inner := _vocabulary(layer.layers)):
            return inner
    return 0


def _digits(workload: Workload, data: kinds.DigitsData, seed: int) -> DataSet:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PluginUnavailableError(
            "the data set digits needs scikit-learn, which is not installed",
            cause=str(error),
            next="pip install 'fwprof[data]'",
        ) from error
    shape = workload.input.shape
    if shape not in ((64,), (8, 8, 1)) or workload.input.dtype != "float32" or workload.classes != 10:
        raise RequestError(
            f"workload {workload.name} does not fit the data set digits",
            cause=f"its input is {workload.input.dtype} {shape}, its classes are {workload.classes}",
            next="digits need float32 input of shape [64] or [8, 8, 1], and 10 classes",
        )
    bunch = load_digits()
    # Pixels count 0 to 16.
    inputs = (bunch.data / 16.0).astype("float32").reshape(-1, *shape)
    targets = bunch.target.astype("int64")
    order = generator(seed, "digits split").permutation(len(targets))
    held_out = max(1, min(len(order) - 1, round(len(order) * data.test_fraction)))
    validation, train = order[:held_out], order[held_out:]
    return DataSet(
        name="digits",
        train_inputs=inputs[train],
        train_targets=targets[train],
        validation_inputs=inputs[validation],
        validation_targets=targets[validation],
        is_synthetic=False,
    )
