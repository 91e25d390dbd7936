"""The programs that the core times: calls of a session on one static graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwprof_tensorflow.layout import read_gradient
from fwprof_tensorflow.memory import read_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwprof.plugin import Gradients, Reading
    from fwprof_tensorflow.graph import Feed, GraphModel

    Result = tuple[Any, ...]
    """The loss; after G the gradients beside it."""


class GraphPrograms:
    """F, G, S and D as calls of the session, which return when all they fetch is finished."""

    def __init__(self, model: GraphModel) -> None:
        self._model = model
        self._session = model.session
        self._nodes = model.nodes

    def forward(self, staged: Feed) -> Result:
        """F: return the loss."""
        self._model.started.add("forward")
        return (self._session.run(self._nodes.loss, staged),)

    def forward_backward(self, staged: Feed) -> Result:
        """G: loss and every gradient, fetched to the host."""
        self._model.started.add("forward_backward")
        loss, gradients = self._session.run([self._nodes.loss, self._nodes.gradients], staged)
        return loss, gradients

    def run(self, staged: Feed) -> Result:
        """S: the whole training step; return the loss."""
        self._model.started.add("run")
        loss, _ = self._session.run([self._nodes.loss, self._nodes.update], staged)
        return (loss,)

    def wait(self, result: Result) -> None:
        """Do nothing: a session returns when everything is done."""

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the canonical gradients."""
        loss, *others = result
        if not others:
            return float(loss), None
        pairs = zip(self._model.trained.items(), others[0], strict=True)
        return float(loss), {name: read_gradient(gradient, slot) for (name, slot), gradient in pairs}

    def memory(self, staged: Feed) -> Mapping[str, Reading]:
        """Return the memory of a step by category; runs program G untimed."""
        return read_memory(self._model, lambda: self.forward_backward(staged)[1])

    def next_batch(self) -> Feed:
        """D: fetch one batch."""
        return self._model.next_batch()
