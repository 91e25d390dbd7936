"""The modules of a network that torch has not itself, as its users write them.

Images are (batch, channels, height, width), sequences (batch, length, channels). Knows nothing of
the model language.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Sequential):
    """x + layers(x)."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        outputs: Tensor = super().forward(inputs)  # type: ignore[no-untyped-call]  # untyped in torch
        return inputs + outputs


class SelfAttention(nn.Module):
    """Multi-head self-attention over (batch, length, channels)."""

    mask: Tensor | None

    def __init__(self, channels: int, heads: int, length: int, *, is_causal: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.is_causal = is_causal
        mask = nn.Transformer.generate_square_subsequent_mask(length) if is_causal else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        outputs: Tensor = self.attention(
            inputs, inputs, inputs, need_weights=False, attn_mask=self.mask, is_causal=self.is_causal
        )[0]
        return outputs


class PositionEmbedding(nn.Module):
    """Adds a learned vector a position to (batch, length, channels)."""

    def __init__(self, length: int, channels: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(length, channels))
        nn.init.normal_(self.table, std=0.02)

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        return inputs + self.table


class AverageOverSequence(nn.Module):
    """Mean over the positions of (batch, length, channels)."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        return inputs.mean(dim=1)


class MaxOverSequence(nn.Module):
    """Maximum over the positions of (batch, length, channels)."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        return inputs.max(dim=1).values


class FirstOfSequence(nn.Module):
    """The first position of (batch, length, channels)."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        return inputs[:, 0]


class LastOutput(nn.Module):
    """The output of a recurrent module at the last position of (batch, length, channels)."""

    def __init__(self, recurrent: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        outputs: Tensor = self.recurrent(inputs)[0]
        return outputs[:, -1]


class EveryOutput(LastOutput):
    """The outputs of a recurrent module at every position."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        outputs: Tensor = self.recurrent(inputs)[0]
        return outputs


class PairwiseProducts(nn.Module):
    """The inner products of all pairs of rows i < j of (batch, rows, channels)."""

    pairs: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("pairs", torch.triu_indices(rows, rows, offset=1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        one, other = self.pairs
        return torch.bmm(inputs, inputs.transpose(1, 2))[:, one, other]


class LowRankLinear(nn.Linear):
    """A linear module with a product of two thin matrices beside its own.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, section 4.1.
    """

    def __init__(self, channels: int, units: int, rank: int, *, bias: bool) -> None:
        super().__init__(channels, units, bias=bias)
        self.lora_a = nn.Parameter(torch.empty(rank, channels))
        self.lora_b = nn.Parameter(torch.zeros(units, rank))
        nn.init.normal_(self.lora_a, std=0.02)

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        low_rank = functional.linear(functional.linear(inputs, self.lora_a), self.lora_b)
        return super().forward(inputs) + low_rank


class PadSame(nn.Module):
    """Zeros before and after (batch, channels, length) for ceil(length / stride) windows.

    Where the stride is not 1 they depend on the length, which may change from batch to batch.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        return functional.pad(inputs, same_padding(inputs.shape[-1], self.size, self.stride))


def same_padding(side: int, size: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one axis; of an odd number the last one is after."""
    outputs = -(-side // stride)
    total = max((outputs - 1) * stride + size - side, 0)
    return (total // 2, total - total // 2)


class Concatenated(nn.ModuleList):
    """Modules that are each given the same; their outputs along one axis."""

    def __init__(self, branches: Iterable[nn.Module], axis: int) -> None:
        super().__init__(branches)
        self.axis = axis

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        return torch.cat([branch(inputs) for branch in self], dim=self.axis)


class Added(nn.ModuleList):
    """Modules that are each given the same; the sum of their outputs."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        first, *others = [branch(inputs) for branch in self]
        total: Tensor = sum(others, start=first)
        return total


class KeptInEvaluation(nn.Sequential):
    """Modules that are never in training mode: a batch norm works with the statistics that it has."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 (whatever is asked)
        """Stay as it is."""
        return super().train(False)


class WithAxisMoved(nn.Module):
    """Applies a module to a tensor whose axis `source` is at `target` for it."""

    def __init__(self, inner: nn.Module, source: int, target: int) -> None:
        super().__init__()
        self.inner, self.source, self.target = inner, source, target

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        outputs: Tensor = self.inner(inputs.movedim(self.source, self.target))
        return outputs.movedim(self.target, self.source)


class FlattenCanonical(nn.Module):
    """Flattens images in the order height, width, channels."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        return inputs.permute(0, 2, 3, 1).flatten(1)
