"""Neutral layers → the modules a torch user would write, with the place of each parameter.

Inside the network images are (channels, height, width), sequences (length, channels), as torch
has them. Knows nothing of losses, optimizers and devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from fwprof.plugin import ResolvedLayer, UnsupportedError
from fwprof.plugin import layers as kinds
from fwprof_torch.layout import CONV, DENSE, SAME, BiasSlot, Layout, Slot, VarianceSlot, dense_after_flatten

_IMAGE = 3
_SEQUENCE = 2


@dataclass
class Network:
    """A module, and where the canonical arrays lie in it."""

    module: nn.Sequential
    parameters: dict[str, Slot]
    statistics: dict[str, Slot]


def build_network(layers: Sequence[ResolvedLayer], batch_size: Callable[[], int]) -> Network:
    """Return the network of resolved layers, with torch's own random weights.

    Args:
        layers: in order; `repeat` is expanded.
        batch_size: the size of the batches that are trained on, asked when statistics are read.

    Raises:
        UnsupportedError: a layer, or its place, is not supported; names it.
    """
    builder = _Builder(batch_size)
    module = nn.Sequential(*builder.chain(layers))
    return Network(module=module, parameters=builder.parameters, statistics=builder.statistics)


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


class LastOutput(nn.Module):
    """The output of an LSTM at the last position of (batch, length, channels)."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        outputs: Tensor = self.lstm(inputs)[0]
        return outputs[:, -1]


class EveryOutput(LastOutput):
    """The outputs of an LSTM at every position."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102 (nn.Module's own)
        outputs: Tensor = self.lstm(inputs)[0]
        return outputs


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


@dataclass
class _Builder:
    batch_size: Callable[[], int]
    parameters: dict[str, Slot] = field(default_factory=dict)
    statistics: dict[str, Slot] = field(default_factory=dict)
    _flattened: tuple[int, int, int] | None = None
    """The image whose features come in torch's order, until a dense layer takes them."""

    def chain(self, layers: Sequence[ResolvedLayer]) -> list[nn.Module]:
        modules: list[nn.Module] = []
        for index, resolved in enumerate(layers):
            modules += self._modules(resolved, layers[index + 1 :])
        return modules

    def _modules(self, resolved: ResolvedLayer, following: Sequence[ResolvedLayer]) -> list[nn.Module]:
        layer, shape = resolved.layer, resolved.input_shape
        match layer:
            case kinds.Dense():
                return [self._dense(resolved, layer), *_activation(layer.activation, resolved)]
            case kinds.Conv2d():
                return [*self._conv(resolved, layer), *_activation(layer.activation, resolved)]
            case kinds.MaxPool2d():
                return [nn.MaxPool2d(layer.size)]
            case kinds.AveragePool2d():
                return [nn.AvgPool2d(layer.size)]
            case kinds.Flatten():
                return [self._flatten(shape, following)]
            case kinds.Activation():
                return _activation(layer.function, resolved)
            case kinds.Dropout():
                return [nn.Dropout(layer.rate)]
            case kinds.BatchNorm():
                return [self._batch_norm(resolved, layer)]
            case kinds.LayerNorm():
                norm = nn.LayerNorm(shape[-1], eps=layer.epsilon)
                self._keep(resolved, gamma=Slot(norm, "weight"), beta=Slot(norm, "bias"))
                return [_over_channels(norm, shape)]
            case kinds.Embedding():
                _require(resolved, rank=1, what="ids (length,)")
                embedding = nn.Embedding(layer.vocabulary, layer.units)
                self._keep(resolved, table=Slot(embedding, "weight"))
                return [embedding]
            case kinds.PositionEmbedding():
                _require(resolved, rank=_SEQUENCE, what="(length, channels)")
                positions = PositionEmbedding(*shape)
                self._keep(resolved, table=Slot(positions, "table"))
                return [positions]
            case kinds.Attention():
                return [self._attention(resolved, layer)]
            case kinds.Lstm():
                return [self._lstm(resolved, layer)]
            case kinds.AverageOverSequence():
                _require(resolved, rank=_SEQUENCE, what="(length, channels)")
                return [AverageOverSequence()]
            case kinds.Residual():
                return [Residual(*self.chain(resolved.inner))]
            case _:
                raise UnsupportedError(f"torch has no module for layer {resolved.path} ({_kind(resolved)})")

    def _dense(self, resolved: ResolvedLayer, layer: kinds.Dense) -> nn.Module:
        linear = nn.Linear(resolved.input_shape[-1], layer.units, bias=layer.use_bias)
        layout: Layout = DENSE
        if self._flattened is not None:
            layout, self._flattened = dense_after_flatten(self._flattened), None
        self._keep(resolved, kernel=Slot(linear, "weight", layout))
        if layer.use_bias:
            self._keep(resolved, bias=Slot(linear, "bias"))
        return _over_channels(linear, resolved.input_shape)

    def _conv(self, resolved: ResolvedLayer, layer: kinds.Conv2d) -> list[nn.Module]:
        _require(resolved, rank=_IMAGE, what="an image (height, width, channels)")
        height, width, channels = resolved.input_shape
        pads = [_same_padding(size, layer) for size in (height, width)]
        is_symmetric = all(before == after for before, after in pads)
        conv = nn.Conv2d(
            channels,
            layer.filters,
            layer.size,
            stride=layer.stride,
            padding=(pads[0][0], pads[1][0]) if is_symmetric else 0,
            bias=layer.use_bias,
        )
        self._keep(resolved, kernel=Slot(conv, "weight", CONV))
        if layer.use_bias:
            self._keep(resolved, bias=Slot(conv, "bias"))
        (top, bottom), (left, right) = pads
        return [conv] if is_symmetric else [nn.ZeroPad2d((left, right, top, bottom)), conv]

    def _flatten(self, shape: tuple[int, ...], following: Sequence[ResolvedLayer]) -> nn.Module:
        if len(shape) != _IMAGE:
            return nn.Flatten()
        # The order of the features is free only if a dense layer takes them, whose kernel is
        # reordered instead; whatever stands between must treat all features alike.
        for resolved in following:
            if isinstance(resolved.layer, kinds.Dense):
                height, width, channels = shape
                self._flattened = (height, width, channels)
                return nn.Flatten()
            if not isinstance(resolved.layer, kinds.Activation | kinds.Dropout):
                break
        return FlattenCanonical()

    def _batch_norm(self, resolved: ResolvedLayer, layer: kinds.BatchNorm) -> nn.Module:
        *positions, channels = resolved.input_shape
        if len(positions) >= _IMAGE:
            raise UnsupportedError(
                f"torch: batch_norm at {resolved.path} takes at most (height, width, channels)",
                cause=f"its input is {resolved.input_shape}",
            )
        kind = nn.BatchNorm2d if len(positions) == _IMAGE - 1 else nn.BatchNorm1d
        norm = kind(channels, eps=layer.epsilon, momentum=1 - layer.momentum)
        self._keep(resolved, gamma=Slot(norm, "weight"), beta=Slot(norm, "bias"))
        self.statistics[f"{resolved.path}.moving_mean"] = Slot(norm, "running_mean")
        self.statistics[f"{resolved.path}.moving_variance"] = VarianceSlot(
            norm, elements=lambda: self.batch_size() * prod(positions)
        )
        return WithAxisMoved(norm, -1, 1) if len(positions) == 1 else norm

    def _attention(self, resolved: ResolvedLayer, layer: kinds.Attention) -> nn.Module:
        _require(resolved, rank=_SEQUENCE, what="(length, channels)")
        length, channels = resolved.input_shape
        module = SelfAttention(channels, layer.heads, length, is_causal=layer.causal)
        attention = module.attention
        for number, part in enumerate(("query", "key", "value")):
            rows = slice(number * channels, (number + 1) * channels)
            self._keep(
                resolved,
                **{
                    f"{part}_kernel": Slot(attention, "in_proj_weight", DENSE, rows),
                    f"{part}_bias": Slot(attention, "in_proj_bias", SAME, rows),
                },
            )
        self._keep(
            resolved,
            output_kernel=Slot(attention.out_proj, "weight", DENSE),
            output_bias=Slot(attention.out_proj, "bias"),
        )
        return module

    def _lstm(self, resolved: ResolvedLayer, layer: kinds.Lstm) -> nn.Module:
        _require(resolved, rank=_SEQUENCE, what="(length, channels)")
        # torch's gates lie in canonical order: input, forget, cell, output.
        lstm = nn.LSTM(resolved.input_shape[-1], layer.units, batch_first=True)
        self._keep(
            resolved,
            kernel=Slot(lstm, "weight_ih_l0", DENSE),
            recurrent_kernel=Slot(lstm, "weight_hh_l0", DENSE),
            bias=BiasSlot(lstm),
        )
        return EveryOutput(lstm) if layer.return_sequences else LastOutput(lstm)

    def _keep(self, resolved: ResolvedLayer, **slots: Slot) -> None:
        for name, slot in slots.items():
            self.parameters[f"{resolved.path}.{name}"] = slot


