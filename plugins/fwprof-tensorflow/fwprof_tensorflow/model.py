"""What the core asks of any model of this plugin: parameters, settings, description.

Models of traced or eager steps (`trained`) and of a static graph (`graph`) differ in how
variables are read and programs run; all else is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from fwprof.plugin import Description, UnsupportedError
from fwprof_tensorflow.layout import write_all
from fwprof_tensorflow.settings import notable_settings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fwprof.plugin import LayerCase, LayerPrograms, Programs, Scalar, Staged
    from fwprof_tensorflow.layout import Slot
    from fwprof_tensorflow.places import Place

    Array = NDArray[Any]


class TensorFlowModel(ABC):
    """Variables, loss and optimizer on one device.

    Args:
        parameters: canonical name → slot, of what is trained, in the order of the gradients.
        statistics: the same of what training moves without gradients.
        place: the device.
        verified_with: how this program differs from the timed one, if it is verified.
    """

    def __init__(
        self,
        *,
        parameters: Mapping[str, Slot],
        statistics: Mapping[str, Slot],
        place: Place,
        verified_with: tuple[str, ...] = (),
    ) -> None:
        self.trained = dict(parameters)
        self.place = place
        self._slots = {**parameters, **statistics}
        self._verified_with = verified_with

    @property
    @abstractmethod
    def mode(self) -> str:
        """The mode as tensorflow resolved it."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Labels of the mode."""

    @property
    @abstractmethod
    def native_device(self) -> str:
        """Where the variables are, in tensorflow's words."""

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Samples in the batch staged last."""

    @abstractmethod
    def make_programs(self) -> Programs:
        """Return F, G, S and D."""

    @abstractmethod
    def stage(self, batch: Any) -> Staged:
        """Put one batch on the device and wait until it is there."""

    @abstractmethod
    def next_batch(self) -> Staged:
        """Fetch one batch from the data pipeline and stage it."""

    @abstractmethod
    def reset(self) -> None:
        """Restore the start in place."""

    @abstractmethod
    def predict(self, staged: Staged) -> Array:
        """Return the outputs `(batch, classes)` in inference mode, changing nothing."""

    @abstractmethod
    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, read back from tensorflow."""

    @abstractmethod
    def compilations(self) -> int:
        """Return how many graphs tensorflow made of programs so far."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write parameters and optimizer state in tensorflow's own format."""

    @abstractmethod
    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""

    def open_layer(self, case: LayerCase) -> LayerPrograms:
        """Return one layer alone, where the model is made of layers that can be called.

        Raises:
            UnsupportedError: a static graph, or the user's own model.
        """
        raise UnsupportedError(
            f"tensorflow:{self.mode} cannot run layer {case.layer.path} alone",
            cause="one graph is built as a whole, and finalised",
        )

    @property
    @abstractmethod
    def optimizer_variables(self) -> Sequence[Any]:
        """What the optimizer keeps from step to step."""

    @property
    def shown_variables(self) -> Sequence[Any]:
        """Variables of parameters and batch statistics."""
        return [slot.variable for slot in self._slots.values()]

    def parameters(self) -> Mapping[str, Array]:
        """Return copies of parameters and batch statistics by canonical name."""
        return {name: slot.read() for name, slot in self._slots.items()}

    def load_parameters(self, values: Mapping[str, Array]) -> None:
        """Set parameters and batch statistics from canonical arrays, in place.

        Raises:
            ValueError: a name is unknown or a shape is wrong.
        """
        write_all(self._slots, values)

    def describe(self) -> Description:
        """Return mode and device as resolved."""
        return Description(
            mode=self.mode,
            native_device=self.native_device,
            settings=dict(self.settings()),
            versions={"tensorflow": tf.__version__, **self.place.versions()},
            parameter_count=sum(prod(slot.shape) for slot in self.trained.values()),
            batch_size=self.batch_size,
            labels=self.labels,
            notable=notable_settings(self.place),
            verified_with=self._verified_with,
        )
