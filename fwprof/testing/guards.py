"""A plugin's own programs with one thing made wrong, and what the engine's guards say of them.

Owns the wrong answers. The guards are the engine's (`execution.session`): what is asked here is
whether they see, through this plugin, what they are there for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fwprof.execution.session import Session, SystemClock
from fwprof.plugin import Gradients, Model, Programs, Result, Staged
from fwprof.records import Schedule

WARM_UP_NS = 50_000_000


class Around:
    """Programs that do what the ones inside do."""

    def __init__(self, inner: Programs) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class DropsAGradient(Around):
    """G leaves out a gradient."""

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return the loss and all gradients but one."""
        loss, gradients = self.inner.read(result)
        return loss, gradients and dict(list(gradients.items())[:-1])


class TrainsNothing(Around):
    """S only computes gradients."""

    def run(self, staged: Staged) -> Result:
        """Run G in place of S."""
        return self.inner.forward_backward(staged)


class TrainsInForward(Around):
    """F takes a training step."""

    def forward(self, staged: Staged) -> Result:
        """Run S in place of F."""
        return self.inner.run(staged)


class NeverWaits(Around):
    """`wait` returns at once: nothing is noticed where the framework has finished by then."""

    def wait(self, result: Result) -> None:
        """Wait for nothing."""


WRONG: dict[type[Around], str] = {
    DropsAGradient: "gradients_complete",
    TrainsNothing: "step_trains",
    TrainsInForward: "forward_changes_nothing",
}
"""What every framework can be made to do wrong → the guard that must say so."""


def failed_guards(
    model: Model, programs: Any, staged: Sequence[Staged], trained: frozenset[str]
) -> frozenset[str]:
    """Return the guards that find something wrong with programs, after a short warm-up of S.

    Args:
        model: from `build_model`.
        programs: the plugin's own, or one of the classes here around them.
        staged: batches, as the model stages them.
        trained: canonical names of the trainable parameters.
    """
    session = Session(model, programs, staged, Schedule(), clock=SystemClock(), trained=trained)
    session.warm_up("run", WARM_UP_NS)
    return frozenset(check.name for check in session.check_answers() if not check.passed)
