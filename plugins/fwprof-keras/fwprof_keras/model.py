"""What the core asks of any model of this plugin: settings, parameters, files, compilations.

Neutral workloads (`neutral`) and the user's own models (`native`) differ in how a batch is split
and how the start is restored; all else is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fwprof.plugin import Description, Format
from fwprof_keras.data import Batches
from fwprof_keras.layout import write_slots
from fwprof_keras.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fwprof.plugin import CellPlan, Device, Scalar
    from fwprof_keras.backends import Backend, Staged
    from fwprof_keras.layout import Slot

    Array = NDArray[Any]


class KerasModel(ABC):
    """A compiled and built model on one device.

    Args:
        model: with its loss and optimizer.
        backend: that keras runs on.
        parameters: canonical name → place, of every trainable variable.
        statistics: the same of what training moves without gradients.
        batches: NumPy batches of the workload, as `(inputs, targets, sample weights or None)`.
        sums_rows: whether the gradients of a table's rows are summed before the optimizer sees
            them, where the backend leaves them apart; a model of the user's own trains as `fit` does.
        parts: how many of `batches` one step takes, in steps of keras's own, with one update in the
            last.
        has_lengths: whether samples differ in shape from batch to batch.
    """

    def __init__(
        self,
        *,
        model: keras.Model,
        backend: Backend,
        device: Device,
        parameters: Mapping[str, Slot],
        statistics: Mapping[str, Slot],
        batches: Sequence[tuple[Any, ...]],
        cell: CellPlan,
        sums_rows: bool,
        parts: int = 1,
        has_lengths: bool = False,
    ) -> None:
        self.verified_with: tuple[str, ...] = ()
        self.model = model
        self.backend = backend
        self.cell = cell
        self.native_device = backend.open_device(device)
        self.engine = backend.open_engine(model, sums_rows=sums_rows)
        self.batches = batches
        self.parts = parts
        self._has_lengths = has_lengths
        self._slots = {**parameters, **statistics}
        # The backend gives gradients in its own order, which need not be the canonical one.
        order = {id(variable): number for number, variable in enumerate(model.trainable_variables)}
        self._trained = {name: (slot, order[id(slot.variable)]) for name, slot in parameters.items()}

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Samples in the batches that are trained on."""

    @abstractmethod
    def stage(self, batch: Any) -> Staged:
        """Put one batch on the device and wait until it is there."""

    @abstractmethod
    def next_batch(self) -> Staged:
        """Fetch one batch from the data pipeline and stage it."""

    @abstractmethod
    def restore_start(self) -> None:
        """Set every variable to what it was at the start."""

    def place(self, parts: Iterable[Sequence[Any]]) -> Staged:
        """Return parts of a batch, each of inputs, targets and sample weights, as tensors on the device."""
        staged = self.send(parts)
        self.backend.wait(staged)
        return staged

    def send(self, parts: Iterable[Sequence[Any]]) -> Staged:
        """As `place`, but wait for no copy."""
        return [keras.tree.map_structure(self._place_array, tuple(part)) for part in parts]

    def parameters(self) -> Mapping[str, Array]:
        """Return copies of parameters and batch statistics by canonical name."""
        self.engine.release()
        return {name: slot.read() for name, slot in self._slots.items()}

    def canonical_gradients(self, gradients: Sequence[Any]) -> Mapping[str, Array]:
        """Return gradients, given in the order of the trainable variables, by canonical name."""
        found = {name: slot.to_canonical(gradients[number]) for name, (slot, number) in self._trained.items()}
        optimizer = self.model.optimizer
        if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
            return found
        # Its gradients are those of a loss that was made larger, until it takes them.
        self.engine.release()
        scale = float(keras.ops.convert_to_numpy(optimizer.dynamic_scale))
        return {name: gradient / scale for name, gradient in found.items()}

    def slots_of(self, names: Collection[str | None]) -> Mapping[str, Slot]:
        """Return the places of those of the trained parameters that are named."""
        return {name: slot for name, (slot, _) in self._trained.items() if name in names}

    def load_parameters(self, values: Mapping[str, Array]) -> None:
        """Set parameters and batch statistics from canonical arrays, in place.

        Raises:
            ValueError: a name is unknown or a shape is wrong.
        """
        self.engine.release()
        write_slots(self._slots, values)

    def reset(self) -> None:
        """Restore the start in place: parameters, statistics, optimizer and random state."""
        self.engine.release()
        self.restore_start()
        self.backend.reseed(self.cell.seed)
        self.engine.take()

    def predict(self, staged: Staged) -> Array:
        """Return the outputs `(batch, classes)` by keras's own compiled prediction."""
        self.engine.release()
        outputs = np.concatenate([self._predict_part(inputs) for inputs, _, _ in staged])
        # NumPy itself knows no bfloat16.
        return outputs if outputs.dtype == np.float64 else outputs.astype(np.float32, copy=False)

    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, read back from keras and its backend."""
        return {**read_settings(self.model), **self.backend.settings()}

    def describe(self) -> Description:
        """Return mode, backend and device as resolved."""
        return Description(
            mode=self.engine.mode,
            backend=keras.backend.backend(),
            native_device=self.native_device,
            settings=dict(self.settings()),
            versions={"keras": keras.__version__, **self.backend.versions()},
            parameter_count=sum(int(np.prod(v.shape)) for v in self.model.trainable_variables),
            batch_size=self.batch_size,
            labels=("whole_graph",) if self.engine.is_whole_graph else (),
            notable=tuple(self.backend.notable),
            verified_with=self.verified_with,
        )

    def compilations(self) -> int:
        """Return how often a program was traced or compiled so far in this process."""
        return self.backend.compilations()

    def save(self, path: Path) -> None:
        """Write parameters and optimizer state with `save_weights`, beside `path`."""
        self.engine.release()
        self.model.save_weights(_weights_file(path), overwrite=True)

    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""
        self.engine.release()
        self.model.load_weights(_weights_file(path))
        self.wait()

    def formats(self) -> Mapping[str, Format]:
        """Return `weights_h5`: values alone, with the optimizer's, without the seeds of random layers."""
        return {
            "weights_h5": Format(
                holds=("parameters", "statistics", "optimizer"), save=self.save, restore=self.restore
            )
        }

    def wait(self) -> None:
        """Return when what was assigned to the variables is on the device."""
        self.backend.wait(self.model.trainable_variables[0].value)

    def loops(self) -> Mapping[str, Callable[[int], None]]:
        """Return keras's own loops: name → a function that trains so many steps."""
        return {name: partial(self._loop, loop) for name, loop in self._own_loops().items()}

    def _predict_part(self, inputs: Any) -> Array:
        outputs = self.model.predict_on_batch(inputs)
        if isinstance(outputs, dict):
            outputs = outputs.get("logits", next(iter(outputs.values())))
        return np.array(outputs[0] if isinstance(outputs, list | tuple) else outputs)

    def _own_loops(self) -> Mapping[str, Callable[[int], object]]:
        return {"train_on_batch": self._train_on_batches, "fit": self._fit}

    def _loop(self, loop: Callable[[int], object], steps: int) -> None:
        self.engine.release()
        loop(steps)
        self.wait()

    def _train_on_batches(self, steps: int) -> None:
        for step in range(steps * self.parts):
            self.model.train_on_batch(*self.batches[step % len(self.batches)])

    def _fit(self, steps: int) -> None:
        data = Batches(self.batches, steps * self.parts)
        found = self.backend.dataset(data) if self._has_lengths else data
        self.model.fit(found, epochs=1, verbose=0, shuffle=False)

    def _place_array(self, part: Any) -> Any:
        return None if part is None else self.backend.place(part)


def _weights_file(path: Path) -> Path:
    # Keras accepts no other ending.
    return path.with_name(f"{path.name}.weights.h5")
