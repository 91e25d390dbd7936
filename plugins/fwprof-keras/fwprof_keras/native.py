"""The user's own keras model: what its factory returned, checked and taken over as it is.

Owns the keys of that dict and what may be behind each. The model's own `compile` stands: its loss,
optimizer, `run_eagerly` and `jit_compile`, unless the cell asks for another mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fwprof.plugin import Part, RequestError, UnsupportedError, endless_batches, read_parts
from fwprof_keras.layout import Slot
from fwprof_keras.model import KerasModel
from fwprof_keras.state import StartState

if TYPE_CHECKING:
    from fwprof.plugin import Device, LoadedWorkload, Options
    from fwprof_keras.backends import Backend, Staged
    from fwprof_keras.modes import Mode

_HELP = "return {'model': a keras model, compiled with loss and optimizer, 'batches': …}"

_PARTS = {"model": Part("a keras.Model", lambda value: isinstance(value, keras.Model))}


class NativeModel(KerasModel):
    """The user's model with its own loss and optimizer, and its batches.

    Raises:
        RequestError: the factory's dict, the model or a batch is not what keras needs; names it.
    """

    def __init__(
        self, workload: LoadedWorkload, backend: Backend, mode: Mode, device: Device, options: Options
    ) -> None:
        if options.cell.precision == "float64":
            raise UnsupportedError("keras trains your own model in the types it was built with")
        model = read_model(workload.native)
        if not workload.batches:
            raise RequestError("the model's 'batches' gave no batch", next=_HELP)
        batches = [split_batch(batch) for batch in workload.batches]
        if mode.run_eagerly is not None:
            model.run_eagerly = mode.run_eagerly
        if mode.jit is not None:
            model.jit_compile = mode.jit
        _build(model, batches[0][0], backend)
        super().__init__(
            model=model,
            backend=backend,
            device=device,
            parameters=_slots(model.trainable_variables),
            statistics=_slots(model.non_trainable_weights),
            batches=batches,
            cell=options.cell,
            sums_rows=False,
        )
        assert workload.native is not None
        self._batch_size = _count_samples(batches[0][0])
        self._pipeline = endless_batches(workload.native["batches"], workload.batches)
        self._start = StartState([*model.variables, *model.optimizer.variables], options.cache)

    @property
    def batch_size(self) -> int:
        """Samples in the first batch."""
        return self._batch_size

    def stage(self, batch: Any) -> Staged:
        """Put the arrays of one batch on the device and wait."""
        return self.place([split_batch(batch)])

    def next_batch(self) -> Staged:
        """Fetch the next batch of the user's own `batches` and stage it."""
        return self.stage(next(self._pipeline))

    def restore_start(self) -> None:
        """Set every variable to what it was right after the build."""
        self._start.restore()


def read_model(native: object) -> keras.Model:
    """Return the model of what a factory returned.

    Raises:
        RequestError: as `read_parts`; the model is not compiled, or trains by steps of its own.
    """
    model: keras.Model = read_parts(native, _PARTS, framework="keras", next=_HELP)["model"]
    if not model.compiled or model.optimizer is None:
        raise RequestError(
            "the model factory's 'model' is not compiled",
            cause="keras takes loss and optimizer from model.compile",
            next="call model.compile(optimizer=…, loss=…) before returning it",
        )
    if type(model).train_step is not keras.Model.train_step:
        raise RequestError(
            f"the model's class {type(model).__name__} has a train_step of its own",
            cause="a step is made of the parts of keras's own train_step, which yours replaces",
            next="override compute_loss instead, which is part of it",
        )
    return model


def split_batch(batch: Any) -> tuple[Any, Any, Any]:
    """Return inputs, targets and sample weights (or None) of one item of `batches`.

    Raises:
        RequestError: it is something else than two or three of them.
    """
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) in (2, 3):
        inputs, targets, *weight = (_to_host(part) for part in batch)
        return inputs, targets, weight[0] if weight else None
    size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    raise RequestError(
        "the model factory's 'batches' gave something else than a batch",
        cause=f"expected (inputs, targets[, sample weights]), found a {type(batch).__name__}{size}",
        next="give tuples of arrays; several inputs as a list or a dict",
    )


def _to_host(part: Any) -> Any:
    if part is None:
        return None
    return keras.tree.map_structure(
        lambda leaf: keras.ops.convert_to_numpy(leaf) if keras.ops.is_tensor(leaf) else np.asarray(leaf), part
    )


def _build(model: keras.Model, inputs: Any, backend: Backend) -> None:
    """Make the variables that a model without a declared input makes at its first call."""
    if not model.built:
        model(keras.tree.map_structure(backend.place, inputs), training=False)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _slots(variables: Sequence[keras.Variable]) -> dict[str, Slot]:
    found: dict[str, Slot] = {}
    for variable in variables:
        # Layers of a subclassed model may share a name.
        count = sum(name.split("#")[0] == variable.path for name in found)
        found[f"{variable.path}#{count + 1}" if count else variable.path] = Slot(variable)
    return found


def _count_samples(inputs: Any) -> int:
    first = keras.tree.flatten(inputs)[0]
    return int(first.shape[0]) if first.ndim else 0
