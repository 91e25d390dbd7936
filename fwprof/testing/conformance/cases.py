"""The small workloads that the framework checks build, and their float64 reference.

Every layer kind used here is one that any framework has. Knows nothing of plugins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fwprof.plugin import Batch, LoadedWorkload, ResolvedLayer, Workload, layers
from fwprof.records import Layer, WorkloadPlan
from fwprof.testing.numpy_network import Network, Update
from fwprof.workloads.language import parameter_shapes, resolve, state_shapes

if TYPE_CHECKING:
    from fwprof.testing.numpy_network import Array

FEATURES, CLASSES, BATCH, BATCHES = 12, 5, 16, 8
OPTIMIZER = layers.Sgd(learning_rate=0.1, momentum=0.9)


class Hologram(layers.LayerBase, frozen=True, kw_only=True, tag="hologram"):
    """A layer that no framework has."""


_LAYERS: Mapping[str, Sequence[Layer]] = {
    "plain": (layers.Dense(units=16, activation="relu"), layers.Dense(units=CLASSES)),
    "dropout": (
        layers.Dense(units=16, activation="relu"),
        layers.Dropout(rate=0.5),
        layers.Dense(units=CLASSES),
    ),
    "batch_norm": (
        layers.Dense(units=16),
        layers.BatchNorm(),
        layers.Activation(function="relu"),
        layers.Dense(units=CLASSES),
    ),
}


def load_case(name: str) -> LoadedWorkload:
    """Return one of the small workloads: `plain`, `dropout` or `batch_norm`."""
    spec = Workload(
        name=f"check-{name.replace('_', '-')}",
        input=layers.InputSpec(shape=(FEATURES,)),
        layers=tuple(_LAYERS[name]),
        classes=CLASSES,
        optimizer=OPTIMIZER,
        batch_size={"default": BATCH},
    )
    resolved = resolve(spec)
    random = np.random.default_rng(7)
    weights = {
        name: _make_weight(name, shape, random)
        for name, shape in {**parameter_shapes(resolved), **state_shapes(resolved)}.items()
    }
    batches = tuple(
        Batch(
            inputs=random.normal(size=(BATCH, FEATURES)).astype(np.float32),
            targets=random.integers(0, CLASSES, BATCH),
        )
        for _ in range(BATCHES)
    )
    return LoadedWorkload(name=spec.name, spec=spec, layers=resolved, weights=weights, batches=batches)


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
    """The workload in float64: what a framework must agree with."""

    def __init__(self, loaded: LoadedWorkload) -> None:
        self.loaded = loaded
        values = {name: value.astype(np.float64) for name, value in loaded.weights.items()}
        self.network = Network(loaded.layers, values, seed=0)
        self._update = Update(OPTIMIZER)

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
        loaded = self.loaded.batches[batch]
        return loaded.inputs.astype(np.float64), loaded.targets


def _make_weight(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    # Away from 0 and 1 everywhere, so that a plugin that skips one is seen.
    values = random.normal(scale=0.3, size=shape)
    if name.endswith(("gamma", "moving_variance")):
        values = 1 + np.abs(values)
    return values.astype(np.float32)
