"""Makes or loads the data a workload trains on.

Owns samples, labels, the split and the order of batches. Knows no framework and no file of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from fwprof.contracts import Batch
from fwprof.errors import PluginUnavailableError, RequestError
from fwprof.records import Workload
from fwprof.records import workload as kinds
from fwprof.workloads import text
from fwprof.workloads.text import PADDING
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.random import Generator
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
        train_targets: `(samples,)` int64 class labels, or `(samples, classes)` float32 of 0 and 1,
            as the loss takes them; so is `validation_targets`.
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
    match workload.data:
        case kinds.DigitsData(test_fraction=fraction):
            return _digits(workload, fraction, seed)
        case kinds.DictionariesData(test_fraction=fraction):
            return _dictionaries(workload, fraction, seed)
        case kinds.SyntheticData() as data:
            return _synthetic(workload, data, seed)


def target_form(workload: Workload) -> tuple[tuple[int, ...], str]:
    """Return shape, without the batch dimension, and dtype of the targets that the loss takes."""
    return ((workload.classes,), "float32") if workload.loss == "binary_cross_entropy" else ((), "int64")


def _synthetic(workload: Workload, data: kinds.SyntheticData, seed: int) -> DataSet:
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

    vocabulary, length = _vocabulary(workload.layers), prod(workload.input.shape)
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


def _vocabulary(layers: tuple[kinds.Layer, ...]) -> int:
    """Return the size of the first embedding; resolution has made sure that there is one."""
    for layer in layers:
        if isinstance(layer, kinds.Embedding):
            return layer.vocabulary
        if isinstance(layer, kinds.Repeat | kinds.Residual) and (inner := _vocabulary(layer.layers)):
            return inner
    return 0


def _digits(workload: Workload, test_fraction: float, seed: int) -> DataSet:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PluginUnavailableError(
            "the data set digits needs scikit-learn, which is not installed",
            cause=str(error),
            next="pip install 'fwprof[data]'",
        ) from error
    shape = workload.input.shape
    is_image = shape in ((64,), (8, 8, 1)) and workload.input.dtype == "float32"
    if not is_image or workload.classes != 10 or workload.loss != "cross_entropy":
        raise _misfit(workload, "digits need float32 input of shape [64] or [8, 8, 1], and 10 classes")
    bunch = load_digits()
    # Pixels count 0 to 16.
    inputs = (bunch.data / 16.0).astype("float32").reshape(-1, *shape)
    targets = bunch.target.astype("int64")
    validation, train = _split(len(targets), test_fraction, generator(seed, "digits split"))
    return DataSet(
        name="digits",
        train_inputs=inputs[train],
        train_targets=targets[train],
        validation_inputs=inputs[validation],
        validation_targets=targets[validation],
        is_synthetic=False,
    )


def _dictionaries(workload: Workload, test_fraction: float, seed: int) -> DataSet:
    import numpy as np

    shape, vocabulary = workload.input.shape, _vocabulary(workload.layers)
    is_text = len(shape) == 1 and workload.input.dtype == "int64" and vocabulary > text.FIRST_WORD
    if not is_text or workload.classes != 1 or workload.loss != "binary_cross_entropy":
        raise _misfit(workload, "dictionaries need int64 input of shape [length], classes: 1 and binary loss")
    books = [text.read_book(name) for name in text.BOOKS]
    entries = [(words, label) for label, book in enumerate(books) for words in book]
    # Entry by entry: two passages of one entry share what they are about.
    split = _split(len(entries), test_fraction, generator(seed, "dictionaries split"))
    validation, train = ([entries[index] for index in part] for part in split)
    ids = text.number_words((words for words, _ in train), vocabulary)

    def arrays(part: Sequence[tuple[Sequence[str], int]]) -> tuple[Array, Array]:
        rows = [(row, label) for words, label in part for row in text.passages(words, ids, shape[0])]
        targets = np.array([[label] for _, label in rows], np.float32)
        return np.array([row for row, _ in rows], np.int64), targets

    train_inputs, train_targets = arrays(train)
    validation_inputs, validation_targets = arrays(validation)
    return DataSet(
        name="dictionaries",
        train_inputs=train_inputs,
        train_targets=train_targets,
        validation_inputs=validation_inputs,
        validation_targets=validation_targets,
        is_synthetic=False,
    )


def _split(count: int, test_fraction: float, random: Generator) -> tuple[Array, Array]:
    """Return the numbers held out for validation, and the others; neither is empty."""
    order = random.permutation(count)
    held_out = max(1, min(count - 1, round(count * test_fraction)))
    return order[:held_out], order[held_out:]


def _misfit(workload: Workload, needs: str) -> RequestError:
    name = workload.data.__struct_config__.tag
    return RequestError(
        f"workload {workload.name} does not fit the data set {name}",
        cause=f"its input is {workload.input.dtype} {workload.input.shape}, its classes are "
        f"{workload.classes}, its loss is {workload.loss}",
        next=needs,
    )
