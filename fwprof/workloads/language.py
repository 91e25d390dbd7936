"""Resolves the neutral model language: expands `repeat`, infers shapes, names parameters.

Owns what fits what and how parameters are called. Knows no numbers, no file and no framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NoReturn

from fwprof.errors import RequestError
from fwprof.records import ResolvedLayer, Workload
from fwprof.records import workload as kinds

Shape = tuple[int, ...]

MAX_LAYERS = 10_000
"""After expansion; nested `repeat` multiplies, so a typo could ask for millions."""
MAX_PARAMETERS = 10**12
"""4 TB of float32: more is a typo, not a model."""


@dataclass(frozen=True)
class _Flow:
    """What flows from layer to layer, without the batch dimension."""

    shape: Shape
    is_ids: bool


def resolve(workload: Workload) -> tuple[ResolvedLayer, ...]:
    """Return the layers with shapes and parameters, `repeat` expanded.

    Raises:
        RequestError: a layer does not fit what it is given, or the last one does not give
            `(classes,)`; names the layer's place in the YAML and the shapes. Or there is nothing
            to learn.
    """
    if workload.loss == "cross_entropy" and workload.classes == 1:
        raise RequestError(
            f"{workload.name}: the cross-entropy of a single class is always 0",
            next="give `classes` 2 or more, or set `loss: binary_cross_entropy` for a yes or no",
        )
    start = _Flow(workload.input.shape, workload.input.dtype == "int64")
    layers, end = _resolve_all(workload.name, workload.layers, start, budget=_Budget())
    if end.is_ids or end.shape != (workload.classes,):
        raise RequestError(
            f"{workload.name}: the last layer gives {_text(end)}, not ({workload.classes},)",
            cause=f"the loss needs one number for each of the {workload.classes} classes",
            next=f"end with a dense layer of {workload.classes} units, or correct `classes`",
        )
    return layers


def walk(layers: Sequence[ResolvedLayer]) -> Iterator[ResolvedLayer]:
    """Yield every layer in the order of computation, a residual before its inner layers."""
    for layer in layers:
        yield layer
        yield from walk(layer.inner)


def parameter_shapes(layers: Sequence[ResolvedLayer]) -> dict[str, Shape]:
    """Return the trainable parameters of all layers, name → shape, in layer order."""
    return {name: shape for layer in walk(layers) for name, shape in layer.parameters.items()}


def state_shapes(layers: Sequence[ResolvedLayer]) -> dict[str, Shape]:
    """Return the statistics that are not trained, name → shape, in layer order."""
    return {name: shape for layer in walk(layers) for name, shape in layer.state.items()}


def first_vocabulary(layers: tuple[kinds.Layer, ...]) -> int:
    """Return the size of the first embedding; 0: there is none."""
    for layer in layers:
        if isinstance(layer, kinds.Embedding):
            return layer.vocabulary
        if isinstance(layer, kinds.Repeat | kinds.Residual) and (inner := first_vocabulary(layer.layers)):
            return inner
    return 0


class _Budget:
    """How many layers and parameters may still come."""

    def __init__(self) -> None:
        self.layers = MAX_LAYERS
        self.parameters = MAX_PARAMETERS

    def spend(self, workload: str, parameters: dict[str, Shape]) -> None:
        self.layers -= 1
        self.parameters -= sum(prod(shape) for shape in parameters.values())
        if self.layers < 0:
            raise RequestError(f"{workload}: more than {MAX_LAYERS} layers once expanded")
        if self.parameters < 0:
            raise RequestError(f"{workload}: more than {MAX_PARAMETERS:.0e} parameters")


def _expand(workload: str, layers: Sequence[kinds.Layer], at: str) -> Iterator[tuple[str, kinds.Layer]]:
    """Yield (place in the YAML, layer) with every `repeat` replaced by its layers."""
    for index, layer in enumerate(layers):
        place = f"{at}layers[{index}]"
        if not isinstance(layer, kinds.Repeat):
            yield place, layer
            continue
        if not layer.layers:
            # Nested ones would spin for ever without yielding a layer that the budget counts.
            _refuse(workload, place, layer, "must repeat something", "it has no layers")
        for _ in range(layer.times):
            yield from _expand(workload, layer.layers, f"{place}.")


def _resolve_all(
    workload: str, layers: Sequence[kinds.Layer], flow: _Flow, budget: _Budget, at: str = "", path: str = ""
) -> tuple[tuple[ResolvedLayer, ...], _Flow]:
    resolved = []
    for index, (place, layer) in enumerate(_expand(workload, layers, at)):
        name = f"{path}{index}"
        inner: tuple[ResolvedLayer, ...] = ()
        if isinstance(layer, kinds.Residual):
            inner, end = _resolve_all(workload, layer.layers, flow, budget, f"{place}.", f"{name}.")
            if not inner or flow.is_ids or end != flow:
                cause = f"its layers turn {_text(flow)} into {_text(end)}" if inner else "it has no layers"
                _refuse(workload, place, layer, "must keep the shape of its float input", cause)
        else:
            end = _flow_after(workload, place, layer, flow)
        parameters = {f"{name}.{key}": shape for key, shape in _parameters(layer, flow.shape).items()}
        budget.spend(workload, parameters)
        resolved.append(
            ResolvedLayer(
                path=name,
                layer=layer,
                input_shape=flow.shape,
                output_shape=end.shape,
                parameters=parameters,
                state=_state(layer, name, flow.shape),
                inner=inner,
            )
        )
        flow = end
    return tuple(resolved), flow


def _flow_after(workload: str, place: str, layer: kinds.Layer, flow: _Flow) -> _Flow:
    shape = flow.shape

    def refuse(what: str) -> NoReturn:
        _refuse(workload, place, layer, what, f"it is given {_text(flow)}")

    if isinstance(layer, kinds.Embedding):
        if not flow.is_ids:
            refuse("needs integer ids (input dtype int64)")
        return _Flow((*shape, layer.units), is_ids=False)
    if flow.is_ids and not isinstance(layer, kinds.Flatten):
        refuse("needs floats; integer ids go through an embedding first")
    match layer:
        case kinds.Dense():
            shape = (*shape[:-1], layer.units)
        case kinds.Conv2d():
            if len(shape) != 3:
                refuse("needs an image (height, width, channels)")
            if layer.padding == "valid" and layer.size > min(shape[:2]):
                refuse(f"has a kernel of {layer.size} × {layer.size} that does not fit")
            reach = layer.size if layer.padding == "valid" else 1
            height, width = ((axis - reach) // layer.stride + 1 for axis in shape[:2])
            shape = (height, width, layer.filters)
        case kinds.MaxPool2d() | kinds.AveragePool2d():
            if len(shape) != 3:
                refuse("needs an image (height, width, channels)")
            if layer.size > min(shape[:2]):
                refuse(f"has a window of {layer.size} × {layer.size} that does not fit")
            shape = (shape[0] // layer.size, shape[1] // layer.size, shape[2])
        case kinds.Flatten():
            shape = (prod(shape),)
        case kinds.PositionEmbedding() | kinds.AverageOverSequence() | kinds.Attention() | kinds.Lstm():
            if len(shape) != 2:
                refuse("needs a sequence (length, channels)")
            if isinstance(layer, kinds.Attention) and shape[1] % layer.heads:
                refuse(f"has {layer.heads} heads, which do not divide the {shape[1]} channels")
            if isinstance(layer, kinds.AverageOverSequence):
                shape = shape[1:]
            if isinstance(layer, kinds.Lstm):
                shape = (shape[0], layer.units) if layer.return_sequences else (layer.units,)
        case _:
            pass  # the elementwise layers and norms keep the shape
    return _Flow(shape, is_ids=flow.is_ids)


def _parameters(layer: kinds.Layer, shape: Shape) -> dict[str, Shape]:
    channels = shape[-1]
    match layer:
        case kinds.Dense():
            return {"kernel": (channels, layer.units)} | ({"bias": (layer.units,)} if layer.use_bias else {})
        case kinds.Conv2d():
            kernel = (layer.size, layer.size, channels, layer.filters)
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
        case _:
            return {}


def _state(layer: kinds.Layer, name: str, shape: Shape) -> dict[str, Shape]:
    if not isinstance(layer, kinds.BatchNorm):
        return {}
    return {f"{name}.moving_mean": shape[-1:], f"{name}.moving_variance": shape[-1:]}


def _text(flow: _Flow) -> str:
    numbers = ", ".join(map(str, flow.shape))
    return f"{'ids' if flow.is_ids else 'floats'} ({numbers}{',' if len(flow.shape) == 1 else ''})"


def _refuse(workload: str, place: str, layer: kinds.Layer, what: str, cause: str) -> NoReturn:
    kind = layer.__struct_config__.tag
    raise RequestError(f"{workload}: {place} ({kind}) {what}", cause=cause)
