"""A neutral workload in torch: network, loss and optimizer from canonical weights."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from fwprof.plugin import UnsupportedError, sample_shape
from fwprof.plugin import layers as kinds
from fwprof_torch.epochs import LoaderPipeline
from fwprof_torch.layers import TorchLayer, flowing_types
from fwprof_torch.layout import image_to_torch
from fwprof_torch.model import TorchModel
from fwprof_torch.network import build_network
from fwprof_torch.pipelines import load_data
from fwprof_torch.precision import MIXED, require_lstm
from fwprof_torch.state import clear_optimizer
from fwprof_torch.verification import canonical_step, is_adam, simplify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwprof.plugin import (
        Batch,
        DataPipeline,
        LayerCase,
        LayerPrograms,
        LoadedWorkload,
        Options,
        PipelineData,
        Staged,
    )
    from fwprof_torch.model import Array
    from fwprof_torch.modes import Mode
    from fwprof_torch.places import Place

    Pair = tuple[torch.Tensor, torch.Tensor]


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over samples, and over positions where each of them is classified."""
    if logits.dim() > 2:
        logits, targets = logits.flatten(0, -2), targets.flatten()
    return functional.cross_entropy(logits, targets)


_LOSSES: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "mean_squared_error": functional.mse_loss,
}


class NeutralModel(TorchModel):
    """The network of a neutral workload, its mean loss and its optimizer.

    Args:
        workload: layers, canonical weights and batches.

    Raises:
        UnsupportedError: a layer, the loss or the optimizer is not supported.
    """

    def __init__(self, workload: LoadedWorkload, place: Place, mode: Mode, options: Options) -> None:
        if workload.spec is None:
            raise UnsupportedError(f"workload {workload.name} has no layers for torch to build")
        cell, criterion = options.cell, _LOSSES.get(workload.spec.loss)
        if criterion is None:
            raise UnsupportedError(f"torch has no loss {workload.spec.loss!r} here")
        self._weights = workload.weights
        self._dtype = torch.float64 if cell.precision == "float64" else torch.float32
        self._batch_size = len(workload.batches[0].targets) if workload.batches else 0
        self.part_count = workload.spec.accumulate
        network = build_network(workload.layers, lambda: self._batch_size // self.part_count)
        module = network.module.to(place.device, self._dtype)
        optimizer = _make_optimizer(workload.spec.optimizer, module)

        self._steps, self._sample = network.steps, workload.batches[0].inputs[:2]
        self._is_whole_compiled = mode.is_compiled
        is_mixed = cell.precision in MIXED

        def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            outputs = module(inputs)
            # Autocast leaves some losses in 16 bits on some devices; users compute them in 32.
            return criterion(outputs.float() if is_mixed else outputs, targets)

        super().__init__(
            module=module,
            optimizer=optimizer,
            loss=loss,
            parameters=network.parameters,
            state=network.state,
            place=place,
            mode=mode,
            cell=cell,
        )
        if is_mixed and any(isinstance(part, torch.nn.LSTM) for part in module.modules()):
            require_lstm(self.precision, cell.precision, place.device)
        if cell.is_verification:
            self._verify(optimizer, mode)
        self._pipeline = load_data(
            [self._convert(batch) for batch in workload.batches],
            is_trimmed=None in sample_shape(workload.spec),
            is_pinned=not place.is_host,
        )
        self.reset()

    @property
    def parameter_count(self) -> int:
        """Trainable numbers; the two biases of an LSTM are one."""
        return sum(prod(slot.shape) for slot in self._trained.values())

    @property
    def batch_size(self) -> int:
        """Samples in the batch staged last."""
        return self._batch_size

    def stage(self, batch: Batch) -> Staged:
        """Put one batch on the device, images as (batch, channels, height, width), and wait.

        Returns:
            `(inputs, targets)`; where gradients are accumulated one such pair a part.
        """
        self._batch_size = len(batch.targets)
        return self._place_pair(*self._convert(batch))

    def next_batch(self) -> Staged:
        """Fetch one batch from a DataLoader and put it on the device."""
        return self._place_pair(*next(self._pipeline))

    def pipeline(self, data: PipelineData) -> DataPipeline:
        """Return a DataLoader of the samples."""
        return LoaderPipeline(data, self._dtype, is_pinned=not self.place.is_host, send=self._send)

    @property
    def fused_by(self) -> str:
        """What compiles the layers of a program together."""
        return "torch.compile" if self._is_whole_compiled else ""

    def open_layer(self, case: LayerCase) -> LayerPrograms:
        """Return one layer alone."""
        path, dtype = case.layer.path, self._dtype
        if self.cell.precision in MIXED:
            sample = torch.tensor(np.ascontiguousarray(_in_order(self._sample)))
            dtype = flowing_types(self._steps, sample.to(self.place.device), self.precision)[path]
        return TorchLayer(
            self._steps[path],
            case,
            self._trained,
            self.place,
            self.precision,
            dtype,
            is_compiled=self._is_whole_compiled,
        )

    def reset(self) -> None:
        """Restore canonical weights, a fresh optimizer and the seed, all in place."""
        self.load_parameters(self._weights)
        clear_optimizer(self.optimizer)
        self.precision.clear()
        self.optimizer.zero_grad()
        torch.manual_seed(self.cell.seed)

    def infer(self, staged: Staged) -> torch.Tensor:
        """Return the logits of a staged batch."""
        if self.part_count > 1:
            return torch.cat([self.module(inputs) for inputs, _ in staged])
        logits: torch.Tensor = self.module(staged[0])
        return logits

    def _verify(self, optimizer: torch.optim.Optimizer, mode: Mode) -> None:
        """Become the program that is verified; before the first step, when nothing is compiled yet."""
        words = ["float64"] if self._dtype == torch.float64 else []
        words += simplify(self.module)
        if is_adam(optimizer):
            # Compiled, it would be compiled anew at each step, whose epsilon is another constant.
            self.update = canonical_step(optimizer, self.precision.step_of(optimizer))
            words.append("Adam's epsilon scaled to the canonical form")
            words += ["the optimizer's step not compiled"] if mode.compile_optimizer else []
        self.verified_with = tuple(words)

    def _convert(self, batch: Batch) -> Pair:
        # torch.tensor copies, so that the data is aligned as torch's own is.
        values = torch.tensor(np.ascontiguousarray(_in_order(batch.inputs)))
        if values.is_floating_point():
            values = values.to(self._dtype)
        targets = torch.tensor(batch.targets)
        return values, targets.to(self._dtype if targets.is_floating_point() else torch.int64)

    def _place_pair(self, inputs: torch.Tensor, targets: torch.Tensor) -> Staged:
        staged = self._send(inputs, targets)
        self.place.wait()
        return staged

    def _send(self, inputs: torch.Tensor, targets: torch.Tensor) -> Staged:
        device = self.place.device
        staged = inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        if self.part_count == 1:
            return staged
        return tuple(zip(*(tensor.chunk(self.part_count) for tensor in staged), strict=True))


def _in_order(inputs: Array) -> Array:
    """Return inputs with the axes of images as torch has them."""
    return image_to_torch(inputs) if inputs.ndim == 4 else inputs


def _make_optimizer(spec: kinds.Optimizer, module: torch.nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    match spec:
        case kinds.Sgd():
            return torch.optim.SGD(trained, lr=spec.learning_rate, momentum=spec.momentum)
        case kinds.Adam():
            shared: dict[str, Any] = {
                "lr": spec.learning_rate,
                "betas": (spec.beta_1, spec.beta_2),
                "eps": spec.epsilon,
            }
            if spec.weight_decay > 0:
                return torch.optim.AdamW(trained, weight_decay=spec.weight_decay, **shared)
            return torch.optim.Adam(trained, **shared)
    raise UnsupportedError(f"torch has no optimizer {type(spec).__name__} here")
