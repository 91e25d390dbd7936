"""Keras on PyTorch: the trainer's parts, run eagerly."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch

from fwprof.plugin import PluginUnavailableError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import keras

    from fwprof.plugin import CellPlan, Device, Scalar
    from fwprof_keras.backends import Engine, LayerEngine, Result
    from fwprof_keras.data import Batches

_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


class TorchBackend:
    """PyTorch on one device."""

    name = "torch"
    notable: Sequence[str] = ("threads", "jit", "layout", "float32_matmul_precision", "onednn")

    @property
    def watched_by(self) -> str:
        """The allocator of a card; on the host, whose allocator keeps no count, the profiler."""
        return "torch's caching allocator" if self.has_peak else "torch's profiler"

    @property
    def has_peak(self) -> bool:
        """Whether the device has a caching allocator."""
        return hasattr(torch.get_device_module(self._device), "reset_peak_memory_stats")

    def __init__(self) -> None:
        self._device = torch.device("cpu")

    def prepare(self, plan: CellPlan) -> None:
        """Set threads, and run one empty operation."""
        torch.set_num_threads(plan.threads)
        self.open_device(plan.device)

    def open_device(self, device: Device) -> str:
        """Return torch's name of the device, e.g. `cpu` or `cuda:0`."""
        # As fwprof-torch does it; neither package needs the other.
        native = device.native.get("keras", device.kind).lower().replace("gpu", "cuda")
        name = "cpu" if native.startswith("cpu") else native
        try:
            torch.zeros(1, device=name).add_(1)
        # torch says with any of these that a device is unknown, not built in, or has no driver.
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise PluginUnavailableError(
                f"torch {torch.__version__} cannot use {device.name} ({native})",
                cause=str(error).splitlines()[0],
                next="install a build of torch for this device, or choose another --device",
            ) from error
        self._device = torch.device(name)
        return name

    def apply_preset(self, preset: str, precision: str) -> None:
        """Set whether float32 products and convolutions may use TF32; on the host nothing is set."""
        if precision == "tf32" or (preset == "equal" and self._device.type != "cpu"):
            is_allowed = precision == "tf32"
            torch.set_float32_matmul_precision("high" if is_allowed else "highest")
            torch.backends.cudnn.allow_tf32 = is_allowed
        if preset == "equal" and self._device.type == "cuda":
            torch.backends.cudnn.benchmark = False

    def settings(self) -> Mapping[str, Scalar]:
        """Return threads, precision and kernels as torch states them."""
        return {
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "matmul_allow_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "onednn": bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled),  # type: ignore[no-untyped-call]  # untyped in torch
        }

    def versions(self) -> Mapping[str, str]:
        """Return torch's version, and those of CUDA and cuDNN where it is on a card."""
        found = {"torch": str(torch.__version__)}
        if self._device.type == "cuda":
            found["cuda"] = str(torch.version.cuda)
            found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]  # untyped in torch
        return found

    def place(self, array: Any) -> Any:
        """Return a tensor on the device."""
        return torch.tensor(array, device=self._device)

    def wait(self, value: Any) -> None:  # noqa: ARG002 (torch waits for a device, not for a value)
        """Return when everything submitted to the device is finished; the host works synchronously."""
        if self._device.type != "cpu":
            torch.get_device_module(self._device).synchronize(self._device)

    def dataset(self, batches: Batches) -> Any:
        """Return the batches: keras takes them one by one here, each in its own shape."""
        return batches

    def seed(self, seed: int) -> None:
        """Set torch's random state, from which dropout draws."""
        torch.manual_seed(seed)

    def reseed(self, seed: int) -> None:
        """Set it again."""
        self.seed(seed)

    def reset_peak(self) -> None:
        """Forget earlier peaks of the caching allocator."""
        self.wait(None)
        torch.get_device_module(self._device).reset_peak_memory_stats(self._device)

    def peak(self) -> tuple[int, str]:
        """Return the peak of the caching allocator."""
        self.wait(None)
        most = torch.get_device_module(self._device).max_memory_allocated(self._device)
        return int(most), "torch caching allocator, allocated to tensors"

    def watch(self, program: Callable[[], Any]) -> tuple[int, int]:
        """Count by the caching allocator, or on the host by torch's profiler."""
        if not self.has_peak:
            return _profile(program)
        module = torch.get_device_module(self._device)
        self.reset_peak()
        before = module.memory_allocated(self._device)
        result = program()
        most, _ = self.peak()
        held = module.memory_allocated(self._device)
        del result
        return held - before, most - before

    def compilations(self) -> int:
        """Return how many graphs torch compiled so far in this process, e.g. inside a user's layer."""
        # torch imports this module itself, on its first need; asking must not be that need.
        dynamo = sys.modules.get("torch._dynamo.utils")
        return 0 if dynamo is None else int(dynamo.counters["stats"].get("unique_graphs", 0))

    def open_engine(self, model: keras.Model, *, sums_rows: bool) -> Engine:  # noqa: ARG002 (torch sums them)
        """Return the programs of a model, which run eagerly.

        Raises:
            UnsupportedError: the model was compiled with `jit_compile=True`.
        """
        if model.jit_compile:
            raise UnsupportedError(
                "keras:torch is not compiled here yet",
                cause="the model has jit_compile=True",
                next="call model.compile without jit_compile, or add jit=false to --plugin",
            )
        return TorchEngine(model)

    def fused_by(self, mode: str) -> str:  # noqa: ARG002 (every mode is eager)
        """Return nothing: no two layers are compiled together."""
        return ""

    def open_layer(
        self, model: keras.Model, part: Any, variables: Sequence[Any], *, has_input_gradient: bool
    ) -> LayerEngine:
        """Return F and G, run eagerly."""
        del model  # as every backend takes it
        layer = TorchLayer(part, variables, has_input_gradient=has_input_gradient)
        layer.wait = self.wait
        return layer

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Say whether torch raised because memory ran out."""
        if isinstance(error, torch.OutOfMemoryError):
            return True
        # The allocator of the host raises a plain RuntimeError; only its words tell.
        return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_MESSAGES)


class TorchEngine:
    """F, G and S; variables hold the state, which the optimizer updates in place."""

    mode = "eager"
    is_whole_graph = False
    has_phases = True
    keeps_forward = True

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._optimizer = model.optimizer
        self._variables = list(model.trainable_variables)

    def forward(self, x: Any, y: Any, weight: Any) -> Result:
        """F: model and loss in training mode."""
        return self._loss(x, y, weight), None, ()

    def forward_backward(self, x: Any, y: Any, weight: Any) -> Result:
        """G: clear gradients, loss, every gradient."""
        self._model.zero_grad()
        loss = self._loss(x, y, weight)
        self._optimizer.scale_loss(loss).backward()
        return loss, self._gradients(), ()

    def add_gradients(self, x: Any, y: Any, weight: Any, sums: Sequence[Any]) -> Result:  # noqa: ARG002 (torch holds them)
        """G of one more part: its loss, and its gradients added to those that torch holds."""
        loss = self._loss(x, y, weight)
        self._optimizer.scale_loss(loss).backward()
        return loss, self._gradients(), ()

    def run(self, x: Any, y: Any, weight: Any) -> Result:
        """S: loss, gradients and update."""
        self._model.zero_grad()
        loss = self._loss(x, y, weight)
        self._optimizer.scale_loss(loss).backward()
        self._update()
        return loss, None, ()

    def phases(self, x: Any, y: Any, weight: Any) -> Iterator[str]:
        """Run S phase by phase."""
        self._model.zero_grad()
        loss = self._loss(x, y, weight)
        yield "forward"
        self._optimizer.scale_loss(loss).backward()
        yield "backward"
        self._update()
        yield "optimizer"

    def release(self) -> None:
        """Drop the gradients; the variables hold the state."""
        self._model.zero_grad()

    def plan(self, x: Any, y: Any, weight: Any) -> None:
        """Return nothing: torch runs eagerly here."""

    def take(self) -> None:
        """Do nothing: the variables hold the state."""

    def _loss(self, x: Any, y: Any, weight: Any) -> Any:
        y_pred = self._model(x, training=True)
        return self._model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weight, training=True)

    def _update(self) -> None:
        with torch.no_grad():
            self._optimizer.apply(self._gradients(), self._variables)

    def _gradients(self) -> list[torch.Tensor]:
        tensors = [variable.value for variable in self._variables]
        return [torch.zeros_like(each) if each.grad is None else each.grad for each in tensors]


class TorchLayer:
    """F and G of one layer."""

    wait: Callable[[Any], None]

    def __init__(self, part: Any, variables: Sequence[Any], *, has_input_gradient: bool) -> None:
        self._part = part
        self._tensors = [variable.value for variable in variables]
        self._has_input_gradient = has_input_gradient

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """F: the outputs, with what a backward pass needs."""
        outputs: torch.Tensor = self._part(inputs.requires_grad_(self._has_input_gradient), training=True)
        return outputs

    def forward_backward(
        self, inputs: torch.Tensor, upstream: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor | None]:
        """G: clear gradients, outputs, every gradient."""
        inputs.grad = None
        for tensor in self._tensors:
            tensor.grad = None
        outputs = self.forward(inputs)
        torch.autograd.backward(outputs, upstream)
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in self._tensors]
        return outputs.detach(), gradients, inputs.grad


def _profile(program: Callable[[], Any]) -> tuple[int, int]:
    """Return what a program holds while its result lives, and the most, by torch's profiler.

    Source: torch/autograd/profiler_util.py, MEMORY_EVENT_NAME: one event an allocation, or a release.
    """
    # It takes memory itself, which no other pass is to hold.
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = program()
    del result
    session = profiled.profiler
    assert session is not None
    held = most = 0
    events = [event for event in session.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return held, most
