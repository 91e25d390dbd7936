"""Loss and accuracy of outputs, sample by sample, for either loss. Knows no model and no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def score(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return the losses and the hits of a batch, in float64.

    Args:
        logits: `(batch, classes)`.
        targets: `(batch,)` class labels of cross-entropy, or `(batch, classes)` of 0 and 1 of binary
            cross-entropy.

    Returns:
        `(batch,)` losses, and `(batch,)` of 1 and 0: whether the best class is the right one; for yes
        and no, the share of the classes that are on the right side.
    """
    import numpy as np

    values = np.asarray(logits, dtype=np.float64)
    if targets.ndim == 1:
        shifted = values - values.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        losses = log_sum - shifted[np.arange(len(targets)), targets]
        return losses, (values.argmax(axis=1) == targets).astype(np.float64)
    # log(1 + e^x) − x·target, written so that no exponential overflows.
    losses = np.maximum(values, 0) - values * targets + np.log1p(np.exp(-np.abs(values)))
    return losses.mean(axis=1), ((values > 0) == (targets > 0.5)).mean(axis=1)
