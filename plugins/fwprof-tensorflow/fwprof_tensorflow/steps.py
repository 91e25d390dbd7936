"""A training step as the loop of tensorflow's own guide has it, run eagerly or traced into graphs.

Owns loss, gradients and update as functions of one batch, and counts how often they are traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from fwprof_tensorflow.modes import Mode

    Loss = Callable[[Any, Any], Any]
    Update = Callable[[Sequence[Any]], None]
    """Apply one gradient for each variable, in their order."""


class Steps:
    """F, G, S and inference of one model.

    Args:
        loss: called with inputs and targets in training mode; returns the mean loss.
        infer: called with inputs in inference mode.
        variables: what is trained.
        update: of the optimizer.
    """

    def __init__(
        self, loss: Loss, infer: Callable[[Any], Any], variables: Sequence[Any], update: Update, mode: Mode
    ) -> None:
        self.loss = loss
        self.variables = list(variables)
        self.update = update
        self.traces = 0
        self._mode = mode
        self.forward = self._wrap(self._forward)
        self.forward_backward = self._wrap(self._forward_backward)
        self.run = self._wrap(self._run)
        self.infer = self._wrap(infer)

    def _forward(self, inputs: Any, targets: Any) -> Any:
        # The tape makes the forward pass keep what a backward pass needs, as it does in a step.
        with tf.GradientTape():
            return self.loss(inputs, targets)

    def _forward_backward(self, inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = self.loss(inputs, targets)
        return loss, tape.gradient(loss, self.variables)

    def _run(self, inputs: Any, targets: Any) -> Any:
        loss, gradients = self._forward_backward(inputs, targets)
        self.update(gradients)
        return loss

    @property
    def is_traced(self) -> bool:
        """Whether tensorflow makes graphs of the programs, as it says itself."""
        return self._mode.is_traced and not tf.config.functions_run_eagerly()

    @property
    def is_compiled(self) -> bool:
        """Whether XLA compiles them, as read from the function."""
        return self._mode.is_traced and bool(self.run.function_spec.jit_compile)

    def _wrap(self, function: Callable[..., Any]) -> Any:
        if not self._mode.is_traced:
            return function

        @tf.function(jit_compile=True if self._mode.is_xla else None)  # type: ignore[untyped-decorator]  # untyped in tensorflow
        def program(*batch: Any) -> Any:
            # Python runs here only while tensorflow traces: once for each new kind of batch.
            self.traces += 1
            return function(*batch)

        return program
