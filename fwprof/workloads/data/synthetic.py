"""Data made from the seed: inputs, and labels that a model can learn from them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from fwprof.errors import RequestError
from fwprof.records import Workload
from fwprof.records import workload as kinds
from fwprof.workloads.data.dataset import DataSet
from fwprof.workloads.language import first_vocabulary, resolve
from fwprof.workloads.text import PADDING
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

VALIDATION_SHARE = 4
"""Synthetic data has one validation sample for this many training samples."""
MAX_SYNTHETIC_BYTES = 16 * 2**30
"""More numbers in memory measure nothing better: the timed batches are few."""


RULE_SIZE = 4096
"""So many numbers of a sample, evenly taken, decide about its label at most."""
NOISE = 0.1
"""Standard deviation of what no model can learn of a number to predict, whose own deviation is 1."""
PATCHES, CONTRAST = 4, 0.15
"""Patches along each side of a class's picture, and their strength against noise of deviation 1."""
FOLLOWS = 0.5
"""Share of ids that follow from the one before, where the next id is the target."""


def make_synthetic(workload: Workload, data: kinds.SyntheticData, seed: int) -> DataSet:
    """Make inputs at random and targets from them by a fixed random rule, so that a model can learn.

    Raises:
        RequestError: too much for the memory, or a property that the workload's input cannot have.
    """
    samples = data.samples
    count = samples + max(1, samples // VALIDATION_SHARE)
    size = count * prod(workload.input.shape) * 8
    if size > MAX_SYNTHETIC_BYTES:
        raise RequestError(
            f"workload {workload.name}: {samples} synthetic samples would take {size / 2**30:.3g} GiB",
            next="lower data.samples",
        )
    _require_fitting(workload, data)
    inputs, targets = _make(workload, data, count, seed)
    return DataSet(
        name="synthetic",
        train_inputs=inputs[:samples],
        train_targets=targets[:samples],
        validation_inputs=inputs[samples:],
        validation_targets=targets[samples:],
        is_synthetic=True,
        is_trimmed=data.is_trimmed,
    )


def _make(workload: Workload, data: kinds.SyntheticData, count: int, seed: int) -> tuple[Array, Array]:
    if len(workload.input.shape) == 3 and workload.loss == "cross_entropy":
        return _pictures(workload, count, seed)
    if workload.input.dtype != "int64":
        inputs, scores = _normal_numbers(workload, count, seed)
    elif len(resolve(workload)[-1].output_shape) > 1:
        return _text(workload, count, seed)
    elif data.has_columns:
        inputs, scores = _categories(workload, count, seed)
    else:
        inputs, scores = _zipf_ids(workload, data.min_length, count, seed)
    return inputs, _targets(workload, scores, seed)


def _require_fitting(workload: Workload, data: kinds.SyntheticData) -> None:
    is_ids, shape = workload.input.dtype == "int64", workload.input.shape
    is_sequence = is_ids and len(shape) == 1
    least, vocabulary = data.min_length, first_vocabulary(workload.layers)
    faults = {
        f"no sequences of ids that could be {least} long or longer": (
            least is not None and not (is_sequence and least <= shape[0]),
            "leave out data.min_length, or choose a smaller one",
        ),
        "no sequences whose length could change": (
            data.is_trimmed and least is None,
            "give data.min_length, or leave out data.is_trimmed",
        ),
        f"no {shape[0]} columns that share the ids of its embedding equally": (
            data.has_columns and not (is_sequence and least is None and vocabulary % shape[0] == 0),
            "give the embedding a vocabulary that is a multiple of the columns, and no min_length",
        ),
        "no id for anything but the padding": (
            least is not None and vocabulary == 1,
            "give its embedding a larger vocabulary",
        ),
    }
    for what, (applies, advice) in faults.items():
        if applies:
            raise RequestError(
                f"workload {workload.name} has {what}",
                cause=f"its input is {workload.input.dtype} {shape}",
                next=advice,
            )


def _targets(workload: Workload, scores: Array, seed: int) -> Array:
    """Return the class of the best score, each class's yes or no, or the scores themselves.

    Scores are centred first, so that classes are in balance.
    """
    import numpy as np

    if workload.loss == "binary_cross_entropy":
        is_yes: Array = scores > np.median(scores, axis=0)
        return is_yes.astype(np.float32)
    if workload.loss == "mean_squared_error":
        noise = generator(seed, "data noise").standard_normal(scores.shape)
        numbers: Array = (scores - scores.mean(axis=0)) / scores.std(axis=0) + NOISE * noise
        return numbers.astype(np.float32)
    # Else the commonest ids would give nearly every sample the same label.
    best: Array = (scores - scores.mean(axis=0)).argmax(axis=1)
    return best.astype(np.int64)


def _normal_numbers(workload: Workload, count: int, seed: int) -> tuple[Array, Array]:
    import numpy as np

    size = prod(workload.input.shape)
    inputs = generator(seed, "data inputs").standard_normal((count, size), dtype=np.float32)
    # A rule of all numbers of a large image for a thousand classes would be larger than most models.
    seen = inputs[:, :: -(-size // RULE_SIZE)]
    shape = (seen.shape[1], workload.classes)
    rule = generator(seed, "data labels").standard_normal(shape, dtype=np.float32)
    return inputs.reshape(count, *workload.input.shape), seen @ rule


def _pictures(workload: Workload, count: int, seed: int) -> tuple[Array, Array]:
    """Return noise over a coarse picture of the sample's class, of deviation 1 together.

    A linear rule of all pixels would be one that convolutions and pooling cannot find.
    """
    import numpy as np

    height, width, channels = workload.input.shape
    shape = (workload.classes, PATCHES, PATCHES, channels)
    coarse = generator(seed, "data labels").standard_normal(shape, dtype=np.float32)
    rows, columns = (np.arange(size) * PATCHES // size for size in (height, width))
    pictures = CONTRAST * coarse[:, rows][:, :, columns]
    labels = generator(seed, "data order").integers(0, workload.classes, count)
    inputs = generator(seed, "data inputs").standard_normal(
        (count, height, width, channels), dtype=np.float32
    )
    inputs += pictures[labels]
    inputs /= np.sqrt(np.float32(1 + CONTRAST**2))
    return inputs, labels


def _zipf_ids(workload: Workload, min_length: int | None, count: int, seed: int) -> tuple[Array, Array]:
    """Return ids, and scores that add up one for each id.

    Without padding the first id is 0. With it, 0 stands for the padding alone and scores nothing.
    """
    import numpy as np

    vocabulary, length = first_vocabulary(workload.layers), prod(workload.input.shape)
    first = 0 if min_length is None else 1
    ids = _draw_ids(vocabulary - first, (count, length), seed) + first
    rule = generator(seed, "data labels").standard_normal((vocabulary, workload.classes), dtype=np.float32)
    if min_length is not None:
        lengths = generator(seed, "data lengths").integers(min_length, length + 1, (count, 1))
        ids[np.arange(length) < length - lengths] = PADDING
        # Centred under the ids' own frequencies, else a sample's length would give its label away.
        rule -= np.average(rule[first:], axis=0, weights=1.0 / np.arange(1, vocabulary - first + 1))
        rule[PADDING] = 0
    return ids.reshape(count, *workload.input.shape), _add_up(rule, ids)


def _categories(workload: Workload, count: int, seed: int) -> tuple[Array, Array]:
    """Return a row of ids, each of its column's own, and scores that add up one for each id."""
    import numpy as np

    vocabulary, (columns,) = first_vocabulary(workload.layers), workload.input.shape
    share = vocabulary // columns
    ids = _draw_ids(share, (count, columns), seed) + share * np.arange(columns)
    rule = generator(seed, "data labels").standard_normal((vocabulary, workload.classes), dtype=np.float32)
    return ids, _add_up(rule, ids)


def _text(workload: Workload, count: int, seed: int) -> tuple[Array, Array]:
    """Return ids and for each position the id that follows it.

    Half of them follow by a fixed random rule from the one before, the others are drawn.
    """
    import numpy as np

    vocabulary, (length,) = first_vocabulary(workload.layers), workload.input.shape
    if workload.classes != vocabulary:
        raise RequestError(
            f"workload {workload.name} cannot predict the next id",
            cause=f"it has {vocabulary} ids and {workload.classes} classes",
            next="set `classes` to the vocabulary of the embedding",
        )
    ids = _draw_ids(vocabulary, (count, length + 1), seed)
    after = generator(seed, "data labels").permutation(vocabulary)
    follows = generator(seed, "data order").random(ids.shape) < FOLLOWS
    for position in range(1, length + 1):
        ids[:, position] = np.where(follows[:, position], after[ids[:, position - 1]], ids[:, position])
    return ids[:, :-1], ids[:, 1:]


def _draw_ids(count: int, shape: tuple[int, int], seed: int) -> Array:
    """Return ids below `count`, the k-th with a probability proportional to 1/k."""
    import numpy as np

    weight = np.cumsum(1.0 / np.arange(1, count + 1))
    draws = generator(seed, "data inputs").random(shape)
    ranks: Array = np.searchsorted(weight, draws * weight[-1], side="right").clip(max=count - 1)
    return ranks.astype(np.int64)


def _add_up(rule: Array, ids: Array) -> Array:
    import numpy as np

    scores: Array = np.zeros((len(ids), rule.shape[1]), np.float32)
    for position in ids.T:
        scores += rule[position]
    return scores
