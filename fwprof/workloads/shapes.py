"""Shapes of single layers: how many windows fit, and which arrays a layer has.

Owns the canonical names and shapes of parameters. Knows no neighbours and no numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from fwprof.records import workload as kinds

Shape = tuple[int, ...]


def after_windows(
    sides: Shape,
    layer: kinds.Conv2d | kinds.Conv1d | kinds.MaxPool2d | kinds.AveragePool2d,
    refuse: Callable[[str], NoReturn],
) -> Shape:
    """Return how many windows fit along each side."""
    stride = getattr(layer, "stride", None) or (1 if isinstance(layer, _CONVOLUTIONS) else layer.size)
    padding = getattr(layer, "padding", 0)
    if padding == "same":
        return tuple(-(-side // stride) for side in sides)
    around = 0 if padding == "valid" else padding
    what = "kernel" if isinstance(layer, _CONVOLUTIONS) else "window"
    if layer.size > min(sides) + 2 * around:
        size = " × ".join([str(layer.size)] * len(sides))
        refuse(f"has a {what} of {size} that does not fit")
    if what == "window" and 2 * around > layer.size:
        refuse("pads by more than half a window: some would hold nothing")
    return tuple((side + 2 * around - layer.size) // stride + 1 for side in sides)


_CONVOLUTIONS = kinds.Conv2d | kinds.Conv1d


def arrays_of(
    layer: kinds.Layer, shape: Shape, *, is_frozen: bool
) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return what is trained and what is not, key → shape."""
    parameters, statistics = _parameters(layer, shape), dict[str, Shape]()
    if isinstance(layer, kinds.BatchNorm):
        statistics = {"moving_mean": shape[-1:], "moving_variance": shape[-1:]}
    if is_frozen:
        return {}, parameters | statistics
    if isinstance(layer, kinds.Dense) and layer.lora_rank is not None:
        trained = {key: parameters.pop(key) for key in ("lora_a", "lora_b")}
        return trained, parameters
    return parameters, statistics


def _parameters(layer: kinds.Layer, shape: Shape) -> dict[str, Shape]:
    channels = shape[-1] if shape else 0
    match layer:
        case kinds.Dense(units=units, lora_rank=rank):
            shapes: dict[str, Shape] = {"kernel": (channels, units)}
            shapes |= {"bias": (units,)} if layer.use_bias else {}
            return shapes | ({"lora_a": (channels, rank), "lora_b": (rank, units)} if rank else {})
        case kinds.Conv2d() | kinds.Conv1d():
            window = (layer.size,) * (2 if isinstance(layer, kinds.Conv2d) else 1)
            kernel = (*window, channels, layer.filters)
            return {"kernel": kernel} | ({"bias": (layer.filters,)} if layer.use_bias else {})
        case kinds.BatchNorm() | kinds.LayerNorm():
            return {"gamma": (channels,), "beta": (channels,)}
        case kinds.Embedding():
            return {"table": (layer.vocabulary, layer.units)}
        case kinds.PositionEmbedding():
            return {"table": shape}
        case kinds.Attention():
            parts = ("query", "key", "value", "output")
            square = {f"{part}_kernel": (channels, channels) for part in parts}
            return square | {f"{part}_bias": (channels,) for part in parts}
        case kinds.Lstm(units=units):
            gates = 4 * units
            return {"kernel": (channels, gates), "recurrent_kernel": (units, gates), "bias": (gates,)}
        case kinds.Gru(units=units):
            gates = 3 * units
            return {
                "kernel": (channels, gates),
                "recurrent_kernel": (units, gates),
                "bias": (gates,),
                "recurrent_bias": (gates,),
            }
        case _:
            return {}
