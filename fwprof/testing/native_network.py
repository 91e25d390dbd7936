"""The user's own model, for the fake framework: the kernels of dense layers with relu between.

`make` is such a factory. Owns what one may return; knows nothing of how it is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fwprof.errors import UnsupportedError
from fwprof.plugin import LoadedWorkload, Workload, layers
from fwprof.workloads.language import resolve

NATIVE_LEARNING_RATE = 0.01


def make(units: int = 8, seed: int = 0) -> dict[str, Any]:
    """Return a model of two layers and its batches, as a user's own file does.

    Args:
        units: of the hidden layer.
        seed: of weights and data.
    """
    random = np.random.default_rng(seed)
    batches = [(random.normal(size=(4, 6)), random.integers(0, 3, 4)) for _ in range(8)]
    kernels = [random.normal(size=(6, units)), random.normal(size=(units, 3))]
    return {"model": kernels, "batches": batches}


def make_native_workload(loaded: LoadedWorkload) -> LoadedWorkload:
    """Return a loaded user's model as a neutral workload of dense layers.

    Raises:
        UnsupportedError: `model` is not a sequence of matrices; says what it is.
    """
    native = loaded.native or {}
    kernels = native.get("model")
    if not isinstance(kernels, Sequence) or not kernels or not all(map(_is_matrix, kernels)):
        raise UnsupportedError(
            f"the fake framework cannot train a model of type {type(kernels).__name__}",
            next="'model' is a sequence of matrices, the kernels of dense layers",
        )
    spec = Workload(
        name="native",
        input=layers.InputSpec(shape=(len(kernels[0]),)),
        layers=tuple(
            layers.Dense(
                units=kernel.shape[1],
                activation=None if kernel is kernels[-1] else "relu",
                use_bias=False,
            )
            for kernel in kernels
        ),
        classes=kernels[-1].shape[1],
        optimizer=layers.Sgd(learning_rate=native.get("learning_rate", NATIVE_LEARNING_RATE)),
    )
    weights = {f"{index}.kernel": kernel for index, kernel in enumerate(kernels)}
    return replace(loaded, spec=spec, layers=resolve(spec), weights=weights)


def _is_matrix(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 2
