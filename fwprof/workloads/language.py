"""Resolves the neutral model language: expands `repeat` and `frozen`, infers shapes, names parameters.

Owns what fits what and how parameters are called. Knows no numbers, no file and no framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NoReturn

from fwprof.errors import RequestError
from fwprof.records import CheckpointPart, ResolvedLayer, Workload
from fwprof.records import workload as kinds
from fwprof.workloads.shapes import Shape, after_windows, arrays_of

MAX_LAYERS = 10_000
"""After expansion; nested `repeat` multiplies, so a typo could ask for millions."""
MAX_PARAMETERS = 10**12
"""4 TB of float32: more is a typo, not a model."""


@dataclass(frozen=True)
class _Flow:
    """What flows from layer to layer, without the batch dimension."""

    shape: Shape
    is_ids: bool


@dataclass(frozen=True)
class _Place:
    """Where a layer stands."""

    yaml: str
    """`layers[2].layers[0]`, as the user wrote it."""
    path: str
    """`2.0`, with every `repeat` expanded."""
    is_frozen: bool


def resolve(workload: Workload) -> tuple[ResolvedLayer, ...]:
    """Return the layers with shapes and parameters, `repeat` and `frozen` expanded.

    Raises:
        RequestError: a layer does not fit what it is given, or the last one does not give what the
            loss takes; names the layer's place in the YAML and the shapes. Or there is nothing to
            learn.
    """
    if workload.loss == "cross_entropy" and workload.classes == 1:
        raise RequestError(
            f"{workload.name}: the cross-entropy of a single class is always 0",
            next="give `classes` 2 or more, or set `loss: binary_cross_entropy` for a yes or no",
        )
    start = _Flow(workload.input.shape, workload.input.dtype == "int64")
    layers, end = _Resolution(workload.name).chain(workload.layers, start)
    _require_outputs(workload, end)
    if not parameter_shapes(layers):
        raise RequestError(
            f"{workload.name}: there is nothing to learn",
            cause="no layer has parameters that are trained",
            next="add a layer that has some, or take one out of `frozen`",
        )
    if is_trimmed(workload):
        _require_any_length(workload, layers)
    return layers


def walk(layers: Sequence[ResolvedLayer]) -> Iterator[ResolvedLayer]:
    """Yield every layer in the order of computation, one with inner layers before them."""
    for layer in layers:
        yield layer
        yield from walk(layer.inner)


def parameter_shapes(layers: Sequence[ResolvedLayer]) -> dict[str, Shape]:
    """Return the trainable parameters of all layers, name → shape, in layer order."""
    return {name: shape for layer in walk(layers) for name, shape in layer.parameters.items()}


def moved_parts(workload: Workload, layers: Sequence[ResolvedLayer]) -> tuple[CheckpointPart, ...]:
    """Return what a training step moves: what a checkpoint must hold for training to go on as it would."""
    drops = any(isinstance(one.layer, kinds.Dropout) and one.layer.rate > 0 for one in walk(layers))
    is_plain = isinstance(workload.optimizer, kinds.Sgd) and workload.optimizer.momentum == 0
    found: dict[CheckpointPart, bool] = {
        "parameters": True,
        "statistics": bool(state_shapes(layers)),
        # Without momentum an optimizer counts its steps, and draws nothing from the count.
        "optimizer": not is_plain,
        "random_state": drops,
    }
    return tuple(part for part, is_moved in found.items() if is_moved)


def state_shapes(layers: Sequence[ResolvedLayer]) -> dict[str, Shape]:
    """Return statistics and frozen parameters, name → shape, in layer order."""
    return {name: shape for layer in walk(layers) for name, shape in layer.state.items()}


def first_vocabulary(layers: tuple[kinds.Layer, ...]) -> int:
    """Return the size of the first embedding; 0: there is none."""
    for layer in layers:
        if isinstance(layer, kinds.Embedding):
            return layer.vocabulary
        inner: tuple[kinds.Layer, ...] = getattr(layer, "layers", ())
        if found := first_vocabulary(inner):
            return found
    return 0


def is_trimmed(workload: Workload) -> bool:
    """Return whether each batch is as long as its longest sequence."""
    return isinstance(workload.data, kinds.SyntheticData) and workload.data.is_trimmed


def sample_shape(workload: Workload) -> tuple[int | None, ...]:
    """Return the shape of one sample as the batches have it; None: it changes from batch to batch."""
    shape = workload.input.shape
    return (None, *shape[1:]) if is_trimmed(workload) else shape


def _require_outputs(workload: Workload, end: _Flow) -> None:
    classes = workload.classes
    is_sequence = (
        workload.loss == "cross_entropy"
        and workload.input.dtype == "int64"
        and end.shape == (*workload.input.shape, classes)
    )
    if not end.is_ids and (end.shape == (classes,) or is_sequence):
        return
    raise RequestError(
        f"{workload.name}: the last layer gives {_text(end)}, not ({classes},)",
        cause=f"the loss needs one number for each of the {classes} classes",
        next=f"end with a dense layer of {classes} units, or correct `classes`",
    )


def _require_any_length(workload: Workload, layers: Sequence[ResolvedLayer]) -> None:
    if len(layers[-1].output_shape) > 1:
        raise RequestError(
            f"{workload.name}: every position has a target, and batches change their length",
            cause="data.is_trimmed cuts inputs alone",
            next="leave out is_trimmed, or end with one answer a sequence",
        )
    assert isinstance(workload.data, kinds.SyntheticData)
    if workload.data.min_length:
        # The shortest batch there may be goes through all layers too.
        shortest = _Flow((workload.data.min_length,), is_ids=True)
        _Resolution(workload.name).chain(workload.layers, shortest)
    fixed = kinds.Flatten | kinds.PositionEmbedding | kinds.BatchNorm | kinds.PairwiseProducts
    for layer in walk(layers):
        is_causal = isinstance(layer.layer, kinds.Attention) and layer.layer.causal
        if len(layer.input_shape) > 1 and (is_causal or isinstance(layer.layer, fixed)):
            raise RequestError(
                f"{workload.name}: layer {layer.path} ({_tag(layer.layer)}) needs sequences of one length",
                cause="data.is_trimmed makes batches of different lengths",
                next="leave out is_trimmed, or the layer",
            )


class _Resolution:
    """One workload on its way: how much may still come, and the first table."""

    def __init__(self, workload: str) -> None:
        self._workload = workload
        self._layers_left = MAX_LAYERS
        self._parameters_left = MAX_PARAMETERS
        self._table: tuple[str, Shape] | None = None

    def chain(
        self, layers: Sequence[kinds.Layer], flow: _Flow, at: _Place | None = None
    ) -> tuple[tuple[ResolvedLayer, ...], _Flow]:
        """Resolve layers one after another, those of the layer at `at` or the workload's own."""
        resolved = []
        for index, (yaml, is_frozen, layer) in enumerate(self._expand(layers, at)):
            path = f"{at.path}.{index}" if at else f"{index}"
            one, flow = self._resolve(layer, _Place(yaml, path, is_frozen), flow)
            resolved.append(one)
        return tuple(resolved), flow

    def _expand(
        self, layers: Sequence[kinds.Layer], at: _Place | None
    ) -> Iterator[tuple[str, bool, kinds.Layer]]:
        """Yield (place in the YAML, whether it is frozen, layer), `repeat` and `frozen` replaced."""
        for index, layer in enumerate(layers):
            yaml = f"{at.yaml}.layers[{index}]" if at else f"layers[{index}]"
            place = _Place(yaml, at.path if at else "", bool(at and at.is_frozen))
            if not isinstance(layer, kinds.Repeat | kinds.Frozen):
                yield yaml, place.is_frozen, layer
                continue
            if not layer.layers:
                # Nested ones would spin for ever without yielding a layer that the budget counts.
                verb = "repeat" if isinstance(layer, kinds.Repeat) else "freeze"
                self._refuse(place, layer, f"must {verb} something", "it has no layers")
            if isinstance(layer, kinds.Frozen):
                place = replace(place, is_frozen=True)
            for _ in range(layer.times if isinstance(layer, kinds.Repeat) else 1):
                yield from self._expand(layer.layers, place)

    def _resolve(self, layer: kinds.Layer, place: _Place, flow: _Flow) -> tuple[ResolvedLayer, _Flow]:
        inner: tuple[ResolvedLayer, ...] = ()
        match layer:
            case kinds.Residual():
                inner, end = self.chain(layer.layers, flow, place)
                if not inner or flow.is_ids or end != flow:
                    cause = (
                        f"its layers turn {_text(flow)} into {_text(end)}" if inner else "it has no layers"
                    )
                    self._refuse(place, layer, "must keep the shape of its float input", cause)
            case kinds.Chain():
                inner, end = self.chain(layer.layers, flow, place)
            case kinds.Branches():
                inner, end = self._branches(layer, place, flow)
            case _:
                end = self._flow_after(place, layer, flow)
        trained, kept = arrays_of(layer, flow.shape, is_frozen=place.is_frozen)
        resolved = ResolvedLayer(
            path=place.path,
            layer=layer,
            input_shape=flow.shape,
            output_shape=end.shape,
            parameters={f"{place.path}.{key}": shape for key, shape in trained.items()},
            state={f"{place.path}.{key}": shape for key, shape in kept.items()},
            is_frozen=place.is_frozen,
            table=self._table[0] if self._table and isinstance(layer, kinds.TiedDense) else None,
            inner=inner,
        )
        self._spend(resolved)
        if isinstance(layer, kinds.Embedding) and self._table is None:
            self._table = f"{place.path}.table", (layer.vocabulary, layer.units)
        return resolved, end

    def _spend(self, resolved: ResolvedLayer) -> None:
        self._layers_left -= 1
        shapes = (*resolved.parameters.values(), *resolved.state.values())
        self._parameters_left -= sum(prod(shape) for shape in shapes)
        if self._layers_left < 0:
            raise RequestError(f"{self._workload}: more than {MAX_LAYERS} layers once expanded")
        if self._parameters_left < 0:
            raise RequestError(f"{self._workload}: more than {MAX_PARAMETERS:.0e} parameters")

    def _branches(
        self, layer: kinds.Branches, place: _Place, flow: _Flow
    ) -> tuple[tuple[ResolvedLayer, ...], _Flow]:
        resolved, ends = [], []
        for index, branch in enumerate(layer.layers):
            at = _Place(f"{place.yaml}.layers[{index}]", f"{place.path}.{index}", place.is_frozen)
            if isinstance(branch, kinds.Repeat | kinds.Frozen):
                self._refuse(at, branch, "cannot be a branch by itself", "put it into a chain")
            one, end = self._resolve(branch, at, flow)
            resolved.append(one)
            ends.append(end)
        shapes = [end.shape if layer.join == "add" else end.shape[:-1] for end in ends]
        if any(end.is_ids for end in ends) or len(set(shapes)) > 1:
            gives = ", ".join(map(_text, ends))
            self._refuse(place, layer, f"cannot {layer.join} what its branches give", gives)
        if layer.join == "add":
            return tuple(resolved), ends[0]
        width = sum(end.shape[-1] for end in ends)
        return tuple(resolved), _Flow((*ends[0].shape[:-1], width), is_ids=False)

    def _flow_after(self, place: _Place, layer: kinds.Layer, flow: _Flow) -> _Flow:
        shape = flow.shape

        def refuse(what: str) -> NoReturn:
            self._refuse(place, layer, what, f"it is given {_text(flow)}")

        if isinstance(layer, kinds.Embedding):
            if not flow.is_ids:
                refuse("needs integer ids (input dtype int64)")
            return _Flow((*shape, layer.units), is_ids=False)
        if flow.is_ids and not isinstance(layer, kinds.Flatten):
            refuse("needs floats; integer ids go through an embedding first")
        if isinstance(layer, _OF_IMAGES) and len(shape) != 3:
            refuse("needs an image (height, width, channels)")
        if isinstance(layer, _OF_SEQUENCES) and len(shape) != 2:
            refuse("needs a sequence (length, channels)")
        match layer:
            case kinds.Dense():
                shape = (*shape[:-1], layer.units)
            case kinds.Conv2d() | kinds.Conv1d():
                shape = (*after_windows(shape[:-1], layer, refuse), layer.filters)
            case kinds.MaxPool2d() | kinds.AveragePool2d():
                shape = (*after_windows(shape[:2], layer, refuse), shape[2])
            case kinds.Flatten():
                shape = (prod(shape),)
            case kinds.Attention() if shape[1] % layer.heads:
                refuse(f"has {layer.heads} heads, which do not divide the {shape[1]} channels")
            case kinds.AverageOverSequence() | kinds.MaxOverSequence() | kinds.FirstOfSequence():
                shape = shape[1:]
            case kinds.AverageOverImage():
                shape = shape[2:]
            case kinds.Lstm() | kinds.Gru():
                shape = (shape[0], layer.units) if layer.return_sequences else (layer.units,)
            case kinds.PairwiseProducts():
                if shape[0] < 2:
                    refuse("needs two rows at least")
                shape = (shape[0] * (shape[0] - 1) // 2,)
            case kinds.TiedDense():
                if self._table is None:
                    refuse("has no embedding before it to share a table with")
                vocabulary, units = self._table[1]
                if shape[-1] != units:
                    refuse(f"shares a table of {units} units")
                shape = (*shape[:-1], vocabulary)
            case kinds.Dropout() if place.is_frozen:
                refuse("would change what a frozen part gives from step to step")
            case _:
                pass  # the elementwise layers and norms keep the shape
        return _Flow(shape, is_ids=flow.is_ids)

    def _refuse(self, place: _Place, layer: kinds.Layer, what: str, cause: str) -> NoReturn:
        raise RequestError(f"{self._workload}: {place.yaml} ({_tag(layer)}) {what}", cause=cause)


_OF_IMAGES = kinds.Conv2d | kinds.MaxPool2d | kinds.AveragePool2d | kinds.AverageOverImage
_OF_SEQUENCES = (
    kinds.Conv1d
    | kinds.PositionEmbedding
    | kinds.AverageOverSequence
    | kinds.MaxOverSequence
    | kinds.FirstOfSequence
    | kinds.Attention
    | kinds.Lstm
    | kinds.Gru
    | kinds.PairwiseProducts
)


def _text(flow: _Flow) -> str:
    numbers = ", ".join(map(str, flow.shape))
    return f"{'ids' if flow.is_ids else 'floats'} ({numbers}{',' if len(flow.shape) == 1 else ''})"


def _tag(layer: kinds.Layer) -> str:
    return str(layer.__struct_config__.tag)
