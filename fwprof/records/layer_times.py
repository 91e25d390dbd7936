"""Layers timed alone: what the pass measured, and the table that is derived from it."""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import OrderBase, Record, ReportBase
from fwprof.records.metric_value import MetricValue

LayerProgram = Literal["forward", "forward_backward"]
"""F and G of one layer, or of the whole model."""


class LayerBlock(Record, frozen=True, kw_only=True):
    """Calls of one program of one layer, timed one by one in one go."""

    round: int
    """Counted from 0."""
    order: int
    """Position within the round."""
    layer: str | None
    """Path of the layer; null: the whole model, whose F and G are timed beside."""
    program: LayerProgram
    call_ns: tuple[int, ...]
    """Each call with the wait for its result."""


class LayerRun(Record, frozen=True, kw_only=True):
    """The layer pass of one worker: each layer of a neutral workload alone, and the whole beside."""

    samples: int
    """In each call of a layer: the batch, or the part of it that one pass takes."""
    parts: int = 1
    """Such calls in a step: parts of the batch whose gradients are accumulated."""
    fused_by: str = ""
    """What compiles the layers of a program together, in the plugin's words; empty: nothing does."""
    refused: dict[str, str] = {}
    """Path → why a layer could not be timed alone."""
    reason: str = ""
    """Why no layer could; empty: at least one was tried."""
    blocks: tuple[LayerBlock, ...] = ()


class MeasureLayers(OrderBase, frozen=True, kw_only=True, tag="measure_layers"):
    """Time each layer alone, one report a round, for about `seconds` once all are compiled."""

    seconds: float


class LayersOpened(ReportBase, frozen=True, kw_only=True, tag="layers_opened"):
    """Every layer is built and warm, or refused; the rounds follow."""

    run: LayerRun


class LayersTimed(ReportBase, frozen=True, kw_only=True, tag="layers_timed"):
    """One round over all layers."""

    blocks: tuple[LayerBlock, ...]


class LayerRow(Record, frozen=True, kw_only=True):
    """One layer of one cell: what it computes by its shapes, and what it took alone. All of a step."""

    path: str
    """As parameters are named by: `0`, `3`."""
    kind: str
    """`dense`; of a block with the kinds inside: `residual (batch_norm, conv2d)`."""
    output_shape: tuple[int, ...]
    """Without the batch."""
    parameters: int
    """Trained numbers."""
    parameter_bytes: int
    """Of all that it holds, statistics and frozen parameters included; analytic."""
    activation_bytes: int
    """Stored for the backward pass, at least; analytic (docs/reference/layers.md)."""
    forward_flops: int
    flops: int
    """Forward and backward: its share in the workload's `flops`."""
    traffic_bytes: int
    """Its share in the least bytes that a step moves, update included; analytic."""
    is_fusible: bool
    """Whether a compiler of whole graphs merges it with its neighbours as a rule: it has no product,
    no look-up and no window of its own."""
    forward: MetricValue
    backward: MetricValue
    """G − F of the layer alone."""
    forward_backward: MetricValue


class LayerTable(Record, frozen=True, kw_only=True):
    """The layers of one cell, each timed alone, beside the whole model in the same process."""

    rows: tuple[LayerRow, ...]
    fused_by: str = ""
    """What compiles the layers of a step together; then a layer alone is not what it costs inside."""
    reason: str = ""
    """Why nothing was timed."""
    sum_forward: MetricValue
    sum_forward_backward: MetricValue
    """Of all layers alone; null where one of them was not timed."""
    whole_forward: MetricValue
    whole_forward_backward: MetricValue
    """F and G of the model; they hold the loss too."""
    alone_over_inside: float | None = None
    """`sum_forward_backward` over `whole_forward_backward`: what running together saves."""
