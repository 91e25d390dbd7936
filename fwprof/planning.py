"""From what the user asked for to what will be measured: requests become plans.

Resolves names to plugins, workloads to shapes and lists to cells. Starts no process and imports
no plugin: what devices there are is told to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import product
from pathlib import Path

import msgspec

import fwprof
from fwprof import environment, selection, workloads
from fwprof.catalog import Environment
from fwprof.errors import FwprofError, RequestError
from fwprof.records import (
    Budget,
    CellPlan,
    Device,
    FrameworkChoice,
    Group,
    ModelChoice,
    NativeModel,
    Precision,
    RunPlan,
    RunRequest,
    Schedule,
    SettingsPreset,
    StageName,
    Workload,
    WorkloadPlan,
)
from fwprof.selection import FoundDevices, Framework
from fwprof.workloads.data import count_samples, take_samples
from fwprof.workloads.data.sources import choose_data
from fwprof.workloads.layer_analysis import require_layers
from fwprof.workloads.pipelines import has_loops, with_workers

MAX_SECONDS: Mapping[Budget, float] = {"quick": 20.0, "default": 90.0, "thorough": 90.0}
"""Warm-up and rounds of one group and session; `thorough` has five sessions of it."""
THOROUGH_SESSIONS = 5

LIMITS: Mapping[StageName, float] = {
    "start": 120.0,
    "import": 300.0,
    "build": 300.0,
    "verify": 900.0,
    "first_step": 900.0,
    "warm_up": 900.0,
    "block": 120.0,
    "check": 300.0,
    "memory": 300.0,
    "energy": 300.0,
    "train": 36_000.0,
    "checkpoint": 1800.0,
    "pipeline": 300.0,
    "layers": 1800.0,
    "finish": 30.0,
}
"""Default wall-clock limit of each stage, seconds: an order of magnitude above what is usual."""

LIMITS_SECONDS = 4.0
"""How long the best product and the best copy of one framework are measured, together."""

OWN_MODELS = "own-models"
"""Name of the group in which several models of the user's own stand beside each other."""


def make_plan(
    request: RunRequest,
    found: Mapping[str, FoundDevices | FwprofError],
    run_id: str,
    environments: Mapping[str, Environment | FwprofError] | None = None,
) -> RunPlan:
    """Resolve a request.

    Args:
        request: what the user asked for.
        found: device plugin name → its devices, or why there are none.
        run_id: the id the run will have.
        environments: each of the request's environments → what is installed there, or why nothing
            of it can be used.

    Raises:
        RequestError: a workload, override or combination makes no sense.
        PluginError: nothing that was asked for can run here.
    """
    # A misspelt workload is an error of the request, whatever is installed: it comes first.
    works = _works(request)
    _check_training(request, works)
    if request.save_weights and not (request.epochs or request.checkpoints):
        raise RequestError(
            "there are no trained weights to save",
            cause="timed steps train on a few batches again and again",
            next="add --epochs N, or --checkpoints",
        )
    choices = selection.chosen_frameworks(request)
    selection.check_environments(request, choices)
    unavailable: dict[str, FwprofError] = {}
    frameworks = selection.resolve_each(
        {str(choice): choice for choice in choices},
        lambda choice: selection.find_framework(choice, request, environments or {}),
        unavailable,
    )
    devices = selection.resolve_each(
        {name: name for name in request.devices},
        lambda name: selection.find_device(name, found, exclusive=request.exclusive),
        unavailable,
    )
    if not frameworks or not devices:
        raise next(iter(unavailable.values()))
    cores = environment.granted_cores()
    presets = _presets(request, frameworks)
    groups: dict[str, list[CellPlan]] = {}
    computed = selection.resolve_each(
        {
            f"{device.name} in {precision}": (device, plugin, precision)
            for (device, plugin), precision in product(devices, request.precisions)
        },
        lambda place: selection.require_precision(*place),
        unavailable,
    )
    if not computed:
        raise next(iter(unavailable.values()))
    for work, (device, device_plugin, precision) in product(works, computed):
        sizes = product(_batch_sizes(request, work, device), _data_sizes(request, work))
        for batch_size, data_size in sizes:
            workload = work.plan(batch_size, data_size, precision)
            kind = "".join(
                ([f".batch{batch_size}"] if len(request.batch_sizes) > 1 else [])
                + ([f".data{data_size}"] if len(request.data_sizes) > 1 else [])
                + ([f".{precision}"] if len(request.precisions) > 1 else [])
            )
            for framework, threads, preset in product(frameworks, request.threads, presets):
                choice = framework.choice
                if work.framework not in (None, choice.name):
                    continue
                groups.setdefault(work.group + kind, []).append(
                    CellPlan(
                        id=_cell_id(workload.name + kind, choice, device, threads, preset, request, presets),
                        workload=workload,
                        framework=framework.reference,
                        choice=choice,
                        device=device,
                        device_plugin=framework.devices.get(device_plugin.name, device_plugin),
                        meter_plugins=framework.meters,
                        precision=precision,
                        batch_size=batch_size,
                        threads=cores if threads == "all" else threads,
                        settings_preset=preset,
                        environment=framework.environment,
                        interpreter=framework.interpreter,
                        seed=request.seed,
                    )
                )
    if not groups:
        raise RequestError(
            "the request names no cell to measure",
            cause="no --model is for one of the frameworks that were chosen",
            next="write --model FRAMEWORK=FILE.py:FACTORY for one of them",
        )
    if request.equivalence == "only" and all(len(cells) < 2 for cells in groups.values()):
        raise RequestError(
            "there is nothing to compare with",
            cause="a cell is verified against another one, and only one was named",
            next="name a second framework: --plugin A --plugin B",
        )
    return RunPlan(
        run_id=run_id,
        fwprof_version=fwprof.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        request=request,
        groups=tuple(Group(name=name, cells=_unique(cells)) for name, cells in groups.items()),
        schedule=_schedule(request, groups),
        limits={**LIMITS, **request.limits},
        unavailable={name: _reason(error) for name, error in unavailable.items()},
        host=selection.find_host(request, found),
    )


