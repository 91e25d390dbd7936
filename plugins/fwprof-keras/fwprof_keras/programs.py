"""The programs that the core times: keras's trainer, step by step."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import keras

from fwprof_keras.memory import read_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fwprof.plugin import Gradients, Reading
    from fwprof_keras.backends import Result, Staged
    from fwprof_keras.model import KerasModel

    Results = tuple[list[Any], Sequence[Any] | None, Any]
    """A loss for each part of the batch; after G the gradients' sums; what else to wait for."""


class KerasPrograms:
    """F, G, S and D of one model, and keras's own loops beside them."""

    def __init__(self, model: KerasModel) -> None:
        self._model = model
        self._engine = model.engine

    def forward(self, staged: Staged) -> Results:
        """F: return the loss."""
        return self._for_each_part(self._engine.forward, staged)

    def forward_backward(self, staged: Staged) -> Results:
        """G: clear gradients, loss, every gradient."""
        first, *others = staged
        loss, gradients, kept = self._engine.forward_backward(*first)
        losses = [loss]
        for part in others:
            assert gradients is not None
            loss, gradients, kept = self._engine.add_gradients(*part, gradients)
            losses.append(loss)
        return losses, gradients, kept

    def run(self, staged: Staged) -> Results:
        """S: the whole training step; return the loss.

        Of a batch in parts it is one of keras's own steps for each. Its optimizer adds up their
        gradients (`gradient_accumulation_steps`), and updates in the last.
        """
        return self._for_each_part(self._engine.run, staged)

    def wait(self, results: Results) -> None:
        """Return when the results, and every update their call made, are finished."""
        self._model.backend.wait(results)

    def read(self, results: Results) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the canonical gradients."""
        losses, gradients, _ = results
        # Adding up is of the gradients' program; the mean is taken by the optimizer, in its update.
        count = len(losses)
        loss = sum(float(keras.ops.convert_to_numpy(each)) for each in losses) / count
        if gradients is None:
            return loss, None
        found = self._model.canonical_gradients(gradients)
        return loss, {name: value / count for name, value in found.items()}

    def _for_each_part(self, call: Callable[..., Result], staged: Staged) -> Results:
        losses, kept = [], None
        for part in staged:
            loss, _, kept = call(*part)
            losses.append(loss)
        return losses, None, kept

    def next_batch(self) -> Staged:
        """D: fetch one batch and stage it."""
        return self._model.next_batch()

    def memory(self, staged: Staged) -> Mapping[str, Reading]:
        """Return the memory of a step by category; runs programs untimed."""
        _, gradients, _ = self.forward_backward(staged)
        return read_memory(self._model, staged, gradients or ())

    def api(self) -> Mapping[str, Callable[[int], None]]:
        """Return `train_on_batch` and `fit`: name → a function that trains so many steps."""
        return self._model.loops()


class EagerPrograms(KerasPrograms):
    """The programs of a mode whose step runs phase after phase."""

    def split(self, staged: Staged) -> Mapping[str, int]:
        """Run S once with marks between its phases: phase → ns, a diagnostic beside the programs."""
        wait = self._model.backend.wait
        found: dict[str, int] = {}
        wait(staged)
        begin = perf_counter_ns()
        for part in staged:
            for name in self._engine.phases(*part):
                wait(staged)
                end = perf_counter_ns()
                found[name], begin = found.get(name, 0) + end - begin, end
        return found


def open_programs(model: KerasModel) -> KerasPrograms:
    """Return the programs of a model; with marks where its step has phases."""
    return EagerPrograms(model) if model.engine.has_phases else KerasPrograms(model)
