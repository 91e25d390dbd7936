"""The programs that the core times: keras's trainer, step by step."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwprof.plugin import Gradients
    from fwprof_keras.backends import Result, Staged
    from fwprof_keras.model import KerasModel


class KerasPrograms:
    """F, G, S and D of one model, and keras's own loops beside them."""

    def __init__(self, model: KerasModel) -> None:
        self._model = model
        self._engine = model.engine

    def forward(self, staged: Staged) -> Result:
        """F: return the loss."""
        return self._engine.forward(*staged)

    def forward_backward(self, staged: Staged) -> Result:
        """G: clear gradients, loss, every gradient."""
        return self._engine.forward_backward(*staged)

    def run(self, staged: Staged) -> Result:
        """S: the whole training step; return the loss."""
        return self._engine.run(*staged)

    def wait(self, result: Result) -> None:
        """Return when the result, and every update its call made, is finished."""
        self._model.backend.wait(result)

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the canonical gradients."""
        loss, gradients, _ = result
        found = None if gradients is None else self._model.canonical_gradients(gradients)
        return float(keras.ops.convert_to_numpy(loss)), found

    def next_batch(self) -> Staged:
        """D: fetch one batch and stage it."""
        return self._model.next_batch()

    def api(self) -> Mapping[str, Callable[[int], None]]:
        """Return `train_on_batch` and `fit`: name → a function that trains so many steps."""
        return self._model.loops()


class EagerPrograms(KerasPrograms):
    """The programs of a mode whose step runs phase after phase."""

    def split(self, staged: Staged) -> Mapping[str, int]:
        """Run S once with marks between its phases: phase → ns, a diagnostic beside the programs."""
        wait, phases = self._model.backend.wait, self._engine.phases(*staged)
        found = {}
        wait(staged)
        begin = perf_counter_ns()
        for name in phases:
            wait(staged)
            end = perf_counter_ns()
            found[name], begin = end - begin, end
        return found


def open_programs(model: KerasModel) -> KerasPrograms:
    """Return the programs of a model; with marks where its step has phases."""
    return EagerPrograms(model) if model.engine.has_phases else KerasPrograms(model)
