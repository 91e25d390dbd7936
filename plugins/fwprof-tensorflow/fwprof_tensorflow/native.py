"""The user's own tensorflow model: what its factory returned, checked and taken over as it is.

Owns the keys of that dict and what may be behind each. Changes nothing of the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from fwprof.plugin import Part, RequestError, endless_batches, read_parts
from fwprof_tensorflow.layout import VariableSlot, slot_of
from fwprof_tensorflow.steps import Steps
from fwprof_tensorflow.trained import TrainedModel, native_variable

if TYPE_CHECKING:
    from fwprof.plugin import LoadedWorkload, Options, Staged
    from fwprof_tensorflow.modes import Mode
    from fwprof_tensorflow.places import Place

_HELP = "return {'model': …, 'variables': …, 'loss': …, 'optimizer': …, 'batches': …}"


def _are_variables(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and bool(value)
    return is_list and all(isinstance(each, tf.Variable | tf.keras.Variable) for each in value)


_PARTS = {
    "model": Part("a callable on inputs", callable),
    "variables": Part("a list of variables, at least one", _are_variables),
    "loss": Part("a callable on targets and output", callable),
    "optimizer": Part(
        "an optimizer with apply_gradients",
        lambda value: callable(getattr(value, "apply_gradients", None)),
    ),
}


@dataclass(frozen=True)
class Parts:
    """What the factory returned, checked."""

    model: Callable[..., Any]
    variables: Sequence[Any]
    loss: Callable[[Any, Any], Any]
    optimizer: Any
    batches: Iterable[Any] | Callable[[], Any]


class NativeModel(TrainedModel):
    """The user's model, variables, loss, optimizer and batches.

    Raises:
        RequestError: the factory's dict, or a batch, is not what tensorflow needs; names the key.
    """

    def __init__(self, workload: LoadedWorkload, place: Place, mode: Mode, options: Options) -> None:
        parts = Parts(**read_parts(workload.native, _PARTS, framework="tensorflow", next=_HELP))
        if not workload.batches:
            raise RequestError("the model's 'batches' gave no batch", next=_HELP)
        self._first = _split(workload.batches[0])
        if not getattr(parts.optimizer, "built", True):
            # An optimizer of keras makes its variables now, not in a traced step.
            parts.optimizer.build(parts.variables)
        parameters, others = _name_variables(parts)
        super().__init__(
            steps=_make_steps(parts, mode),
            optimizer=parts.optimizer,
            states=[*parts.variables, *others.values(), *_variables_of(parts.optimizer)],
            parameters=_slots(parameters),
            statistics=_slots(_floats(others)),
            place=place,
            mode=mode,
        )
        self._batch_size = _count_samples(self._first)
        self._pipeline = endless_batches(parts.batches, workload.batches)
        # Several models of one process may share the folder.
        self._start = f"{mkdtemp(prefix='start-', dir=options.cache)}/start"
        self._checkpoint.write(self._start)

    @property
    def batch_size(self) -> int:
        """Samples in the first batch."""
        return self._batch_size

    def stage(self, batch: Any) -> Staged:
        """Put the arrays of one batch on the device and wait.

        Returns:
            `(inputs, targets)`.
        """
        with tf.device(self.place.name):
            staged = tf.nest.map_structure(_place, _split(batch))
        self.place.wait()
        return staged

    def next_batch(self) -> Staged:
        """Fetch the next batch of the user's own `batches` and stage it."""
        return self.stage(next(self._pipeline))

    def reset(self) -> None:
        """Restore the variables as they were right after the build, in place."""
        self._checkpoint.read(self._start).assert_consumed()

    def prepare_inputs(self, staged: Staged) -> Any:
        """Return the inputs."""
        return staged[0]


def _split(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    raise RequestError(
        "the model factory's 'batches' gave something else than a batch",
        cause=f"expected (inputs, targets), found a {type(batch).__name__}{size}",
    )


def _place(value: Any) -> Any:
    return tf.identity(value) if tf.is_tensor(value) else tf.constant(value)


def _make_steps(parts: Parts, mode: Mode) -> Steps:
    # A layer of keras, and whoever else has the argument, is told whether it trains.
    signature = inspect.signature(getattr(parts.model, "call", parts.model))
    is_told = "training" in signature.parameters

    def call(inputs: Any, *, is_training: bool) -> Any:
        return parts.model(inputs, training=is_training) if is_told else parts.model(inputs)

    def loss(inputs: Any, targets: Any) -> Any:
        value = parts.loss(targets, call(inputs, is_training=True))
        # Penalties that layers of keras add by themselves: a loop of one's own adds them so.
        penalties = getattr(parts.model, "losses", ())
        return value + tf.add_n(penalties) if penalties else value

    def infer(inputs: Any) -> Any:
        outputs = call(inputs, is_training=False)
        return outputs if tf.is_tensor(outputs) else tf.nest.flatten(outputs)[0]

    def update(gradients: Sequence[Any]) -> None:
        parts.optimizer.apply_gradients(zip(gradients, parts.variables, strict=True))

    return Steps(loss, infer, parts.variables, update, mode)


def _variables_of(owner: Any) -> Sequence[Any]:
    """Return the variables of a model or optimizer, which may hold them as a method or not at all."""
    found = getattr(owner, "variables", ())
    return list(found() if callable(found) else found)


def _name_variables(parts: Parts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the trained variables and the model's others, each by a name of its own."""
    trained = {id(native_variable(variable)) for variable in parts.variables}
    named: dict[str, Any] = {}
    for variable in (*parts.variables, *_variables_of(parts.model)):
        if any(variable is each for each in named.values()):
            continue
        # Keras names layers by their place in the model; plain variables may share a name.
        name = getattr(variable, "path", "") or variable.name.partition(":")[0]
        named[name if name not in named else f"{name}#{len(named)}"] = variable
    return (
        {name: each for name, each in named.items() if id(native_variable(each)) in trained},
        {name: each for name, each in named.items() if id(native_variable(each)) not in trained},
    )


def _floats(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in variables.items() if tf.as_dtype(each.dtype).is_floating}


def _slots(variables: Mapping[str, Any]) -> dict[str, VariableSlot]:
    return {name: slot_of(variable) for name, variable in variables.items()}


def _count_samples(batch: Any) -> int:
    for part in tf.nest.flatten(batch):
        if shape := np.shape(part):
            return int(shape[0])
    return 0
