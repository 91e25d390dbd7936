"""Scores of outputs against targets, for every loss. Knows no model and no framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

REGRESSION = "mean_squared_error"
"""The loss whose targets are numbers, which nothing can be right or wrong about."""


@dataclass(frozen=True)
class Scores:
    """What outputs are worth. Shares are 1 for all; None where nothing defines them."""

    loss: float
    accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


class Tally:
    """Counts batch by batch, in float64, so that no split has to fit into memory twice.

    Args:
        loss: of the workload; says what outputs and targets mean.
    """

    def __init__(self, loss: str) -> None:
        self._loss = loss
        self._loss_sum = 0.0
        self._loss_count = 0
        self._right = 0
        self._judged = 0
        # One number a class or label; an int until the first batch says how many there are.
        self._hits: Any = 0
        self._predicted: Any = 0
        self._actual: Any = 0

    def add(self, outputs: Array, targets: Array) -> None:
        """Count one batch.

        Args:
            outputs: logits `(batch, classes)`, or `(batch, length, classes)` where every position has
                a class; of a regression the numbers `(batch, classes)`.
            targets: for cross-entropy int64 classes, of the shape of `outputs` without its last axis;
                else of that of `outputs`: 0 and 1 for binary cross-entropy, numbers for a regression.

        Raises:
            ValueError: the shapes do not fit; names both.
        """
        import numpy as np

        expected = np.shape(outputs)[:-1] if self._loss == "cross_entropy" else np.shape(outputs)
        if np.shape(targets) != expected:
            raise ValueError(
                f"outputs of shape {np.shape(outputs)} do not fit targets of shape {np.shape(targets)}"
            )
        values = np.asarray(outputs, dtype=np.float64).reshape(-1, np.shape(outputs)[-1])
        # What has overflowed is told by a loss that is no number.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._loss == "cross_entropy":
                self._add_classes(values, np.asarray(targets).reshape(-1))
            elif self._loss == REGRESSION:
                self._add_losses((values - np.asarray(targets, np.float64).reshape(values.shape)) ** 2)
            else:
                self._add_labels(values, np.asarray(targets, np.float64).reshape(values.shape))

    def _add_classes(self, values: Array, classes: Array) -> None:
        import numpy as np

        shifted = values - values.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        self._add_losses(log_sum - shifted[np.arange(len(classes)), classes])
        best, count = values.argmax(axis=1), values.shape[1]
        self._add_counts(
            np.bincount(best[best == classes], minlength=count),
            np.bincount(best, minlength=count),
            np.bincount(classes, minlength=count),
        )
        self._right += int((best == classes).sum())
        self._judged += len(classes)

    def _add_labels(self, values: Array, labels: Array) -> None:
        import numpy as np

        # log(1 + e^x) − x·label, written so that no exponential overflows.
        self._add_losses(np.maximum(values, 0) - values * labels + np.log1p(np.exp(-np.abs(values))))
        said, true = values > 0, labels > 0.5
        self._add_counts((said & true).sum(axis=0), said.sum(axis=0), true.sum(axis=0))
        self._right += int((said == true).sum())
        self._judged += said.size

    def _add_losses(self, losses: Array) -> None:
        self._loss_sum += float(losses.sum())
        self._loss_count += losses.size

    def _add_counts(self, hits: Array, predicted: Array, actual: Array) -> None:
        self._hits = self._hits + hits
        self._predicted = self._predicted + predicted
        self._actual = self._actual + actual

    def scores(self) -> Scores:
        """Return the scores of everything counted so far.

        The predicted class is the one of the largest logit; a label is said to be yes where its logit
        is above 0. `loss` is the mean over samples (positions), and over the labels or numbers of each.
        `accuracy` is the share of samples (positions) whose class is right; of labels, the share of all
        sample-label pairs that are. `precision`, `recall` and `f1` are unweighted means over classes
        (labels) of

            precision = hits / predicted    recall = hits / actual    f1 = 2·hits / (predicted + actual)

        with what was predicted to be of the class, what is of it, and the hits that are both. A class
        that is never predicted has precision 0, one that never occurs has recall 0; one of which neither
        is so says nothing and is not in the mean. Where no class is left there is no mean: None. For a
        single yes or no these are the figures of the yes.

        Source: Sokolova and Lapalme, A systematic analysis of performance measures for classification
        tasks, Information Processing and Management 45 (2009), table 3 (macro-averaging); its F-score
        replaced by the mean of the classes' own: Opitz and Burst, Macro F1 and Macro F1,
        arXiv:1911.03347. So does scikit-learn with `average="macro", zero_division=0`, except that of
        labels it takes those that say nothing for 0.

        Raises:
            ValueError: nothing was counted.
        """
        import numpy as np

        if not self._loss_count:
            raise ValueError("there is no sample to score")
        loss = self._loss_sum / self._loss_count
        if self._loss == REGRESSION:
            return Scores(loss=loss)
        says_something = self._predicted + self._actual > 0
        if not says_something.any():
            return Scores(loss=loss, accuracy=self._right / self._judged)
        hits, predicted, actual = (
            counts[says_something] for counts in (self._hits, self._predicted, self._actual)
        )
        # A class without predictions has no hits either: 0 / 1.
        return Scores(
            loss=loss,
            accuracy=self._right / self._judged,
            precision=float((hits / np.maximum(predicted, 1)).mean()),
            recall=float((hits / np.maximum(actual, 1)).mean()),
            f1=float((2 * hits / (predicted + actual)).mean()),
        )
