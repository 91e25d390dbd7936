"""Misbehaviour on request: `--plugin fake,fault=kill,stage=block,after=3`.

Owns every fault and where it strikes. The engine tells plugins nothing of its stages, by
design; so a fault finds the order that is being served on the call stack. Knows nothing of
networks.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec.structs import replace

from fwprof.contracts import DataPipeline, Gradients, PipelineData, Programs, Result, Staged
from fwprof.errors import PluginUnavailableError, UnsupportedError
from fwprof.records import Description, Scalar, StageName
from fwprof.records.frames import (
    CheckAnswers,
    MeasureLayers,
    Open,
    OrderBase,
    RestoreCheckpoints,
    RunBlock,
    RunPipeline,
    SaveCheckpoints,
    TakeReadings,
    Train,
    WarmUp,
)
from fwprof.testing.fake_pipeline import ShortenedPipeline

if TYPE_CHECKING:
    from fwprof.contracts import Array, Format
    from fwprof.testing.clock import Phases

FaultName = Literal[
    "raise",
    "memory",
    "unsupported",
    "unavailable",
    "kill",
    "segv",
    "exit",
    "hang",
    "hang_gil",
    "print",
    "c_print",
    "orphan",
    "nan",
    "drop_gradients",
    "no_wait",
    "retrace",
    "unsteady",
    "echo_settings",
    "leak",
    "forget",
    "few_batches",
    "refuse_layer",
]
LASTING = frozenset(
    {
        "nan",
        "drop_gradients",
        "no_wait",
        "retrace",
        "unsteady",
        "echo_settings",
        "leak",
        "forget",
        "few_batches",
        "refuse_layer",
    }
)
"""Faults that change what programs do from then on; the others strike once."""
PRINTED_BYTES = 1_000_000_000
LEAKED_BYTES = 10_000
LATE_NS = 50_000_000
"""How long after `wait` the work is done, for `no_wait`."""
UNSTEADY_NS = 100_000
UNSTEADY_DOUBLING_NS = 1_500_000_000
UNSTEADY_MOST = 256


class FaultOptions(Protocol):
    """The options that say which fault, where and how much."""

    @property
    def fault(self) -> FaultName | None: ...  # noqa: D102  # named in fake_framework.FakeOptions
    @property
    def stage(self) -> StageName | None: ...  # noqa: D102  # as above
    @property
    def after(self) -> int: ...  # noqa: D102  # as above
    @property
    def size(self) -> int: ...  # noqa: D102  # as above
    @property
    def pid_file(self) -> str: ...  # noqa: D102  # as above


def find_order() -> OrderBase | None:
    """Return the innermost order that a function on the call stack holds."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        for value in frame.f_locals.values():
            if isinstance(value, OrderBase):
                return value
        frame = frame.f_back
    return None


def find_stage(order: OrderBase | None, place: StageName) -> StageName:
    """Return the stage of an order; `place` while opening, or where no order is served."""
    match order:
        case WarmUp():
            return "warm_up"
        case RunBlock():
            return "block"
        case CheckAnswers():
            return "check"
        case TakeReadings(pass_name=name):
            return "energy" if name == "energy" else "memory"
        case Train():
            return "train"
        case SaveCheckpoints() | RestoreCheckpoints():
            return "checkpoint"
        case RunPipeline():
            return "pipeline"
        case MeasureLayers():
            return "layers"
    return place


def strike_at_start() -> None:
    """Strike while the plugin is imported, where the cell being opened asks for it."""
    order = find_order()
    options = order.cell.choice.options if isinstance(order, Open) else {}
    if options.get("stage") == "start":
        _ACTIONS[str(options["fault"])](int(options.get("size") or 0), str(options.get("pid_file", "")))


def strike(place: StageName, options: FaultOptions) -> None:
    """Strike in a hook, where the fault belongs to that stage."""
    if options.fault in _ACTIONS and options.stage == place:
        _ACTIONS[options.fault](options.size, options.pid_file)