def memory_processes(plan: RunPlan) -> int:
    """Return in how many fresh processes the memory of each cell is measured.

    As many as there are sessions, so that what is judged by five timings is judged by five
    memories too: two at a time they take 4 s each, beside 30 s and more of timing (decision 015).
    """
    return plan.schedule.sessions if plan.is_isolated else 1


def limits_keys(plan: RunPlan) -> Mapping[str, Sequence[CellPlan]]:
    """Return, for each of the machine's limits a run needs, one cell a framework and environment."""
    chosen: dict[str, dict[tuple[str, str], CellPlan]] = {}
    for cell in plan.cells():
        if cell.workload.flops is not None:
            library = (cell.framework.name, cell.environment)
            chosen.setdefault(cell.limits_key, {}).setdefault(library, cell)
    return {key: tuple(cells.values()) for key, cells in chosen.items()}


class _Work:
    """One thing to train, before a batch size is chosen."""

    def __init__(
        self, name: str, group: str, spec: Workload | None, model: ModelChoice | None, seed: int
    ) -> None:
        self.name = name
        # Asked once, whatever sizes are planned: for it real data are read.
        self.sample_count = None if spec is None else count_samples(spec, seed)
        self.group = group
        self.spec = spec
        self.model = model
        self.framework = model.framework if model else None

    def plan(self, batch_size: int | None, data_size: int | None, precision: Precision) -> WorkloadPlan:
        """Resolve shapes and counts for one batch size, number of samples and precision."""
        if self.spec is not None and batch_size is not None:
            spec = take_samples(self.spec, data_size, self.sample_count, batch_size)
            plan = workloads.plan_workload(spec, batch_size, precision)
            assert plan.spec is not None
            return msgspec.structs.replace(plan, data_size=plan.spec.data.samples or self.sample_count)
        assert self.model is not None
        native = NativeModel(factory=self.model.factory, arguments=self.model.arguments)
        return WorkloadPlan(name=self.name, native=native)


def _works(request: RunRequest) -> Sequence[_Work]:
    for model in request.models:
        _require_file(model)
    names = request.workloads or (() if request.models else workloads.QUICK_SET)
    names = tuple(dict.fromkeys(names))
    specs = [workloads.find_workload(name, with_workers(request)) for name in names]
    works = [
        _Work(spec.name, spec.name, choose_data(spec, request.data), None, request.seed) for spec in specs
    ]
    _require_own_names(dict(zip(names, specs, strict=True)))
    for name, model in zip(_model_names(request.models), request.models, strict=True):
        works.append(_Work(name, OWN_MODELS if len(request.models) > 1 else name, None, model, request.seed))
    return works


def _check_training(request: RunRequest, works: Sequence[_Work]) -> None:
    """Refuse what would train nothing, before anything is measured."""
    if request.find_max_batch and all(work.spec is None for work in works):
        raise _not_for_own_model("--find-max-batch")
    require_layers(request, [work.spec for work in works])
    if request.epochs and all(work.spec is None for work in works):
        raise RequestError(
            "--epochs does not apply to your own model",
            cause="its factory brings batches, and no data set that could be split for validation",
            next="leave --epochs out, or name a workload",
        )
    asked = {"--target-accuracy": request.target_accuracy, "--training-seeds": request.training_seeds > 1}
    for option in (name for name, value in asked.items() if value):
        if not request.epochs:
            raise RequestError(
                f"{option} does nothing without training",
                cause="no --epochs says how long to train",
                next=f"add --epochs N, or leave {option} out",
            )


def _require_own_names(specs: Mapping[str, Workload]) -> None:
    """Refuse two workloads of one name: they would stand in one group, as the same work."""
    seen: dict[str, str] = {}
    for given, spec in specs.items():
        if spec.name in seen:
            raise RequestError(
                f"two workloads are named '{spec.name}'",
                cause=f"{seen[spec.name]} and {given}",
                next=f"change `name:` in {given}",
            )
        seen[spec.name] = given


