"""Each layer's share in what the whole workload counts, and which workloads are timed layer by layer.

Owns what a row of the layer table is: a layer of the workload's own list, `repeat` and `frozen`
expanded; a block (residual, branches, chain) is one row with all that is inside. Knows no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fwprof.errors import RequestError
from fwprof.records import CellPlan, Optimizer, ResolvedLayer, RunPlan, RunRequest, Workload
from fwprof.records import workload as kinds
from fwprof.workloads.analysis import (
    FLOAT_BYTES,
    forward_flops,
    parameter_count,
    stored_numbers,
    traffic_bytes,
    training_flops,
)
from fwprof.workloads.language import is_trimmed, parameter_shapes, state_shapes, walk

LAYER_SECONDS = 10.0
"""How long the layers of one cell are timed, after all of them are compiled."""
ACTIVATION_BYTES = {"bfloat16": 2, "float16": 2}
"""Of one stored number; mixed precision keeps parameters in float32, and what products give in 16 bits."""

_BLOCKS = kinds.Residual | kinds.Branches | kinds.Chain
_MERGED = (
    kinds.Activation
    | kinds.Dropout
    | kinds.Flatten
    | kinds.BatchNorm
    | kinds.LayerNorm
    | kinds.PositionEmbedding
    | kinds.FirstOfSequence
)
"""Elementwise work, norms and changes of shape: what compilers of whole graphs merge with neighbours."""


@dataclass(frozen=True)
class LayerCounts:
    """What one layer adds to the counts of a training step, by shapes alone.

    Args:
        layer: with its path and shapes.
        kind: in words.
        has_input_gradient: whether something before it is trained, so that a step computes its dX.
        parameters: trained numbers.
        parameter_bytes: of all that it holds, in float32.
        activation_bytes: stored for the backward pass, at least.
        forward_flops: of its products, forward.
        flops: its share in the step's.
        traffic_bytes: its share in the bytes that the step moves at least.
    """

    layer: ResolvedLayer
    kind: str
    has_input_gradient: bool
    parameters: int
    parameter_bytes: int
    activation_bytes: int
    forward_flops: int
    flops: int
    traffic_bytes: int

    @property
    def has_gradients(self) -> bool:
        """Whether a step computes any gradient in it."""
        return self.has_input_gradient or self.parameters > 0 or self.layer.table is not None

    @property
    def is_fusible(self) -> bool:
        """Whether a compiler of whole graphs merges it with its neighbours as a rule."""
        inner = [each.layer for each in walk((self.layer,)) if not isinstance(each.layer, _BLOCKS)]
        return all(isinstance(layer, _MERGED) for layer in inner)


def layer_counts(
    layers: Sequence[ResolvedLayer], batch_size: int, optimizer: Optimizer, precision: str = "float32"
) -> tuple[LayerCounts, ...]:
    """Return what each layer counts for; the shares add up to the counts of the whole.

    A share is what the layers up to it count for less what those before it do, so that it is the
    whole's own formula that is shared out. The input of the workload is read by the first layer.
    """
    found: list[LayerCounts] = []
    flops = traffic = 0
    for index, layer in enumerate(layers):
        until, alone = layers[: index + 1], (layer,)
        flops_before, traffic_before = flops, traffic
        flops = training_flops(until, batch_size)
        traffic = traffic_bytes(until, batch_size, optimizer)
        held = {**parameter_shapes(alone), **state_shapes(alone)}
        found.append(
            LayerCounts(
                layer=layer,
                kind=kind_of(layer),
                has_input_gradient=bool(parameter_shapes(layers[:index])),
                parameters=parameter_count(alone),
                parameter_bytes=FLOAT_BYTES * sum(map(prod, held.values())),
                activation_bytes=ACTIVATION_BYTES.get(precision, FLOAT_BYTES)
                * stored_numbers(alone, batch_size),
                forward_flops=forward_flops(alone, batch_size),
                flops=flops - flops_before,
                traffic_bytes=traffic - traffic_before,
            )
        )
    return tuple(found)


def kind_of(layer: ResolvedLayer) -> str:
    """Return the kind of a layer in words; of a block with the kinds inside, each once."""
    kind = str(layer.layer.__struct_config__.tag)
    if not isinstance(layer.layer, _BLOCKS):
        return f"{kind} {layer.layer.function}" if isinstance(layer.layer, kinds.Activation) else kind
    inner = [each.layer for each in walk(layer.inner) if not isinstance(each.layer, _BLOCKS)]
    return f"{kind} ({', '.join(dict.fromkeys(str(one.__struct_config__.tag) for one in inner))})"


def has_layer_pass(plan: RunPlan, cell: CellPlan) -> bool:
    """Whether a cell's layers are timed alone: asked for, and each has one shape."""
    return plan.request.layers and cell.workload.spec is not None and not is_trimmed(cell.workload.spec)


def require_layers(request: RunRequest, specs: Sequence[Workload | None]) -> None:
    """Refuse to time layers where nothing asked for names any.

    Raises:
        RequestError: every model is the user's own.
    """
    if request.layers and all(spec is None for spec in specs):
        raise RequestError(
            "--layers does not apply to your own model",
            cause="its factory gives a whole model, in which fwprof knows no layers by name",
            next="name a workload, or leave --layers out",
        )
