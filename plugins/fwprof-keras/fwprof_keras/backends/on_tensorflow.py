"""Keras on TensorFlow: tf.function around the trainer's parts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from fwprof.plugin import PluginUnavailableError
from fwprof_keras.modes import is_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import keras

    from fwprof.plugin import CellPlan, Device, Scalar
    from fwprof_keras.backends import Engine, LayerEngine, Result
    from fwprof_keras.data import Batches

_traced = 0


class TensorflowBackend:
    """TensorFlow on one device."""

    name = "tensorflow"
    notable: Sequence[str] = ("threads", "jit", "layout", "onednn")
    watched_by = "tensorflow's allocator"
    has_peak = True

    def __init__(self) -> None:
        self._is_host = True
        self._device = "CPU:0"

    def prepare(self, plan: CellPlan) -> None:
        """Set threads; on the host hide every card, on a card let memory grow."""
        tf.config.threading.set_intra_op_parallelism_threads(plan.threads)
        tf.config.threading.set_inter_op_parallelism_threads(plan.threads)
        if is_host(plan.device.native.get("keras", plan.device.kind)):
            tf.config.set_visible_devices([], "GPU")
        else:
            for card in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(card, True)
        tf.zeros(1) + 1

    def open_device(self, device: Device) -> str:
        """Return TensorFlow's name of the device, e.g. `CPU:0`."""
        native = device.native.get("keras", device.kind).upper().replace("CUDA", "GPU")
        kind, _, number = native.partition(":")
        found = [each.name for each in tf.config.list_logical_devices(kind)]
        name = f"/device:{kind}:{number or 0}"
        if name not in found:
            raise PluginUnavailableError(
                f"tensorflow {tf.__version__} cannot use {device.name} ({native})",
                cause=f"it sees {', '.join(d.name for d in tf.config.list_logical_devices()) or 'nothing'}",
                next="install a build of tensorflow for this device, or choose another --device",
            )
        self._is_host = kind == "CPU"
        self._device = name.removeprefix("/device:")
        return self._device

    def apply_preset(self, preset: str, precision: str) -> None:
        """Set whether float32 products may use TF32; on the host there is nothing to set."""
        if precision == "tf32" or (preset == "equal" and not self._is_host):
            tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")

    def settings(self) -> Mapping[str, Scalar]:
        """Return threads, TF32, oneDNN and determinism as TensorFlow states them."""
        from tensorflow.python.framework.config import is_op_determinism_enabled
        from tensorflow.python.util import _pywrap_util_port

        return {
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "interop_threads": tf.config.threading.get_inter_op_parallelism_threads(),
            "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "onednn": bool(_pywrap_util_port.IsMklEnabled()),
            "deterministic_ops": is_op_determinism_enabled(),
            "functions_run_eagerly": tf.config.functions_run_eagerly(),
            "soft_device_placement": tf.config.get_soft_device_placement(),
        }

    def versions(self) -> Mapping[str, str]:
        """Return TensorFlow's version, and those of CUDA and cuDNN where it is built with them."""
        build = {} if self._is_host else tf.sysconfig.get_build_info()
        named = {"cuda": build.get("cuda_version"), "cudnn": build.get("cudnn_version")}
        return {"tensorflow": tf.__version__, **{k: str(v) for k, v in named.items() if v}}

    def place(self, array: Any) -> Any:
        """Return a constant on the device."""
        return tf.constant(array)

    def wait(self, value: Any) -> None:
        """Return once the loss can be read; a function on the host has then done its updates too."""
        if not self._is_host:
            tf.test.experimental.sync_devices()
        tf.nest.flatten(value, expand_composites=True)[0].numpy()

    def dataset(self, batches: Batches) -> Any:
        """Return a data set that says which axes have no fixed size.

        Of a PyDataset keras looks at two batches to learn that (keras 3.15, PyDatasetAdapter), and
        fails at the third where those two happened to be of one length.
        """
        inputs, targets = batches[0]
        signature = (
            tf.TensorSpec((None,) * inputs.ndim, inputs.dtype),
            tf.TensorSpec((None, *targets.shape[1:]), targets.dtype),
        )
        data = tf.data.Dataset.from_generator(
            lambda: map(batches.__getitem__, range(len(batches))), output_signature=signature
        )
        return data.apply(tf.data.experimental.assert_cardinality(len(batches)))

    def seed(self, seed: int) -> None:
        """Set the global seed of TensorFlow."""
        tf.random.set_seed(seed)

    def reseed(self, seed: int) -> None:
        """Do nothing: layers of keras draw from variables of their own.

        TensorFlow forgets all its kernels when the global seed is set (`Context._set_global_seed` in
        tensorflow/python/eager/context.py): the next call of each function then makes them again, which
        takes seconds for a model of a hundred layers.
        """

    def reset_peak(self) -> None:
        """Forget earlier peaks; a device without statistics says so when it is asked for one."""
        self._sync()
        with suppress(ValueError):
            tf.config.experimental.reset_memory_stats(self._device)

    def peak(self) -> tuple[int, str]:
        """Return the peak of the allocator: variables, batches and the work of steps."""
        self._sync()
        most = int(tf.config.experimental.get_memory_info(self._device)["peak"])
        basis = f"tensorflow's allocator of {self._device}: variables, batches and work of a step"
        if not self._counts_small_blocks():
            basis += "; small blocks (below 256 KiB, with oneDNN) are not counted"
        return most, basis

    def watch(self, program: Callable[[], Any]) -> tuple[int, int]:
        """Count by the allocator, where it counts every block."""
        if not self._counts_small_blocks():
            raise ValueError(
                "tensorflow's allocator of the host counts no small blocks, as activations may be"
            )
        before = self._held()
        self.reset_peak()
        result = program()
        most, _ = self.peak()
        held = self._held()
        del result
        return held - before, most - before

    def _counts_small_blocks(self) -> bool:
        """Return whether the allocator's count moves by a small block.

        With oneDNN, the host's hands out blocks below 256 KiB by another allocator, which is not in the
        statistics. Source: tensorflow/core/common_runtime/mkl_cpu_allocator.h, kMaxSmallSize.
        """
        before = self._held()
        with tf.device(self._device):
            block = tf.random.uniform((16 * 1024,))
        after = self._held()
        del block
        return after - before >= 64 * 1024

    def _held(self) -> int:
        self._sync()
        return int(tf.config.experimental.get_memory_info(self._device)["current"])

    def _sync(self) -> None:
        if not self._is_host:
            tf.test.experimental.sync_devices()

    def compilations(self) -> int:
        """Return how many functions were traced so far in this process."""
        return _traced

    def open_engine(self, model: keras.Model, *, sums_rows: bool) -> Engine:
        """Return the programs as `Model.fit` would run a step: in tf.function unless run_eagerly."""
        return TensorflowEngine(model, sums_rows=sums_rows)

    def fused_by(self, mode: str) -> str:
        """Return XLA, or tensorflow's own passes over a graph."""
        return {"jit": "XLA", "function": "grappler"}.get(mode, "")

    def open_layer(
        self, model: keras.Model, part: Any, variables: Sequence[Any], *, has_input_gradient: bool
    ) -> LayerEngine:
        """Return F and G in tf.function, unless the model runs eagerly."""
        layer = TensorflowLayer(model, part, variables, has_input_gradient=has_input_gradient)
        layer.is_host = self._is_host
        return layer

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Say whether TensorFlow raised because memory ran out."""
        return isinstance(error, tf.errors.ResourceExhaustedError)


class TensorflowEngine:
    """F, G and S; variables hold the state, which tf.function updates in place.

    What F returns keeps nothing for a backward pass: the tape that would is gone by then.

    Args:
        sums_rows: whether the gradients of a table's rows are summed before the optimizer sees
            them. Keras's Adam squares those of each look-up by itself.
    """

    keeps_forward = False

    def __init__(self, model: keras.Model, *, sums_rows: bool) -> None:
        self._model = model
        self._sums_rows = sums_rows
        self._trained = [variable.value for variable in model.trainable_variables]
        is_eager = bool(model.run_eagerly)
        self.mode = "eager" if is_eager else "jit" if model.jit_compile else "function"
        self.is_whole_graph = not is_eager
        self.has_phases = is_eager

        self._forward = _wrap(self._loss, model)
        self._forward_backward = _wrap(self._loss_and_gradients, model)
        self._add_gradients = _wrap(self._loss_and_sums, model)
        self._run = _wrap(self._step, model)

    def forward(self, x: Any, y: Any, weight: Any) -> Result:
        """F: model and loss in training mode."""
        return self._forward(x, y, weight), None, ()

    def forward_backward(self, x: Any, y: Any, weight: Any) -> Result:
        """G: the loss and every gradient."""
        loss, gradients = self._forward_backward(x, y, weight)
        return loss, gradients, ()

    def add_gradients(self, x: Any, y: Any, weight: Any, sums: Sequence[Any]) -> Result:
        """G of one more part: its loss, and its gradients added to `sums`."""
        loss, gradients = self._add_gradients(x, y, weight, sums)
        return loss, gradients, ()

    def run(self, x: Any, y: Any, weight: Any) -> Result:
        """S: loss, gradients and update."""
        return self._run(x, y, weight), None, ()

    def phases(self, x: Any, y: Any, weight: Any) -> Iterator[str]:
        """Run S in eager mode phase by phase."""
        with tf.GradientTape() as tape:
            loss = self._model.optimizer.scale_loss(self._loss(x, y, weight))
        yield "forward"
        gradients = self._gradients(tape, loss)
        yield "backward"
        self._model.optimizer.apply(gradients, self._model.trainable_variables)
        yield "optimizer"

    def release(self) -> None:
        """Do nothing: the variables hold the state."""

    def plan(self, x: Any, y: Any, weight: Any) -> None:
        """Return nothing: tensorflow tells no plan of a function's memory."""

    def take(self) -> None:
        """Do nothing: the variables hold the state."""

    def _loss(self, x: Any, y: Any, weight: Any) -> Any:
        y_pred = self._model(x, training=True)
        return self._model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight, training=True)

    def _loss_and_gradients(self, x: Any, y: Any, weight: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            loss = self._loss(x, y, weight)
            scaled = self._model.optimizer.scale_loss(loss)
        return loss, self._gradients(tape, scaled)

    def _gradients(self, tape: tf.GradientTape, loss: Any) -> list[Any]:
        zero = tf.UnconnectedGradients.ZERO
        found: list[Any] = tape.gradient(loss, self._trained, unconnected_gradients=zero)
        return [tf.convert_to_tensor(each) for each in found] if self._sums_rows else found

    def _loss_and_sums(self, x: Any, y: Any, weight: Any, sums: Sequence[Any]) -> tuple[Any, list[Any]]:
        loss, gradients = self._loss_and_gradients(x, y, weight)
        return loss, [a + b for a, b in zip(sums, gradients, strict=True)]

    def _step(self, x: Any, y: Any, weight: Any) -> Any:
        loss, gradients = self._loss_and_gradients(x, y, weight)
        self._model.optimizer.apply(gradients, self._model.trainable_variables)
        return loss


class TensorflowLayer:
    """F and G of one layer."""

    is_host = True

    def __init__(
        self, model: keras.Model, part: Any, variables: Sequence[Any], *, has_input_gradient: bool
    ) -> None:
        self._part = part
        self._variables = [variable.value for variable in variables]
        self._has_input_gradient = has_input_gradient
        self.forward = _wrap(self._compute, model)
        self.forward_backward = _wrap(self._differentiate, model)

    def wait(self, result: Any) -> None:  # noqa: ARG002 (tensorflow waits for a device)
        """Return when everything submitted is finished; on the host it is when a call returns."""
        if not self.is_host:
            tf.test.experimental.sync_devices()

    def _compute(self, inputs: Any) -> Any:
        return self._part(inputs, training=True)

    def _differentiate(self, inputs: Any, upstream: Any) -> tuple[Any, list[Any], Any]:
        with tf.GradientTape() as tape:
            if self._has_input_gradient:
                tape.watch(inputs)
            outputs = self._part(inputs, training=True)
        sources = [*self._variables, *([inputs] if self._has_input_gradient else [])]
        # Outputs are returned too: what is not, a graph does not compute.
        gradients = tape.gradient(outputs, sources, output_gradients=upstream)
        of_inputs = gradients.pop() if self._has_input_gradient else None
        return outputs, [tf.convert_to_tensor(each) for each in gradients], of_inputs


def _wrap(function: Callable[..., Any], model: keras.Model) -> Callable[..., Any]:
    """Return a function as the model runs its own: in tf.function, unless it runs eagerly."""
    if model.run_eagerly:
        return function

    def traced(*arguments: Any) -> Any:
        _count_trace()
        return function(*arguments)

    # XLA compiles each shape by itself: traced by itself too, it is counted.
    is_compiled = bool(model.jit_compile)
    graph: Callable[..., Any] = tf.function(traced, jit_compile=is_compiled, reduce_retracing=not is_compiled)
    return graph


def _count_trace() -> None:
    global _traced
    _traced += 1
