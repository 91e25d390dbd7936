"""What differs between keras's backends: devices, settings, and how a step is compiled.

Each module imports its backend when it is imported itself, so only the one in use is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import keras

    from fwprof.plugin import CellPlan, Device, Scalar
    from fwprof_keras.data import Batches

    Part = tuple[Any, Any, Any]
    """Inputs, targets, and sample weights or None, as tensors of the backend."""
    Staged = Sequence[Part]
    """A batch: one part, or those whose gradients are accumulated before an update."""
    Result = tuple[Any, Sequence[Any] | None, Any]
    """The loss; after G the gradients in the order of the trainable variables; what else to wait for."""


class Engine(Protocol):
    """F, G and S of one model, made of the parts that its trainer's own step is made of."""

    mode: str
    """`eager`, `function` (a graph) or `jit` (compiled)."""
    is_whole_graph: bool
    """Whether each program is one graph, so that its phases are no pieces of its step."""
    has_phases: bool
    """Whether `phases` can run S in pieces."""
    keeps_forward: bool
    """Whether the result of F holds what a backward pass needs, as long as it lives."""

    def forward(self, x: Any, y: Any, weight: Any) -> Result:
        """F: model and loss in training mode."""
        ...

    def forward_backward(self, x: Any, y: Any, weight: Any) -> Result:
        """G: the loss and every gradient."""
        ...

    def add_gradients(self, x: Any, y: Any, weight: Any, sums: Sequence[Any]) -> Result:
        """G of one more part of a batch: its loss, and its gradients added to those before, `sums`."""
        ...

    def run(self, x: Any, y: Any, weight: Any) -> Result:
        """S: loss, gradients and update."""
        ...

    def phases(self, x: Any, y: Any, weight: Any) -> Iterator[str]:
        """Run S phase by phase, giving each one's name once it is done."""
        ...

    def release(self) -> None:
        """Put the state of training into the model's variables, before anyone reads or writes them."""
        ...

    def plan(self, x: Any, y: Any, weight: Any) -> tuple[int, int] | None:
        """Return the bytes that G holds besides arguments and results, and all that S holds, as planned.

        None: nothing plans the memory of a program here.
        """
        ...

    def take(self) -> None:
        """Take the state from the variables, so that the next step does not have to."""
        ...


class LayerEngine(Protocol):
    """F and G of one layer alone."""

    def forward(self, inputs: Any) -> Any:
        """F: the outputs, in training mode."""
        ...

    def forward_backward(self, inputs: Any, upstream: Any) -> tuple[Any, Sequence[Any], Any]:
        """G: the outputs, the gradients of the variables in their order, that of the inputs or None."""
        ...

    def wait(self, result: Any) -> None:
        """Return when a result is finished, without copying it."""
        ...


class Backend(Protocol):
    """One backend of keras, on one device."""

    name: str
    notable: Sequence[str]
    """Names of its settings that a reader wants to see first."""

    @property
    def watched_by(self) -> str:
        """By what `watch` counts."""
        ...

    @property
    def has_peak(self) -> bool:
        """Whether its allocator of the device keeps a peak."""
        ...

    def reset_peak(self) -> None:
        """Forget earlier peaks, where there are any."""
        ...

    def peak(self) -> tuple[int, str]:
        """Return the allocator's peak since then, in bytes, and its basis.

        Raises:
            ValueError: the allocator keeps none; says why.
        """
        ...

    def watch(self, program: Callable[[], Any]) -> tuple[int, int]:
        """Run a program; return what it holds while its result lives, and the most it held: new bytes.

        Raises:
            ValueError: nothing here can say; says why.
        """
        ...

    def prepare(self, plan: CellPlan) -> None:
        """Set threads and types, before anything is computed."""
        ...

    def open_device(self, device: Device) -> str:
        """Return how the backend names the device, after looking for it.

        Raises:
            PluginUnavailableError: this build of the backend cannot use it.
        """
        ...

    def apply_preset(self, preset: str, precision: str) -> None:
        """Set the precision of float32 products, where the preset or the precision asks for it."""
        ...

    def settings(self) -> Mapping[str, Scalar]:
        """Return the backend's settings in force, read back."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Return the versions of what it runs on."""
        ...

    def place(self, array: Any) -> Any:
        """Return a tensor on the device that shares no memory with the array."""
        ...

    def wait(self, value: Any) -> None:
        """Return when the value, and everything submitted with it, is finished."""
        ...

    def dataset(self, batches: Batches) -> Any:
        """Return what `fit` takes of batches whose samples differ in shape from one to the next."""
        ...

    def seed(self, seed: int) -> None:
        """Set the backend's own random state, before anything is built."""
        ...

    def reseed(self, seed: int) -> None:
        """Set it again, as far as that costs the next steps nothing."""
        ...

    def compilations(self) -> int:
        """Return how many programs were traced or compiled so far in this process."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Say whether the backend raised because memory ran out."""
        ...

    def open_engine(self, model: keras.Model, *, sums_rows: bool) -> Engine:
        """Return the programs of a compiled and built model.

        Args:
            sums_rows: whether the gradients of a table's rows are summed before the optimizer.
        """
        ...

    def fused_by(self, mode: str) -> str:
        """Return what compiles the layers of a program together in a mode of its engine; else nothing."""
        ...

    def open_layer(
        self, model: keras.Model, part: Any, variables: Sequence[Any], *, has_input_gradient: bool
    ) -> LayerEngine:
        """Return F and G of a layer, executed as the model's own.

        Args:
            model: the whole one.
            part: the layer, or a model of several.
            variables: by which G differentiates, trained ones of the part.
            has_input_gradient: whether it does by the inputs too.
        """
        ...


def open_backend(name: str) -> Backend:
    """Return the backend of that name; imports it."""
    if name == "tensorflow":
        from fwprof_keras.backends.on_tensorflow import TensorflowBackend

        return TensorflowBackend()
    if name == "torch":
        from fwprof_keras.backends.on_torch import TorchBackend

        return TorchBackend()
    from fwprof_keras.backends.on_jax import JaxBackend

    return JaxBackend()
