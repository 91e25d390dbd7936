"""Neutral layers → the modules a torch user would write, with the place of each parameter.

Inside the network images are (channels, height, width), sequences (length, channels), as torch
has them. Knows nothing of losses, optimizers and devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

from torch import nn

from fwprof.plugin import ResolvedLayer, UnsupportedError
from fwprof.plugin import layers as kinds
from fwprof_torch.layout import (
    CONV,
    CONV_1D,
    DENSE,
    GRU_BIAS,
    GRU_KERNEL,
    SAME,
    BiasSlot,
    Layout,
    Slot,
    VarianceSlot,
    dense_after_flatten,
)
from fwprof_torch.modules import (
    Added,
    AverageOverSequence,
    Concatenated,
    EveryOutput,
    FirstOfSequence,
    FlattenCanonical,
    KeptInEvaluation,
    LastOutput,
    LowRankLinear,
    MaxOverSequence,
    PadSame,
    PairwiseProducts,
    PositionEmbedding,
    Residual,
    SelfAttention,
    WithAxisMoved,
    same_padding,
)

_IMAGE = 3
_SEQUENCE = 2


Image = tuple[int, int, int]
"""(height, width, channels)."""


@dataclass(frozen=True)
class Step:
    """What one layer of the workload's own list became.

    Args:
        modules: one after another.
        flattened_before: the image whose features come flat in torch's order; None: all is canonical.
        flattened_after: the same of the outputs.
    """

    modules: Sequence[nn.Module]
    flattened_before: Image | None
    flattened_after: Image | None


@dataclass
class Network:
    """A module, and where the canonical arrays lie in it: what is trained, and what is not."""

    module: nn.Sequential
    parameters: dict[str, Slot]
    state: dict[str, Slot]
    steps: dict[str, Step]
    """Path of a layer → its step, in order."""


def build_network(layers: Sequence[ResolvedLayer], batch_size: Callable[[], int]) -> Network:
    """Return the network of resolved layers, with torch's own random weights.

    Args:
        layers: in order; `repeat` and `frozen` are expanded.
        batch_size: samples in a pass of training, asked when statistics are read.

    Raises:
        UnsupportedError: a layer, or its place, is not supported; names it.
    """
    builder = _Builder(batch_size)
    steps = builder.steps(layers)
    module = nn.Sequential(*(module for step in steps.values() for module in step.modules))
    return Network(module=module, parameters=builder.parameters, state=builder.state, steps=steps)


@dataclass
class _Builder:
    batch_size: Callable[[], int]
    parameters: dict[str, Slot] = field(default_factory=dict)
    state: dict[str, Slot] = field(default_factory=dict)
    _flattened: Image | None = None
    """The image whose features come in torch's order, until a dense layer takes them."""

    def steps(self, layers: Sequence[ResolvedLayer]) -> dict[str, Step]:
        """Return the modules of each layer of the workload's own list, by its path."""
        found = {}
        for index, resolved in enumerate(layers):
            before = self._flattened
            modules = self._modules(resolved, layers[index + 1 :])
            found[resolved.path] = Step(modules, before, self._flattened)
        return found

    def chain(
        self, layers: Sequence[ResolvedLayer], following: Sequence[ResolvedLayer] = ()
    ) -> list[nn.Module]:
        """Return the modules of layers one after another.

        Args:
            following: what takes the output of the last one, and nothing else does.
        """
        modules: list[nn.Module] = []
        for index, resolved in enumerate(layers):
            modules += self._modules(resolved, (*layers[index + 1 :], *following))
        return modules

    def _modules(self, resolved: ResolvedLayer, following: Sequence[ResolvedLayer]) -> list[nn.Module]:
        layer, shape = resolved.layer, resolved.input_shape
        match layer:
            case kinds.Dense():
                return [self._dense(resolved, layer), *_activation(layer.activation, resolved)]
            case kinds.Conv2d():
                return [*self._conv(resolved, layer), *_activation(layer.activation, resolved)]
            case kinds.Conv1d():
                return [self._conv_1d(resolved, layer), *_activation(layer.activation, resolved)]
            case kinds.MaxPool2d():
                return [nn.MaxPool2d(layer.size, stride=layer.stride, padding=layer.padding)]
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
            case kinds.Gru():
                return [self._gru(resolved, layer)]
            case kinds.AverageOverSequence():
                _require(resolved, rank=_SEQUENCE, what="(length, channels)")
                return [AverageOverSequence()]
            case kinds.MaxOverSequence():
                _require(resolved, rank=_SEQUENCE, what="(length, channels)")
                return [MaxOverSequence()]
            case kinds.FirstOfSequence():
                _require(resolved, rank=_SEQUENCE, what="(length, channels)")
                return [FirstOfSequence()]
            case kinds.AverageOverImage():
                _require(resolved, rank=_IMAGE, what="an image (height, width, channels)")
                return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            case kinds.PairwiseProducts():
                _require(resolved, rank=_SEQUENCE, what="(rows, channels)")
                return [PairwiseProducts(shape[0])]
            case kinds.TiedDense():
                return [self._tied_dense(resolved)]
            case kinds.Chain():
                return self.chain(resolved.inner, following)
            case kinds.Branches():
                return [self._branches(resolved, layer)]
            case kinds.Residual():
                return [Residual(*self.chain(resolved.inner))]
            case _:
                raise UnsupportedError(f"torch has no module for layer {resolved.path} ({_kind(resolved)})")

    def _dense(self, resolved: ResolvedLayer, layer: kinds.Dense) -> nn.Module:
        channels, units = resolved.input_shape[-1], layer.units
        layout: Layout = DENSE
        if self._flattened is not None:
            layout, self._flattened = dense_after_flatten(self._flattened), None
        linear: nn.Linear
        if layer.lora_rank is None:
            linear = nn.Linear(channels, units, bias=layer.use_bias)
        else:
            linear = LowRankLinear(channels, units, layer.lora_rank, bias=layer.use_bias)
            self._keep(resolved, lora_a=Slot(linear, "lora_a", layout), lora_b=Slot(linear, "lora_b", DENSE))
        self._keep(resolved, kernel=Slot(linear, "weight", layout))
        if layer.use_bias:
            self._keep(resolved, bias=Slot(linear, "bias"))
        return _over_channels(linear, resolved.input_shape)

    def _tied_dense(self, resolved: ResolvedLayer) -> nn.Module:
        embedding = (self.parameters | self.state)[str(resolved.table)].owner
        assert isinstance(embedding, nn.Embedding)
        linear = nn.Linear(embedding.embedding_dim, embedding.num_embeddings, bias=False)
        linear.weight = embedding.weight
        return _over_channels(linear, resolved.input_shape)

    def _conv(self, resolved: ResolvedLayer, layer: kinds.Conv2d) -> list[nn.Module]:
        _require(resolved, rank=_IMAGE, what="an image (height, width, channels)")
        height, width, channels = resolved.input_shape
        pads = [_padding(side, layer) for side in (height, width)]
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

    def _conv_1d(self, resolved: ResolvedLayer, layer: kinds.Conv1d) -> nn.Module:
        _require(resolved, rank=_SEQUENCE, what="(length, channels)")
        is_same = layer.padding == "same"
        is_symmetric = is_same and layer.stride == 1 and layer.size % 2 == 1
        conv = nn.Conv1d(
            resolved.input_shape[-1],
            layer.filters,
            layer.size,
            stride=layer.stride,
            padding=layer.size // 2 if is_symmetric else 0,
            bias=layer.use_bias,
        )
        self._keep(resolved, kernel=Slot(conv, "weight", CONV_1D))
        if layer.use_bias:
            self._keep(resolved, bias=Slot(conv, "bias"))
        is_padded_apart = is_same and not is_symmetric
        module = nn.Sequential(PadSame(layer.size, layer.stride), conv) if is_padded_apart else conv
        return WithAxisMoved(module, -1, 1)

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
        self._keep(
            resolved,
            gamma=Slot(norm, "weight"),
            beta=Slot(norm, "bias"),
            moving_mean=Slot(norm, "running_mean"),
            moving_variance=VarianceSlot(norm, elements=lambda: self.batch_size() * prod(positions)),
        )
        module = KeptInEvaluation(norm) if resolved.is_frozen else norm
        return WithAxisMoved(module, -1, 1) if len(positions) == 1 else module

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

    def _gru(self, resolved: ResolvedLayer, layer: kinds.Gru) -> nn.Module:
        _require(resolved, rank=_SEQUENCE, what="(length, channels)")
        gru = nn.GRU(resolved.input_shape[-1], layer.units, batch_first=True)
        self._keep(
            resolved,
            kernel=Slot(gru, "weight_ih_l0", GRU_KERNEL),
            recurrent_kernel=Slot(gru, "weight_hh_l0", GRU_KERNEL),
            bias=Slot(gru, "bias_ih_l0", GRU_BIAS),
            recurrent_bias=Slot(gru, "bias_hh_l0", GRU_BIAS),
        )
        return EveryOutput(gru) if layer.return_sequences else LastOutput(gru)

    def _branches(self, resolved: ResolvedLayer, layer: kinds.Branches) -> nn.Module:
        # Nothing follows inside a branch: what it flattens must come in canonical order.
        branches = [nn.Sequential(*self.chain((inner,))) for inner in resolved.inner]
        if layer.join == "add":
            return Added(branches)
        return Concatenated(branches, axis=1 if len(resolved.output_shape) == _IMAGE else -1)

    def _keep(self, resolved: ResolvedLayer, **slots: Slot) -> None:
        for key, slot in slots.items():
            name = f"{resolved.path}.{key}"
            if name in resolved.state:
                slot.freeze()
            (self.state if name in resolved.state else self.parameters)[name] = slot


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


def _padding(side: int, layer: kinds.Conv2d) -> tuple[int, int]:
    """Return the zeros before and after one axis."""
    if layer.padding == "same":
        return same_padding(side, layer.size, layer.stride)
    return (0, 0) if layer.padding == "valid" else (layer.padding, layer.padding)


def _require(resolved: ResolvedLayer, *, rank: int, what: str) -> None:
    if len(resolved.input_shape) != rank:
        raise UnsupportedError(
            f"torch: {_kind(resolved)} at {resolved.path} takes {what}",
            cause=f"its input is {resolved.input_shape}",
        )


def _kind(resolved: ResolvedLayer) -> str:
    return type(resolved.layer).__name__
