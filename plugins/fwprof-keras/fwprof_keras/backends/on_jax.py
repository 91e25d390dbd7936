"""Keras on JAX: jax.jit around the trainer's stateless parts.

While stepping, the state of training lies in arrays of this module, which each step gives to the
next; the model's variables get it back only when someone asks for them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxlib.version import __version__ as jaxlib_version

from fwprof.plugin import PluginUnavailableError
from fwprof_keras.modes import is_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import keras

    from fwprof.plugin import CellPlan, Device, Scalar
    from fwprof_keras.backends import Engine, LayerEngine, Result
    from fwprof_keras.data import Batches

    State = tuple[list[Any], list[Any], list[Any]]
    """Trainable variables, those that are not, and the optimizer's."""

_NO_COUNT = "jax keeps no count of what a pass holds, and nothing plans one that is not compiled"
_traced = 0


class JaxBackend:
    """JAX on one device."""

    name = "jax"
    notable: Sequence[str] = ("threads", "jit", "layout", "matmul_precision")
    watched_by = "jax"
    has_peak = False

    def prepare(self, plan: CellPlan) -> None:
        """Choose the platform and 64-bit types, and start the runtime."""
        jax.config.update("jax_enable_x64", plan.precision == "float64")  # type: ignore[no-untyped-call]  # untyped in jax
        # First steps are measured with cold caches.
        jax.config.update("jax_compilation_cache_dir", None)  # type: ignore[no-untyped-call]  # untyped in jax
        if is_host(plan.device.native.get("keras", plan.device.kind)):
            jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]  # untyped in jax
        jax.block_until_ready(jnp.zeros(1) + 1)  # type: ignore[no-untyped-call]  # untyped in jax

    def open_device(self, device: Device) -> str:
        """Return JAX's name of the device, e.g. `cpu:0`."""
        native = device.native.get("keras", device.kind).lower().replace("gpu", "cuda")
        kind, _, number = native.partition(":")
        try:
            found = jax.devices(kind)[int(number or 0)]
        except (RuntimeError, IndexError, ValueError) as error:
            raise PluginUnavailableError(
                f"jax {jax.__version__} cannot use {device.name} ({native})",
                cause=str(error).splitlines()[0],
                next="install a build of jax for this device, or choose another --device",
            ) from error
        return f"{found.platform}:{found.id}"

    def apply_preset(self, preset: str, precision: str) -> None:
        """Set the precision of float32 products; on the host there is nothing to set."""
        if precision == "tf32" or (preset == "equal" and jax.default_backend() != "cpu"):
            asked = "tensorfloat32" if precision == "tf32" else "highest"
            jax.config.update("jax_default_matmul_precision", asked)  # type: ignore[no-untyped-call]  # untyped in jax

    def settings(self) -> Mapping[str, Scalar]:
        """Return threads, precision and types as JAX states them."""
        return {
            "threads": _count_compute_threads(),
            "matmul_precision": _read("jax_default_matmul_precision") or "default",
            "x64": _read("jax_enable_x64"),
            "jit_disabled": _read("jax_disable_jit"),
            "compilation_cache": _read("jax_compilation_cache_dir"),
            "preallocate": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", ""),
        }

    def versions(self) -> Mapping[str, str]:
        """Return the versions of jax and jaxlib."""
        return {"jax": jax.__version__, "jaxlib": jaxlib_version}

    def place(self, array: Any) -> Any:
        """Return an array on the device."""
        # Uncommitted to a device, as the variables are: mixed, a program would be compiled twice.
        return jnp.array(array)

    def wait(self, value: Any) -> None:
        """Return when every array is computed."""
        jax.block_until_ready(value)  # type: ignore[no-untyped-call]  # untyped in jax

    def dataset(self, batches: Batches) -> Any:
        """Return the batches: keras takes them one by one here, each in its own shape."""
        return batches

    def seed(self, seed: int) -> None:
        """Do nothing: JAX has no random state of its own."""

    def reseed(self, seed: int) -> None:
        """Do nothing: JAX has no random state of its own."""

    def reset_peak(self) -> None:
        """Do nothing: there is none."""

    def peak(self) -> tuple[int, str]:
        """Refuse: what a card counts, no call resets."""
        raise ValueError(_NO_COUNT)

    def watch(self, program: Callable[[], Any]) -> tuple[int, int]:  # noqa: ARG002 (as every backend takes it)
        """Refuse: only the plan of a compiled program says what it holds."""
        raise ValueError(_NO_COUNT)

    def compilations(self) -> int:
        """Return how many programs were traced so far in this process."""
        return _traced

    def open_engine(self, model: keras.Model, *, sums_rows: bool) -> Engine:  # noqa: ARG002 (jax sums them)
        """Return the programs as `Model.fit` would run a step: in jax.jit, unless told otherwise."""
        return JaxEngine(model)

    def fused_by(self, mode: str) -> str:
        """Return XLA where programs are compiled."""
        return "XLA" if mode == "jit" else ""

    def open_layer(
        self, model: keras.Model, part: Any, variables: Sequence[Any], *, has_input_gradient: bool
    ) -> LayerEngine:
        """Return F and G in jax.jit, unless the model runs eagerly."""
        return JaxLayer(model, part, variables, has_input_gradient=has_input_gradient)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Say whether XLA raised because memory ran out."""
        return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


class JaxEngine:
    """F, G and S as functions of the state; S gives the arrays of the old state away."""

    has_phases = False
    keeps_forward = False

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._state: State | None = None
        is_compiled = _is_compiled(model)
        self.mode = "jit" if is_compiled else "eager"
        self.is_whole_graph = is_compiled
        self._loss_and_gradients = jax.value_and_grad(self._loss, has_aux=True)

        self._forward = _wrap(self._compute_forward, model)
        self._forward_backward = _wrap(self._compute_gradients, model)
        self._add_gradients = _wrap(self._compute_sums, model, donate_argnums=4)
        self._run = _wrap(self._step, model, donate_argnums=0)

    def forward(self, x: Any, y: Any, weight: Any) -> Result:
        """F: model and loss in training mode; the statistics it moved are kept."""
        trained, kept, slots = self._taken()
        loss, kept = self._forward((trained, kept, slots), x, y, weight)
        self._state = trained, kept, slots
        return loss, None, kept

    def forward_backward(self, x: Any, y: Any, weight: Any) -> Result:
        """G: the loss and every gradient; the statistics it moved are kept."""
        trained, kept, slots = self._taken()
        loss, gradients, kept = self._forward_backward((trained, kept, slots), x, y, weight)
        self._state = trained, kept, slots
        return loss, gradients, kept

    def add_gradients(self, x: Any, y: Any, weight: Any, sums: Sequence[Any]) -> Result:
        """G of one more part: its loss, and its gradients added to `sums`, whose memory is given away."""
        trained, kept, slots = self._taken()
        loss, gradients, kept = self._add_gradients((trained, kept, slots), x, y, weight, sums)
        self._state = trained, kept, slots
        return loss, gradients, kept

    def run(self, x: Any, y: Any, weight: Any) -> Result:
        """S: loss, gradients and update."""
        loss, self._state = self._run(self._taken(), x, y, weight)
        return loss, None, self._state

    def phases(self, x: Any, y: Any, weight: Any) -> Iterator[str]:  # noqa: ARG002 (as every engine takes them)
        """Give nothing: forward and backward are one call in JAX."""
        return iter(())

    def release(self) -> None:
        """Put the state into the model's variables."""
        if self._state is None:
            return
        for variables, values in zip(self._variables(), self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._state = None

    def plan(self, x: Any, y: Any, weight: Any) -> tuple[int, int] | None:
        """Return what XLA planned for G and S, which are compiled once more for it; None where eager.

        Source: jax.stages.Compiled.memory_analysis, jax's documentation.
        """
        if not self.is_whole_graph:
            return None
        batch = x, y, weight
        passes, step = (
            program.lower(self._taken(), *batch).compile().memory_analysis()
            for program in (self._forward_backward, self._run)
        )
        if passes is None or step is None:
            return None
        held = step.argument_size_in_bytes + step.output_size_in_bytes + step.temp_size_in_bytes
        return int(passes.temp_size_in_bytes), int(held - step.alias_size_in_bytes)

    def take(self) -> None:
        """Take the state from the variables."""
        self._taken()

    def _taken(self) -> State:
        if self._state is None:
            trained, kept, slots = ([v.value for v in variables] for variables in self._variables())
            self._state = trained, kept, slots
        return self._state

    def _variables(self) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        model = self._model
        return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables

    def _loss(
        self, trained: list[Any], kept: list[Any], slots: list[Any], x: Any, y: Any, weight: Any
    ) -> tuple[Any, tuple[Any, list[Any]]]:
        """Return the loss to derive (scaled where the optimizer scales), the loss, the statistics."""
        loss, (unscaled, _, kept, _) = self._model.compute_loss_and_updates(
            trained, kept, [], x, y, weight, training=True, optimizer_variables=slots
        )
        return loss, (unscaled, kept)

    def _compute_forward(self, state: State, x: Any, y: Any, weight: Any) -> tuple[Any, list[Any]]:
        return self._loss(*state, x, y, weight)[1]

    def _compute_gradients(
        self, state: State, x: Any, y: Any, weight: Any
    ) -> tuple[Any, list[Any], list[Any]]:
        (_, (loss, kept)), gradients = self._loss_and_gradients(*state, x, y, weight)
        return loss, gradients, kept

    def _compute_sums(
        self, state: State, x: Any, y: Any, weight: Any, sums: Sequence[Any]
    ) -> tuple[Any, list[Any], list[Any]]:
        loss, gradients, kept = self._compute_gradients(state, x, y, weight)
        return loss, [a + b for a, b in zip(sums, gradients, strict=True)], kept

    def _step(self, state: State, x: Any, y: Any, weight: Any) -> tuple[Any, State]:
        loss, gradients, kept = self._compute_gradients(state, x, y, weight)
        trained, _, slots = state
        trained, slots = self._model.optimizer.stateless_apply(slots, gradients, trained)
        return loss, (trained, kept, slots)


class JaxLayer:
    """F and G of one layer as functions of its variables, which stay what they are.

    `keras.Layer.stateless_call` takes all trainable variables and gives back all others: statistics that
    a pass moves are a result, and dropped.
    """

    def __init__(
        self, model: keras.Model, part: Any, variables: Sequence[Any], *, has_input_gradient: bool
    ) -> None:
        self._part = part
        self._has_input_gradient = has_input_gradient
        trained = list(part.trainable_variables)
        order = {id(variable): number for number, variable in enumerate(trained)}
        self._places = [order[id(variable)] for variable in variables]
        self._trained = [variable.value for variable in trained]
        self._kept = [variable.value for variable in part.non_trainable_variables]
        self._forward = _wrap(self._compute, model)
        self._forward_backward = _wrap(self._differentiate, model)

    def forward(self, inputs: Any) -> Any:
        """F: the outputs."""
        return self._forward(self._trained, self._kept, inputs)[0]

    def forward_backward(self, inputs: Any, upstream: Any) -> tuple[Any, list[Any], Any]:
        """G: outputs and every gradient."""
        outputs, gradients, of_inputs, _ = self._forward_backward(self._trained, self._kept, inputs, upstream)
        return outputs, [gradients[place] for place in self._places], of_inputs

    def wait(self, result: Any) -> None:
        """Return when every array is computed."""
        jax.block_until_ready(result)  # type: ignore[no-untyped-call]  # untyped in jax

    def _compute(self, trained: list[Any], kept: list[Any], inputs: Any) -> tuple[Any, list[Any]]:
        outputs, moved = self._part.stateless_call(trained, kept, inputs, training=True)
        return outputs, moved

    def _differentiate(
        self, trained: list[Any], kept: list[Any], inputs: Any, upstream: Any
    ) -> tuple[Any, list[Any], Any, list[Any]]:
        if self._has_input_gradient:
            outputs, pull, moved = jax.vjp(
                lambda trained, inputs: self._compute(trained, kept, inputs), trained, inputs, has_aux=True
            )
            gradients, of_inputs = pull(upstream)
            return outputs, gradients, of_inputs, moved
        outputs, pull, moved = jax.vjp(
            lambda trained: self._compute(trained, kept, inputs), trained, has_aux=True
        )
        return outputs, pull(upstream)[0], None, moved


def _is_compiled(model: keras.Model) -> bool:
    return bool(model.jit_compile) and not model.run_eagerly


def _wrap(function: Callable[..., Any], model: keras.Model, **options: Any) -> Any:
    """Return a function as the model runs its own: in jax.jit, unless told otherwise."""
    if not _is_compiled(model):
        return function

    def traced(*arguments: Any) -> Any:
        _count_trace()
        return function(*arguments)

    return jax.jit(traced, **options)


def _read(name: str) -> Scalar:
    found: Scalar = getattr(jax.config, name)
    return found


def _count_trace() -> None:
    global _traced
    _traced += 1


def _count_compute_threads() -> int:
    """Return the size of the pool that XLA computes with on the host: its threads, by their name."""
    count = 0
    for path in Path("/proc/self/task").glob("*/comm"):
        # A thread may end between the listing and the reading.
        with suppress(OSError):
            count += path.read_text().startswith("tf_XLAEigen")
    return count
