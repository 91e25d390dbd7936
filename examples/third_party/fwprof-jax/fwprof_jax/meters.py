"""What the compiled training step holds at once, as XLA planned it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwprof.plugin import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwprof_jax.model import JaxModel


_NAME = "jax.step_peak"
"""A metric of this plugin's own: its name begins with the plugin's."""


class StepMeter:
    """Arguments, results and temporary buffers of S; what shares memory is counted once.

    Source: jax.stages.Compiled.memory_analysis, jax's documentation.
    """

    passes: Sequence[str] = ("memory",)

    def __init__(self, model: JaxModel) -> None:
        self._model = model

    def start(self) -> None:
        """Do nothing: the plan does not depend on when it is asked for."""

    def sample(self) -> None:
        """Do nothing."""

    def stop(self) -> Mapping[str, Reading]:
        """Return what one step holds, in bytes."""
        basis = "XLA's plan of the step: arguments + results + temporary − shared"
        plan = self._model.plan_memory()
        if plan is None:
            reason = "this XLA gives no plan of the memory of a program"
            return {_NAME: Reading(value=None, unit="bytes", basis=basis, reason=reason)}
        return {_NAME: Reading(value=plan, unit="bytes", basis=basis)}