class FaultyModel:
    """A model with a fault; what the fault leaves alone is the inner model's.

    Args:
        inner: the honest model.
        options: which fault.
        asked: the settings that were asked for, for the fault `echo_settings`.
        phases: let time pass as work does.
    """

    def __init__(
        self, inner: Any, options: FaultOptions, asked: Mapping[str, Scalar], phases: Phases
    ) -> None:
        self.inner = inner
        self.phases = phases
        self._options = options
        self._asked = dict(asked)
        self.retraces = 0
        self.ready_ns = 0
        """When the work in flight is done, on the clock of `phases`."""

    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, or an echo."""
        honest: Mapping[str, Scalar] = self.inner.settings()
        return {**honest, **self._asked} if self._options.fault == "echo_settings" else honest

    def describe(self) -> Description:
        """Describe the inner model, with these settings."""
        description: Description = self.inner.describe()
        return replace(description, settings=dict(self.settings()))

    def compilations(self) -> int:
        """Return the inner count, with a retrace for each step."""
        count: int = self.inner.compilations()
        return count + self.retraces

    def parameters(self) -> Mapping[str, Array]:
        """Return the parameters, once the work in flight is done."""
        self.catch_up()
        values: Mapping[str, Array] = self.inner.parameters()
        return values

    def formats(self) -> Mapping[str, Format]:
        """Return the inner formats; with the fault `forget` nothing of them is restored."""
        formats: Mapping[str, Format] = self.inner.formats()
        if self._options.fault != "forget":
            return formats
        return {name: dataclasses.replace(one, restore=lambda _: None) for name, one in formats.items()}

    def pipeline(self, data: PipelineData) -> DataPipeline:
        """Return the inner pipeline, shortened where that is the fault."""
        whole: DataPipeline = self.inner.pipeline(data)
        return ShortenedPipeline(whole) if self._options.fault == "few_batches" else whole

    def catch_up(self) -> None:
        """Wait for the work in flight, as every read from a device does."""
        self.phases.spend(self.ready_ns - self.phases.now_ns())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class FaultyPrograms:
    """Programs with a fault.

    Args:
        inner: the honest programs.
        model: the faulty model.
        options: which fault, and where.
    """

    def __init__(self, inner: Programs, model: FaultyModel, options: FaultOptions) -> None:
        self._inner = inner
        self._model = model
        self._options = options
        self._began_ns: int | None = None
        self._seen: OrderBase | None = None
        self._orders = 0
        self._has_struck = False
        self._steps = 0
        self._leaked: list[bytearray] = []

    def forward(self, staged: Staged) -> Result:
        """F, with the fault."""
        return self._call(self._inner.forward, staged)

    def forward_backward(self, staged: Staged) -> Result:
        """G, with the fault."""
        return self._call(self._inner.forward_backward, staged)

    def run(self, staged: Staged) -> Result:
        """S, with the fault."""
        return self._call(self._inner.run, staged)

    def wait(self, result: Result) -> None:
        """Wait, if the fault is not that nothing does."""
        self._inner.wait(result)

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return loss and gradients, as far as the fault leaves them."""
        self._model.catch_up()
        loss, gradients = self._inner.read(result)
        if self._is_lasting("nan"):
            loss = math.nan
        if gradients and self._is_lasting("drop_gradients"):
            gradients = dict(list(gradients.items())[1:])
        return loss, gradients

    def next_batch(self) -> Staged:
        """D, with the fault."""
        self._strike_once()
        return self._inner.next_batch()

    def _call(self, program: Callable[[Staged], Result], staged: Staged) -> Result:
        self._steps += isinstance(find_order(), Train)
        self._strike_once()
        result = program(staged)
        if self._is_lasting("retrace"):
            self._model.retraces += 1
        if self._is_lasting("leak"):
            self._leaked.append(bytearray(b"x") * (self._options.size or LEAKED_BYTES))
        if self._is_lasting("unsteady"):
            self._model.phases.spend(self._unsteady_ns())
        if self._is_lasting("no_wait"):
            self._model.ready_ns = self._model.phases.now_ns() + LATE_NS
        return result

    def _unsteady_ns(self) -> int:
        now_ns = self._model.phases.now_ns()
        if self._began_ns is None:
            self._began_ns = now_ns
        growth: float = 2.0 ** ((now_ns - self._began_ns) / UNSTEADY_DOUBLING_NS)
        return round(UNSTEADY_NS * min(growth, UNSTEADY_MOST))

    def _is_lasting(self, name: FaultName) -> bool:
        if self._options.fault != name:
            return False
        return self._options.stage is None or self._has_struck or self._is_due()

    def _strike_once(self) -> None:
        if self._has_struck or not self._is_due():
            return
        self._has_struck = True
        if self._options.fault in _ACTIONS:
            _ACTIONS[self._options.fault](self._options.size, self._options.pid_file)

    def _is_due(self) -> bool:
        order = find_order()
        if find_stage(order, "first_step") != (self._options.stage or "block"):
            return False
        if order is not self._seen:
            self._seen, self._orders = order, self._orders + 1
        # Training is one order, whatever its length. Where no order is served, every call of a program
        # counts as the first.
        passed = self._steps if isinstance(order, Train) else max(self._orders, 1)
        return passed > self._options.after


def _raise(*_: object) -> None:
    raise RuntimeError("the fault that was asked for")


def _exhaust_memory(*_: object) -> None:
    raise MemoryError("the fault that was asked for")


def _be_unsupported(*_: object) -> None:
    raise UnsupportedError("the fault that was asked for")


def _be_unavailable(*_: object) -> None:
    raise PluginUnavailableError("the fault that was asked for")


def _kill(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _read_address_zero(*_: object) -> None:
    ctypes.string_at(0)


def _exit(*_: object) -> None:
    os._exit(0)


def _hang(*_: object) -> None:
    while True:
        time.sleep(3600)


def _hang_with_the_gil(*_: object) -> None:
    # Locked twice, a mutex waits for itself in C: no signal handler of Python runs again.
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(256)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def _print(size: int, _: str) -> None:
    left = size or PRINTED_BYTES
    line = b"the fake framework is talkative\n" * 32768
    while left > 0:
        left -= os.write(1, line[:left])


def _print_from_c(*_: object) -> None:
    library = ctypes.CDLL(None)
    library.puts(b"the fake framework prints from C")
    library.fflush(None)


def _leave_an_orphan(_: int, pid_file: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    # Nobody waits for it: Python would warn of that when the object goes.
    child.returncode = 0
    if pid_file:
        Path(pid_file).write_text(str(child.pid), encoding="utf-8")


_ACTIONS: dict[str, Callable[[int, str], None]] = {
    "raise": _raise,
    "memory": _exhaust_memory,
    "unsupported": _be_unsupported,
    "unavailable": _be_unavailable,
    "kill": _kill,
    "segv": _read_address_zero,
    "exit": _exit,
    "hang": _hang,
    "hang_gil": _hang_with_the_gil,
    "print": _print,
    "c_print": _print_from_c,
    "orphan": _leave_an_orphan,
}