def _activation(name: str | None, resolved: ResolvedLayer) -> list[nn.Module]:
    match name:
        case None:
            return []
        case "relu":
            return [nn.ReLU()]
        case "gelu":
            return [nn.GELU()]
        case "tanh":
            return [nn.Tanh()]
        case "sigmoid":
            return [nn.Sigmoid()]
        case "softmax":
            return [nn.Softmax(dim=1 if len(resolved.output_shape) == _IMAGE else -1)]
    raise UnsupportedError(f"torch has no module for activation {name} at {resolved.path}")


def _over_channels(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Return the module as it is, or over the channels of an image, which torch has first."""
    return WithAxisMoved(module, 1, -1) if len(shape) == _IMAGE else module


def _same_padding(size: int, layer: kinds.Conv2d) -> tuple[int, int]:
    """Return the zeros before and after one axis; of an odd number the last one is after."""
    if layer.padding == "valid":
        return (0, 0)
    outputs = -(-size // layer.stride)
    total = max((outputs - 1) * layer.stride + layer.size - size, 0)
    return (total // 2, total - total // 2)


def _require(resolved: ResolvedLayer, *, rank: int, what: str) -> None:
    if len(resolved.input_shape) != rank:
        raise UnsupportedError(
            f"torch: {_kind(resolved)} at {resolved.path} takes {what}",
            cause=f"its input is {resolved.input_shape}",
        )


def _kind(resolved: ResolvedLayer) -> str:
    return type(resolved.layer).__name__
