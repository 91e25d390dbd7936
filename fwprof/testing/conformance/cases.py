"""The small workloads that the framework checks build, and their float64 reference.

Every layer kind used here is one that any framework has. Knows nothing of plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fwprof.plugin import LoadedWorkload, ResolvedLayer, layers
from fwprof.records import WorkloadPlan
from fwprof.testing.numpy_network import Network, Update, without_dropout
from fwprof.testing.small import make_workload

if TYPE_CHECKING:
    from fwprof.testing.numpy_network import Array

FEATURES, CLASSES, BATCH, BATCHES = 12, 5, 16, 8
OPTIMIZER = layers.Sgd(learning_rate=0.1, momentum=0.9)
ADAM = layers.Adam(learning_rate=0.01, epsilon=1e-3)
"""Its epsilon is so large that its form shows within three steps."""


class Hologram(layers.LayerBase, frozen=True, kw_only=True, tag="hologram"):
    """A layer that no framework has."""


_make = partial(make_workload, batch=BATCH, batches=BATCHES, seed=7)
_make_of_features = partial(_make, shape=(FEATURES,), classes=CLASSES, optimizer=OPTIMIZER)
_CASES: Mapping[str, Callable[..., LoadedWorkload]] = {
    "plain": partial(
        _make_of_features, (layers.Dense(units=16, activation="relu"), layers.Dense(units=CLASSES))
    ),
    "dropout": partial(
        _make_of_features,
        (
            layers.Dense(units=16, activation="relu"),
            layers.Dropout(rate=0.5),
            layers.Dense(units=CLASSES),
        ),
    ),
    "batch_norm": partial(
        _make_of_features,
        (
            layers.Dense(units=16),
            layers.BatchNorm(),
            layers.Activation(function="relu"),
            layers.Dense(units=CLASSES),
        ),
    ),
    "image": partial(
        _make,
        (
            layers.Flatten(),
            layers.Dense(units=6, activation="tanh"),
            layers.Dropout(rate=0.5),
            layers.Dense(units=3),
        ),
        (3, 4, 2),
        loss="binary_cross_entropy",
        optimizer=ADAM,
    ),
    "sequence": partial(
        _make,
        (
            layers.Embedding(vocabulary=9, units=4),
            layers.Lstm(units=5, return_sequences=True),
            layers.Lstm(units=3),
            layers.Dense(units=1),
        ),
        (6,),
        classes=1,
        loss="binary_cross_entropy",
        optimizer=ADAM,
        vocabulary=9,
    ),
}


def load_case(name: str) -> LoadedWorkload:
    """Return one of the small workloads: plain, dropout, batch_norm, image or sequence."""
    return _CASES[name](name=f"check-{name.replace('_', '-')}")


def with_hologram(loaded: LoadedWorkload) -> LoadedWorkload:
    """Return the workload with a layer in front that no framework has."""
    # The record refuses unknown kinds, as it should: the layer is put in without validation.
    hologram = ResolvedLayer(
        path="h",
        layer=Hologram(),  # type: ignore[arg-type]  # meant to be no Layer
        input_shape=(FEATURES,),
        output_shape=(FEATURES,),
        parameters={},
    )
    return LoadedWorkload(
        name=loaded.name,
        spec=loaded.spec,
        layers=(hologram, *loaded.layers),
        weights=loaded.weights,
        batches=loaded.batches,
    )


def plan_of(loaded: LoadedWorkload) -> WorkloadPlan:
    """Return what the plan says of a loaded workload."""
    return WorkloadPlan(name=loaded.name, spec=loaded.spec, layers=loaded.layers)


class Reference:
    """The workload in float64, without dropout: what a framework must agree with."""

    def __init__(self, loaded: LoadedWorkload) -> None:
        assert loaded.spec is not None  # the small workloads are all neutral
        self.loaded = loaded
        values = {name: value.astype(np.float64) for name, value in loaded.weights.items()}
        self.network = Network(without_dropout(loaded.layers), values, seed=0, loss=loaded.spec.loss)
        self._update = Update(loaded.spec.optimizer)

    def loss(self, batch: int) -> float:
        """Return the loss on batch number `batch`."""
        return self.network.loss(*self._load(batch))

    def gradients(self, batch: int) -> Mapping[str, Array]:
        """Return the gradients on batch number `batch`."""
        return self.network.loss_and_pull(*self._load(batch))[1]()

    def step(self, batch: int) -> float:
        """Take one training step; return its loss."""
        loss, pull = self.network.loss_and_pull(*self._load(batch))
        self._update.apply(self.network.values, pull())
        return loss

    def predict(self, batch: int) -> Array:
        """Return the outputs `(batch, classes)` in inference mode."""
        return self.network.outputs(self._load(batch)[0], is_training=False)[0]

    def _load(self, batch: int) -> tuple[Array, Array]:
        inputs, targets = self.loaded.batches[batch].inputs, self.loaded.batches[batch].targets
        return inputs if inputs.dtype.kind == "i" else inputs.astype(np.float64), targets
