"""A training step as the loop of tensorflow's own guide has it, run eagerly or traced into graphs.

Owns loss, gradients and update as functions of one batch, how a batch is cut into parts whose
gradients are accumulated, and how often the functions are traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        parts: that a batch is cut into; their gradients are accumulated before the one update.
        scale: of the loss, before it is differentiated; the optimizer's, which undoes it.
        signature: of inputs and targets, where one trace is to serve batches of any length; XLA
            compiles each length by itself, so that there each has a trace of its own.
    """

    def __init__(
        self,
        loss: Loss,
        infer: Callable[[Any], Any],
        variables: Sequence[Any],
        update: Update,
        mode: Mode,
        *,
        parts: int = 1,
        scale: Callable[[Any], Any] | None = None,
        signature: Sequence[tf.TensorSpec] | None = None,
    ) -> None:
        self.loss = loss
        self.variables = list(variables)
        self.update = update
        self.traces = 0
        self._mode = mode
        self._parts = parts
        self._scale = scale or (lambda loss: loss)
        self._signature = None if signature is None or mode.is_xla else list(signature)
        self.forward = self.wrap(self._forward if parts == 1 else self._forward_by_parts)
        self.forward_backward = self.wrap(self._forward_backward)
        self.run = self.wrap(self._run)
        self.infer = self.wrap(infer, arguments=1)

    def phases(self, inputs: Any, targets: Any) -> Iterator[str]:
        """Run S phase by phase, untraced, giving each one's name once it is done."""
        parts = [(inputs, targets)]
        if self._parts > 1:
            parts = list(zip(*(tf.split(each, self._parts) for each in (inputs, targets)), strict=True))
        gradients: list[Any] = []
        for part in parts:
            with tf.GradientTape() as tape:
                loss = self._scale(self.loss(*part))
            yield "forward"
            found = self._derive(tape, loss)
            gradients = [a + b for a, b in zip(gradients, found, strict=True)] if gradients else found
            yield "backward"
        self.update(gradients)
        yield "optimizer"

    def _forward(self, inputs: Any, targets: Any) -> Any:
        # The tape makes the forward pass keep what a backward pass needs, as it does in a step.
        with tf.GradientTape():
            return self.loss(inputs, targets)

    def _forward_by_parts(self, inputs: Any, targets: Any) -> Any:
        def add(total: Any, *part: Any) -> tuple[Any]:
            return (total + self._forward(*part) / self._parts,)

        return self._for_each_part(add, (self._zero(),), inputs, targets)[0]

    def _forward_backward(self, inputs: Any, targets: Any) -> Any:
        if self._parts > 1:
            return self._accumulate(inputs, targets)
        with tf.GradientTape() as tape:
            loss = self.loss(inputs, targets)
            scaled = self._scale(loss)
        return loss, self._derive(tape, scaled)

    def _derive(self, tape: tf.GradientTape, loss: Any) -> list[Any]:
        """Return the gradients of a loss, or what one part adds to those of the whole batch."""
        if self._parts == 1:
            gradients: list[Any] = tape.gradient(loss, self.variables)
            return gradients
        zero = tf.UnconnectedGradients.ZERO
        found = tape.gradient(loss, self.variables, unconnected_gradients=zero)
        # A table's gradient lists the rows that were looked up one by one; a sum of them is dense.
        return [tf.convert_to_tensor(each) / self._parts for each in found]

    def _accumulate(self, inputs: Any, targets: Any) -> tuple[Any, list[Any]]:
        def add(total: Any, *others: Any) -> tuple[Any, ...]:
            *sums, part_inputs, part_targets = others
            with tf.GradientTape() as tape:
                loss = self.loss(part_inputs, part_targets)
                scaled = self._scale(loss)
            gradients = self._derive(tape, scaled)
            return (total + loss / self._parts, *(a + b for a, b in zip(sums, gradients, strict=True)))

        start = (self._zero(), *(tf.zeros(each.shape, each.dtype) for each in self.variables))
        loss, *gradients = self._for_each_part(add, start, inputs, targets)
        return loss, gradients

    def _for_each_part(
        self, add: Callable[..., tuple[Any, ...]], start: tuple[Any, ...], inputs: Any, targets: Any
    ) -> tuple[Any, ...]:
        """Return what `add` makes of `start` with each part in turn, in a loop of the graph.

        Written out part by part, tensorflow would be free to hold several in memory at once: what
        accumulation is there to avoid.
        """
        cut = [self._cut(inputs), self._cut(targets)]

        def body(number: Any, *sums: Any) -> tuple[Any, ...]:
            return (number + 1, *add(*sums, *(each[number] for each in cut)))

        _, *sums = tf.while_loop(
            lambda number, *_: number < self._parts, body, (tf.constant(0), *start), parallel_iterations=1
        )
        return tuple(sums)

    def _cut(self, tensor: Any) -> Any:
        sizes = tf.shape(tensor)
        return tf.reshape(tensor, tf.concat([[self._parts, -1], sizes[1:]], axis=0))

    def _zero(self) -> Any:
        return tf.zeros((), self.variables[0].dtype)

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

    def wrap(self, function: Callable[..., Any], arguments: int = 2) -> Any:
        """Return a function of tensors as the mode runs it."""
        if not self._mode.is_traced:
            return function
        signature = None if self._signature is None else self._signature[:arguments]

        @tf.function(input_signature=signature, jit_compile=True if self._mode.is_xla else None)  # type: ignore[untyped-decorator]  # untyped in tensorflow
        def program(*batch: Any) -> Any:
            # Python runs here only while tensorflow traces: once for each new kind of batch.
            self.traces += 1
            return function(*batch)

        return program
