"""The programs that the core times, as a torch user writes a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwprof.plugin import Gradients, Reading, Staged
    from fwprof_torch.model import TorchModel
    from fwprof_torch.places import Marks

    Result = torch.Tensor | tuple[torch.Tensor, TorchModel]
    """The loss; after G beside the model that holds the gradients."""


class TorchPrograms:
    """F, G, S and D of one model.

    F runs with gradients enabled, as the forward pass of a training step does, so it keeps what a
    backward pass would need until its result is dropped.
    """

    def __init__(self, model: TorchModel) -> None:
        self._model = model
        self._loss = model.loss
        self._optimizer = model.optimizer
        self._backward = model.precision.backward
        self._update = model.update

    def forward(self, staged: Staged) -> Result:
        """F: return the loss."""
        return self._loss(*staged)

    def forward_backward(self, staged: Staged) -> Result:
        """G: clear gradients, loss, every gradient."""
        self._optimizer.zero_grad()
        return self._differentiate(staged), self._model

    def run(self, staged: Staged) -> Result:
        """S: the whole training step; return the loss."""
        self._optimizer.zero_grad()
        loss = self._differentiate(staged)
        self._update()
        return loss

    def wait(self, result: Result) -> None:  # noqa: ARG002 (torch waits for a device, not for a value)
        """Return when everything submitted to the device is finished."""
        self._model.place.wait()

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the canonical gradients."""
        if isinstance(result, tuple):
            loss, model = result
            return loss.item(), model.gradients()
        return result.item(), None

    def next_batch(self) -> Staged:
        """D: fetch one batch and stage it."""
        return self._model.next_batch()

    def split(self, staged: Staged) -> Mapping[str, int]:
        """Run S once with marks between its phases: phase → ns, a diagnostic beside the programs."""
        marks = self.device_timer()
        self._model.place.wait()
        self._optimizer.zero_grad()
        marks.mark()
        for part in self._parts(staged):
            loss = self._share(part)
            marks.mark()
            self._backward(loss)
            marks.mark()
        self._update()
        marks.mark()
        *passes, optimizer = marks.intervals_ns()
        return {"forward": sum(passes[::2]), "backward": sum(passes[1::2]), "optimizer": optimizer}

    def memory(self, staged: Staged) -> Mapping[str, Reading]:
        """Return the memory of a step by category, and on the host its peak; runs programs untimed."""
        # The profiler takes memory itself, which no other pass is to hold.
        from fwprof_torch.memory import read_memory

        return read_memory(self._model, self, staged)

    def device_timer(self) -> Marks:
        """Return marks on the device's own clock: events where it has them, else the host's."""
        return self._model.place.marks()

    def _parts(self, staged: Staged) -> Sequence[Staged]:
        """Return the parts whose gradients are added up."""
        return (staged,)

    def _share(self, part: Staged) -> torch.Tensor:
        """Return the share of one part in the mean loss."""
        return self._loss(*part)

    def _differentiate(self, staged: Staged) -> torch.Tensor:
        """Return the loss, every gradient computed."""
        loss = self._loss(*staged)
        self._backward(loss)
        return loss


class AccumulatingPrograms(TorchPrograms):
    """F, G, S and D of batches in parts: one backward pass each, whose gradients torch adds up.

    What a backward pass needs is kept for one part at a time, in F too.
    """

    def forward(self, staged: Staged) -> Result:
        """F: return the mean loss of the parts."""
        return torch.stack([self._loss(*part).detach() for part in staged]).mean()

    def _parts(self, staged: Staged) -> Sequence[Staged]:
        parts: Sequence[Staged] = staged
        return parts

    def _share(self, part: Staged) -> torch.Tensor:
        return self._loss(*part) / self._model.part_count

    def _differentiate(self, staged: Staged) -> torch.Tensor:
        shares = []
        for part in staged:
            share = self._share(part)
            self._backward(share)
            shares.append(share.detach())
        return torch.stack(shares).sum()
