"""Data made from the seed: inputs, and labels that a model can learn from them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from fwprof.errors import RequestError
from fwprof.records import Workload
from fwprof.records import workload as kinds
from fwprof.workloads.data.dataset import DataSet
from fwprof.workloads.language import first_vocabulary
from fwprof.workloads.text import PADDING
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

VALIDATION_SHARE = 4
"""Synthetic data has one validation sample for this many training samples."""
MAX_SYNTHETIC_BYTES = 16 * 2**30
"""More numbers in memory measure nothing better: the timed batches are few."""


def make_synthetic(workload: Workload, data: kinds.SyntheticData, seed: int) -> DataSet:
    """Make inputs at random and labels from them by a fixed random linear rule, so that a model can learn."""
    samples = data.samples
    count = samples + max(1, samples // VALIDATION_SHARE)
    size = count * prod(workload.input.shape) * 8
    if size > MAX_SYNTHETIC_BYTES:
        raise RequestError(
            f"workload {workload.name}: {samples} synthetic samples would take {size / 2**30:.3g} GiB",
            next="lower data.samples",
        )
    inputs, scores = _make_inputs(workload, data.min_length, count, seed)
    targets = _labels(workload, scores)
    return DataSet(
        name="synthetic",
        train_inputs=inputs[:samples],
        train_targets=targets[:samples],
        validation_inputs=inputs[samples:],
        validation_targets=targets[samples:],
        is_synthetic=True,
    )


def _make_inputs(workload: Workload, min_length: int | None, count: int, seed: int) -> tuple[Array, Array]:
    """Return inputs and, by a random linear rule of them, a score for each class."""
    is_ids, shape = workload.input.dtype == "int64", workload.input.shape
    if min_length is not None and not (is_ids and len(shape) == 1 and min_length <= shape[0]):
        raise RequestError(
            f"workload {workload.name} has no sequences of ids that could be {min_length} long or longer",
            cause=f"its input is {workload.input.dtype} {shape}",
            next="leave out data.min_length, or choose a smaller one",
        )
    if not is_ids:
        return _normal_numbers(workload, count, seed)
    return _zipf_ids(workload, min_length, count, seed)


def _labels(workload: Workload, scores: Array) -> Array:
    """Return the class of the best score, or each class's yes or no: scores centred, so in balance."""
    import numpy as np

    if workload.loss == "binary_cross_entropy":
        is_yes: Array = scores > np.median(scores, axis=0)
        return is_yes.astype(np.float32)
    # Else the commonest ids would give nearly every sample the same label.
    best: Array = (scores - scores.mean(axis=0)).argmax(axis=1)
    return best.astype(np.int64)


def _normal_numbers(workload: Workload, count: int, seed: int) -> tuple[Array, Array]:
    import numpy as np

    size = prod(workload.input.shape)
    inputs = generator(seed, "data inputs").standard_normal((count, size), dtype=np.float32)
    rule = generator(seed, "data labels").standard_normal((size, workload.classes), dtype=np.float32)
    return inputs.reshape(count, *workload.input.shape), inputs @ rule


def _zipf_ids(workload: Workload, min_length: int | None, count: int, seed: int) -> tuple[Array, Array]:
    """Draw the k-th id with a probability proportional to 1/k; a label adds up a score for each id.

    Without padding the first id is 0. With it, 0 stands for the padding alone and scores nothing.
    """
    import numpy as np

    vocabulary, length = first_vocabulary(workload.layers), prod(workload.input.shape)
    first = 0 if min_length is None else 1
    if first == vocabulary:
        raise RequestError(
            f"workload {workload.name} has no id for anything but the padding",
            next="give its embedding a larger vocabulary",
        )
    weight = np.cumsum(1.0 / np.arange(1, vocabulary - first + 1))
    draws = generator(seed, "data inputs").random((count, length))
    ranks = np.searchsorted(weight, draws * weight[-1], side="right").clip(max=len(weight) - 1)
    ids = ranks.astype(np.int64) + first
    rule = generator(seed, "data labels").standard_normal((vocabulary, workload.classes), dtype=np.float32)
    if min_length is not None:
        lengths = generator(seed, "data lengths").integers(min_length, length + 1, (count, 1))
        ids[np.arange(length) < length - lengths] = PADDING
        # Centred under the ids' own frequencies, else a sample's length would give its label away.
        rule -= np.average(rule[first:], axis=0, weights=1.0 / np.arange(1, len(weight) + 1))
        rule[PADDING] = 0
    scores = np.zeros((count, workload.classes), np.float32)
    for position in ids.T:
        scores += rule[position]
    return ids.reshape(count, *workload.input.shape), scores
