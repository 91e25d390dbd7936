"""The losses of the model language in NumPy, each with its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fwprof.testing.numpy_lstm import sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fwprof.records.workload import Loss

    Array = NDArray[Any]


def loss_of(kind: Loss, logits: Array, targets: Array) -> tuple[float, Array]:
    """Return the mean loss of outputs `(batch, classes)` and its gradient, of their shape."""
    match kind:
        case "cross_entropy":
            return cross_entropy(logits, targets)
        case "binary_cross_entropy":
            return binary_cross_entropy(logits, targets)
        case "mean_squared_error":
            return mean_squared_error(logits, targets)


def cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Return the mean softmax cross-entropy with class labels and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(targets))
    gradient = np.exp(log_shares)
    gradient[rows, targets] -= 1
    return float(-log_shares[rows, targets].mean()), gradient / len(targets)


def binary_cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Return the mean sigmoid cross-entropy with 0 or 1 for each class and its gradient."""
    # log(1 + e^x) − x·target, written so that no exponential overflows.
    losses = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    gradient: Array = (sigmoid(logits) - targets.astype(logits.dtype)) / logits.dtype.type(logits.size)
    return float(losses.mean()), gradient


def mean_squared_error(outputs: Array, targets: Array) -> tuple[float, Array]:
    """Return the mean of the squared differences and its gradient."""
    differences = outputs - targets.astype(outputs.dtype)
    gradient: Array = 2 * differences / outputs.dtype.type(outputs.size)
    return float((differences * differences).mean()), gradient
