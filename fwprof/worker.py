"""The child process that measures: serves one order at a time, for one cell.

Owns the order of a cell's life (start, import, build, first step, …) and turns whatever is raised
into a stored failure. Never prints: its standard output and error are the run's log.
"""

from __future__ import annotations

import gc
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fwprof.codec import FrameReader, frame
from fwprof.contracts import Clock, LoadedWorkload, Meter, Model, Options, PeakKernels, Programs, Staged
from fwprof.errors import FwprofError, PluginContractError
from fwprof.execution.failures import failure_of
from fwprof.execution.session import InvalidResultError, Session, SystemClock
from fwprof.loading import open_plugins, require_methods
from fwprof.records import HOST, CellPlan, Description, PluginRef, Reading, StageName, frames
from fwprof.workloads.language import is_trimmed

if TYPE_CHECKING:
    import pluggy

Send = Callable[[frames.Report], None]


class Worker:
    """Serves orders and reports through `send`.

    Args:
        send: takes each report.
        clock: the clock of every figure.
        is_isolated: whether this process is the worker's own; else what cannot be measured inside
            somebody's process is left out.
    """

    def __init__(self, send: Send, *, clock: Clock | None = None, is_isolated: bool = True) -> None:
        self._send = send
        self._clock = clock or SystemClock()
        self._is_isolated = is_isolated
        self._stage: StageName = "start"
        self._plugin: PluginRef | None = None
        self._manager: pluggy.PluginManager | None = None
        self._cell: CellPlan | None = None
        self._session: Session | None = None
        self._staged: Sequence[Staged] = ()
        self._meters: Sequence[Meter] = ()
        self._inputs = Path()
        self._host_import: Reading | None = None
        self._first_steps: Mapping[str, Reading] = {}
        self.is_over = False

    def serve(self, order: frames.Order) -> None:
        """Carry out one order; every order is answered by at least one report."""
        try:
            self._serve(order)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a framework's, a plugin's or the user's code
            refusal = (
                (error.what, error.cause, error.kept, error.next) if isinstance(error, FwprofError) else ()
            )
            failure = failure_of(error, self._stage, self._plugin, self._manager)
            self._send(frames.Failed(failure=failure, error=type(error).__name__, refusal=refusal))
            self.is_over = True

    def _serve(self, order: frames.Order) -> None:
        match order:
            case frames.Open():
                self._open(order)
            case frames.WarmUp(program=program, cap_ns=cap_ns):
                self._enter("warm_up")
                blocks, is_steady = self._opened.warm_up(program, cap_ns)
                self._send(frames.Warm(program=program, blocks=blocks, steady=is_steady))
            case frames.RunBlock():
                self._run_block(order)
            case frames.CheckAnswers():
                self._enter("check")
                if phases := self._opened.split_phases():
                    self._send(frames.Split(phases=phases))
                checks = self._opened.check_answers()
                # After the guards: whatever such a loop leaves behind is no concern of theirs.
                if times := self._opened.time_api():
                    self._send(frames.ApiTimed(times=times))
                self._send(frames.Checked(checks=checks))
            case frames.Verify():
                self._verify(order)
            case frames.TakeReadings():
                self._take_readings(order)
            case frames.Train(epochs=epochs):
                self._train(epochs)
            case frames.SaveCheckpoints() | frames.RestoreCheckpoints() | frames.SaveWeights():
                self._checkpoint(order)
            case frames.RunPipeline():
                self._run_pipeline(order)
            case frames.MeasureLayers():
                self._measure_layers(order)
            case frames.MeasureLimits():
                self._measure_limits(order)
            case frames.ListDevices(plugin=plugin):
                self._plugin = plugin
                found = open_plugins([plugin]).hook.devices()
                if found is None:
                    raise PluginContractError(f"{plugin.distribution}: devices returned None")
                self._send(frames.DevicesListed(devices=tuple(found)))
            case frames.Export():
                self._export(order)
            case frames.Finish():
                self._enter("finish")
                self._send(frames.Finished())
                self.is_over = True

    def _enter(self, stage: StageName) -> None:
        # A stage is told once: a frame a block would only make the launcher busy.
        if stage != self._stage:
            self._stage = stage
            self._send(frames.Entered(stage=stage))

    @property
    def _opened(self) -> Session:
        if self._session is None:
            raise PluginContractError("an order came before the cell was opened")
        return self._session

    def _open(self, order: frames.Open) -> None:
        from fwprof import host
        from fwprof.execution.memory import over_first_steps

        cell = order.cell
        built = self._build(cell, Path(order.inputs), Path(order.cache))
        # The host's own stops first: what others need to read is not the training's.
        self._meters = [*self._host_meters(order.passes), *self._find_meters(built.model, order.passes)]
        description = built.describe()
        self._send(frames.Described(description=description))

        self._enter("first_step")
        trained = frozenset(name for layer in _walk(cell.workload.layers) for name in layer.parameters)
        self._session = Session(
            built.model,
            built.programs,
            self._staged,
            order.schedule,
            clock=self._clock,
            probe=host.HostProbe() if self._is_isolated else None,
            trained=trained or None,
            kinds=len(self._staged) if cell.workload.spec and is_trimmed(cell.workload.spec) else 1,
        )
        memory = [meter for meter in self._meters if "memory" in order.passes and "memory" in meter.passes]
        with over_first_steps(memory) as self._first_steps:
            startup = self._session.first_steps(built.import_ns, built.build_ns)
        # A framework that compiles at the first call knows only now what it made of the model.
        if (described := built.describe()) != description:
            self._send(frames.Described(description=described))
        self._send(frames.Ready(startup=startup))

    def _build(self, cell: CellPlan, inputs: Path, cache: Path) -> _Built:
        """Import the framework and build the model; both are timed."""
        from fwprof import host

        self._cell = cell
        self._inputs = inputs
        self._plugin = cell.framework
        manager = self._manager = open_plugins([cell.framework, cell.device_plugin, *cell.meter_plugins])

        self._enter("import")
        start = self._clock.now_ns()
        versions = manager.hook.prepare(plan=cell, cache=cache) or {}
        import_ns = self._clock.now_ns() - start
        if cell.interpreter is not None:
            # The machine's facts name the other python only.
            versions = {"python": platform.python_version(), **versions}
        resident = host.resident_bytes() if self._is_isolated else None
        self._host_import = Reading(
            value=resident,
            unit="bytes",
            reason="" if resident else "resident memory cannot be read here",
            basis="RSS after import and one empty operation",
        )

        self._enter("build")
        workload = self._load_workload(cell)
        options = Options(cell=cell, cache=cache)
        start = self._clock.now_ns()
        model = manager.hook.build_model(workload=workload, device=cell.device, options=options)
        require_methods(model, Model, cell.framework, "build_model")
        programs = manager.hook.train_step(model=model)
        require_methods(programs, Programs, cell.framework, "train_step")
        build_ns = self._clock.now_ns() - start
        self._staged = [model.stage(batch) for batch in workload.batches]
        return _Built(model, programs, versions, import_ns, build_ns)

    def _verify(self, order: frames.Verify) -> None:
        from fwprof.execution.answers import take_answers
        from fwprof.workloads.answers import save_answers

        built = self._build(order.cell, Path(order.inputs), Path(order.cache))
        self._send(frames.Described(description=built.describe()))
        self._enter("verify")
        answers = take_answers(built.model, built.programs, self._staged, rounding=order.rounding)
        save_answers(answers, Path(order.destination))
        self._send(frames.Answered())

    def _load_workload(self, cell: CellPlan) -> LoadedWorkload:
        from fwprof.workloads import inputs, native

        if cell.workload.native is not None:
            return native.load_native(cell.workload)
        return inputs.read_inputs(self._inputs, cell.workload)

    def _find_meters(self, model: Model, passes: Sequence[str]) -> list[Meter]:
        assert self._manager is not None
        assert self._cell is not None
        found = self._manager.hook.measure(model=model, device=self._cell.device)
        meters = [meter for group in found for meter in group or ()]
        for meter in meters:
            require_methods(meter, Meter, self._cell.framework, "measure")
        return [meter for meter in meters if set(passes) & set(meter.passes)]

    def _host_meters(self, passes: Sequence[str]) -> list[Meter]:
        from fwprof.execution.host_memory import MemoryMeter

        return [MemoryMeter()] if "memory" in passes and self._is_isolated else []

    def _run_block(self, order: frames.RunBlock) -> None:
        if self._stage != "block" and self._is_isolated:
            # What lives now lives to the end: collecting it again each round takes 100 ms.
            gc.collect()
            gc.freeze()
        self._enter("block")
        try:
            block = self._opened.run_block(order.round, order.order, order.program, reset=order.reset)
        except InvalidResultError as error:
            if (measured := error.__dict__.get("block")) is not None:
                self._send(frames.BlockDone(block=measured))
            raise
        self._send(frames.BlockDone(block=block))

    def _take_readings(self, order: frames.TakeReadings) -> None:
        from fwprof.execution.memory import by_category
        from fwprof.execution.passes import take_readings

        self._enter("energy" if order.pass_name == "energy" else "memory")
        meters = [meter for meter in self._meters if order.pass_name in meter.passes]
        readings = take_readings(self._opened.programs, self._staged, meters, order.seconds, order.rate_hz)
        if order.pass_name == "memory" and self._host_import is not None:
            readings = {**readings, **self._first_steps, "host_import": self._host_import}
        if order.by_category:
            readings |= by_category(self._opened.programs, self._staged[0])
        self._send(frames.Readings(pass_name=order.pass_name, readings=readings))

    def _train(self, epochs: int) -> None:
        from fwprof.execution.training import train
        from fwprof.workloads.inputs import read_data_set

        assert self._cell is not None
        assert self._cell.batch_size is not None
        assert self._cell.workload.spec is not None
        self._enter("train")
        train(
            self._opened.model,
            self._opened.programs,
            read_data_set(self._inputs),
            self._clock,
            lambda points, times: self._send(frames.EpochDone(points=points, times=times)),
            loss=self._cell.workload.spec.loss,
            batch_size=self._cell.batch_size,
            epochs=epochs,
            seed=self._cell.seed,
        )
        self._send(frames.Finished())

    def _checkpoint(self, order: frames.CheckpointOrder) -> None:
        from fwprof.execution.checkpoints import serve

        self._enter("checkpoint")
        serve(order, self._opened.model, self._opened.programs, self._staged, self._clock, self._send)

    def _run_pipeline(self, order: frames.RunPipeline) -> None:
        from fwprof.execution.pipeline import measure_pipeline
        from fwprof.workloads.pipelines import locate_data

        cell, opened = self._cell, self._opened
        assert cell is not None
        assert cell.workload.spec is not None
        assert cell.batch_size is not None
        self._enter("pipeline")
        data = locate_data(self._inputs, cell.workload.spec, cell.batch_size, cell.seed)
        meters = self._host_meters(["memory"])
        measure_pipeline(
            opened.model, opened.programs, self._staged, data, self._clock, meters, order, self._send
        )
        self._send(frames.Finished())

    def _measure_layers(self, order: frames.MeasureLayers) -> None:
        from fwprof.execution.layers import measure_layers

        cell, opened = self._cell, self._opened
        assert cell is not None
        self._enter("layers")
        workload = self._load_workload(cell)
        measure_layers(
            opened.model, opened.programs, self._staged, workload, self._clock, order, self._send, cell.seed
        )
        self._send(frames.Finished())

    def _measure_limits(self, order: frames.MeasureLimits) -> None:
        from fwprof import host
        from fwprof.execution.limits import measure_limits

        cell, cache = order.cell, Path(order.cache)
        self._plugin = cell.framework
        manager = open_plugins([cell.framework, cell.device_plugin])
        self._enter("import")
        manager.hook.prepare(plan=cell, cache=cache)
        self._enter("build")
        own = manager.hook.peak_kernels(device=cell.device, plan=cell, cache=cache)
        kernels: list[PeakKernels] = [own] if own is not None else []
        on_host = [host.numpy_peak_kernels()] if cell.device.name == HOST else []
        # NumPy multiplies float32: of another format it tells the copy alone.
        both, copy_only = (on_host, []) if cell.precision == "float32" else ([], on_host)
        libraries = measure_limits([*kernels, *both], order.seconds, copy_only)
        self._send(frames.LimitsMeasured(libraries=libraries))

    def _export(self, order: frames.Export) -> None:
        from fwprof import store

        self._plugin = order.plugin
        manager = open_plugins([order.plugin])
        result = store.load_run(Path(order.run))
        paths = manager.hook.export(result=result, destination=Path(order.destination))
        if paths is None:
            raise PluginContractError(f"{order.plugin.distribution}: export returned None")
        self._send(frames.Exported(paths=tuple(str(path) for path in paths)))


@dataclass(frozen=True)
class _Built:
    """What a plugin made of a cell, and how long that took."""

    model: Model
    programs: Programs
    versions: Mapping[str, str]
    import_ns: int
    build_ns: int

    def describe(self) -> Description:
        return _with_versions(self.model.describe(), self.versions)


def _walk(layers: Sequence[Any]) -> list[Any]:
    return [each for layer in layers for each in (layer, *_walk(layer.inner))]


def _with_versions(description: Description, versions: Mapping[str, str]) -> Description:
    return msgspec.structs.replace(description, versions={**versions, **description.versions})


def main(descriptor: int) -> int:
    """Serve the launcher at the other end of an inherited socket until it says finish or goes away."""
    # A terminal's Ctrl-C is the launcher's business: it decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptor)
    reader = FrameReader()
    worker = Worker(lambda report: channel.sendall(frame(report)))
    while not worker.is_over:
        data = channel.recv(65536)
        if not data:
            return 0
        for body in reader.feed(data):
            worker.serve(frames.order_decoder.decode(body))
    channel.shutdown(socket.SHUT_WR)
    return 0


if __name__ == "__main__":
    status = main(int(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Frameworks' exit handlers may hang or crash: everything measured was sent already.
    os._exit(status)