def _model_names(models: Sequence[ModelChoice]) -> Sequence[str]:
    """Name each model by its file; by file and function, or folder too, where that tells more apart."""
    names: list[str] = []
    for length in (1, 2, 3):
        names = [_model_name(model.factory, length) for model in models]
        if len(set(names)) == len({model.factory for model in models}):
            break
    return names


def _model_name(factory: str, length: int) -> str:
    place, _, function = factory.rpartition(":")
    path = Path(place)
    parts = {
        1: [path.stem or factory],
        2: [path.stem, function],
        3: [path.absolute().parent.name, path.stem, function],
    }
    return re.sub(r"[^a-z0-9_.-]+", "-", ".".join(parts[length]).lower())


def _require_file(model: ModelChoice) -> None:
    place = Path(model.factory.rpartition(":")[0])
    if place.suffix == ".py" and not place.is_file():
        beside = [path.name for path in place.parent.glob("*.py")]
        close = get_close_matches(place.name, beside, n=1)
        raise RequestError(
            f"there is no file {place}",
            cause=f"--model {model.factory} names it",
            next=f"did you mean {close[0]!r}?" if close else "name a file that exists: FILE.py:FACTORY",
        )


def _batch_sizes(request: RunRequest, work: _Work, device: Device) -> Sequence[int | None]:
    if work.spec is None:
        if request.batch_sizes:
            raise _not_for_own_model("--batch-size")
        return [None]
    if request.batch_sizes:
        return request.batch_sizes
    return [workloads.batch_size_for(work.spec, device.kind)]


def _data_sizes(request: RunRequest, work: _Work) -> Sequence[int | None]:
    asked = {"--data": request.data, "--data-size": request.data_sizes, "--pipeline": has_loops(request)}
    if work.spec is None and any(asked.values()):
        raise _not_for_own_model(next(option for option, value in asked.items() if value))
    return request.data_sizes or (None,)


def _not_for_own_model(option: str) -> RequestError:
    return RequestError(
        f"{option} does not apply to your own model",
        cause="its factory makes the batches",
        next="give the factory an argument for it, and set it by --set model.NAME=value",
    )


def _presets(request: RunRequest, frameworks: Sequence[Framework]) -> Sequence[SettingsPreset]:
    if request.settings == "both":
        return ("as-shipped", "equal")
    if request.settings is not None:
        return (request.settings,)
    several = len({framework.reference.name for framework in frameworks}) > 1
    # Presets are compared by their times: one is enough to see that the work is the same.
    is_timed = request.equivalence != "only"
    return ("as-shipped", "equal") if several and is_timed else ("as-shipped",)


def _schedule(request: RunRequest, groups: Mapping[str, Sequence[CellPlan]]) -> Schedule:
    is_exclusive = any(cell.device.exclusive for cells in groups.values() for cell in cells)
    sessions = request.processes or (THOROUGH_SESSIONS if request.budget == "thorough" else 1)
    if request.equivalence == "only":
        sessions = 0
    return Schedule(
        budget=request.budget,
        kind=request.schedule or ("sequential" if is_exclusive else "interleaved"),
        sessions=sessions,
        # One cell alone is compared with nothing: only a thorough run pays for its control.
        replica=any(len(cells) > 1 for cells in groups.values()) or sessions > 1,
        min_rounds=min(10, request.rounds) if request.rounds else 10,
        max_rounds=request.rounds,
        half_width=request.half_width,
        max_seconds=request.max_seconds or MAX_SECONDS[request.budget],
    )


def _cell_id(
    key: str,
    choice: FrameworkChoice,
    device: Device,
    threads: int | str,
    preset: SettingsPreset,
    request: RunRequest,
    presets: Sequence[SettingsPreset],
) -> str:
    """Name a cell by what tells it from the others of its run, in characters any file system takes."""
    parts = [key, str(choice), device.name]
    parts += [f"threads{threads}"] if len(request.threads) > 1 else []
    parts += [preset] if len(presets) > 1 else []
    return ".".join(re.sub(r"[^A-Za-z0-9_-]+", "-", part).strip("-") for part in parts)


def _unique(cells: Sequence[CellPlan]) -> tuple[CellPlan, ...]:
    """Return the cells with a number behind ids that stand twice (the same cell asked for twice)."""
    seen: dict[str, int] = {}
    result = []
    for cell in cells:
        count = seen[cell.id] = seen.get(cell.id, 0) + 1
        result.append(cell if count == 1 else msgspec.structs.replace(cell, id=f"{cell.id}.{count}"))
    return tuple(result)


def _reason(error: FwprofError) -> str:
    reason = ": ".join(part for part in (error.what, error.cause) if part)
    # The other cells go on, so that this line is all that is said of it.
    return f"{reason}; {error.next}" if " install " in error.next else reason
