"""The programs that the core times: eager or traced steps."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from fwprof.plugin import RequestError
from fwprof_tensorflow.layout import read_gradient
from fwprof_tensorflow.memory import read_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwprof.plugin import Gradients, Reading, Staged
    from fwprof_tensorflow.trained import TrainedModel

    Result = Any
    """The loss; after G a pair of it and the gradients."""


class TensorFlowPrograms:
    """F, G, S and D of one model."""

    def __init__(self, model: TrainedModel) -> None:
        self._model = model
        self._steps = model.steps

    def forward(self, staged: Staged) -> Result:
        """F: return the loss."""
        return self._steps.forward(*staged)

    def forward_backward(self, staged: Staged) -> Result:
        """G: loss and every gradient."""
        return self._steps.forward_backward(*staged)

    def run(self, staged: Staged) -> Result:
        """S: the whole training step; return the loss."""
        return self._steps.run(*staged)

    def wait(self, result: Result) -> None:
        """Return when loss, gradients and updates are finished.

        On the host everything is finished when a call returns, unless the user chose otherwise. A
        card works in one stream: the copy of the loss waits for all that was submitted before it.
        """
        loss = result[0] if isinstance(result, tuple) else result
        loss.numpy()
        if not tf.config.experimental.get_synchronous_execution():
            tf.test.experimental.sync_devices()

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the canonical gradients.

        Raises:
            RequestError: the user's own loss is not one number.
        """
        if not isinstance(result, tuple):
            return _number(result), None
        loss, gradients = result
        of = {id(each): grad for each, grad in zip(self._steps.variables, gradients, strict=True)}
        found = {
            name: read_gradient(of[id(slot.variable)], slot) for name, slot in self._model.trained.items()
        }
        scale = self._model.gradient_scale
        if scale != 1:
            found = {name: gradient / scale for name, gradient in found.items()}
        return _number(loss), found

    def memory(self, staged: Staged) -> Mapping[str, Reading]:
        """Return the memory of a step by category; runs program G untimed."""
        return read_memory(self._model, lambda: self.forward_backward(staged)[1])

    def next_batch(self) -> Staged:
        """D: fetch one batch and stage it."""
        return self._model.next_batch()


def _number(loss: Any) -> float:
    # Looked at here, since autograph hides what is raised while a step is traced.
    if loss.shape.rank:
        raise RequestError(
            "the model factory's 'loss' returned more than one number",
            cause=f"its shape is {loss.shape}",
            next="reduce it, e.g. by tf.reduce_mean",
        )
    return float(loss)


class EagerPrograms(TensorFlowPrograms):
    """Programs whose step can be marked between its phases, on a host that works synchronously."""

    def split(self, staged: Staged) -> Mapping[str, int]:
        """Run S once with marks between its phases: phase → ns, a diagnostic beside the programs."""
        found = dict.fromkeys(("forward", "backward", "optimizer"), 0)
        begin = perf_counter_ns()
        # A batch that is cut into parts goes forward and backward once for each.
        for name in self._steps.phases(*staged):
            end = perf_counter_ns()
            found[name], begin = found[name] + end - begin, end
        return found
