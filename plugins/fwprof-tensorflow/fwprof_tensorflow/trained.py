"""A model whose steps are eager or traced: neutral workloads and the user's own share it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from fwprof.plugin import Format
from fwprof_tensorflow.model import TensorFlowModel
from fwprof_tensorflow.programs import EagerPrograms, TensorFlowPrograms
from fwprof_tensorflow.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from fwprof.plugin import Programs, Scalar, Staged
    from fwprof_tensorflow.layout import VariableSlot
    from fwprof_tensorflow.model import Array
    from fwprof_tensorflow.modes import Mode
    from fwprof_tensorflow.places import Place
    from fwprof_tensorflow.steps import Steps


class TrainedModel(TensorFlowModel):
    """Variables of tensorflow 2 with an optimizer, and the steps that train them.

    Args:
        steps: F, G, S and inference.
        optimizer: built, so that it makes no variable in a step.
        states: every variable that a step may change, the parameters included.
    """

    def __init__(
        self,
        *,
        steps: Steps,
        optimizer: Any,
        states: Sequence[Any],
        parameters: Mapping[str, VariableSlot],
        statistics: Mapping[str, VariableSlot],
        place: Place,
        mode: Mode,
        verified_with: tuple[str, ...] = (),
    ) -> None:
        super().__init__(
            parameters=parameters, statistics=statistics, place=place, verified_with=verified_with
        )
        self.steps = steps
        self.optimizer = optimizer
        self._mode = mode
        self._variables = [slot.variable for slot in parameters.values()]
        # keras's variables hold those of tensorflow, which checkpoints know.
        self._checkpoint = tf.train.Checkpoint(states=[native_variable(state) for state in states])

    @abstractmethod
    def prepare_inputs(self, staged: Staged) -> Any:
        """Return what inference takes of a staged batch."""

    @property
    def optimizer_variables(self) -> Sequence[Any]:
        """Its variables; an optimizer of the user's own may have them as a method, or hide them."""
        found = getattr(self.optimizer, "variables", ())
        return list(found() if callable(found) else found)

    @property
    def gradient_scale(self) -> float:
        """By which gradients are larger than they are, until the optimizer takes them."""
        scaled = isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        return float(self.optimizer.dynamic_scale) if scaled else 1.0

    @property
    def mode(self) -> str:
        """`eager` too where tensorflow was told to run functions eagerly."""
        return self._mode.name if self.steps.is_traced else "eager"

    @property
    def labels(self) -> tuple[str, ...]:
        """A traced function is one graph for each program."""
        return ("whole_graph",) if self.steps.is_traced else ()

    @property
    def native_device(self) -> str:
        """Devices of the trained variables."""
        devices = {native_variable(variable).device for variable in self._variables}
        return "+".join(sorted(name.rpartition("device:")[2] for name in devices))

    def make_programs(self) -> Programs:
        """Return F, G, S and D, with marks inside the step where it is eager."""
        can_mark = not self.steps.is_traced and self.place.is_host
        return (EagerPrograms if can_mark else TensorFlowPrograms)(self)

    def predict(self, staged: Staged) -> Array:
        """Return the outputs `(batch, classes)` in inference mode, changing nothing."""
        return np.array(self.steps.infer(self.prepare_inputs(staged)))

    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, read back from tensorflow."""
        return read_settings(
            self._variables,
            self.optimizer,
            is_compiled=self.steps.is_compiled,
            is_traced=self.steps.is_traced,
        )

    def compilations(self) -> int:
        """Return how often a program was traced; XLA compiles each trace once."""
        return self.steps.traces

    def save(self, path: Path) -> None:
        """Write every variable as a checkpoint of tensorflow."""
        self._checkpoint.write(str(path))

    def restore(self, path: Path) -> None:
        """Read what `save` wrote, in place."""
        self._checkpoint.read(str(path)).assert_consumed()
        self.place.wait()

    def formats(self) -> Mapping[str, Format]:
        """Return `tf_checkpoint`; what tensorflow draws random numbers from is no variable of a model."""
        return {
            "tf_checkpoint": Format(
                holds=("parameters", "statistics", "optimizer"), save=self.save, restore=self.restore
            )
        }


def native_variable(variable: Any) -> Any:
    """Return the tf.Variable that a variable is or, if it is one of keras, holds."""
    return variable if isinstance(variable, tf.Variable) else variable.value
