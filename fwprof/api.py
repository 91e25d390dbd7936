"""The front door of the library: measure, load, compare, export, list.

Takes keywords or records, returns records. Never prints, never exits, installs no signal handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fwprof import catalog, choices, events, interpreters, launcher, planning, selection, store, workloads
from fwprof import comparison as comparing
from fwprof.cancellation import Cancellation
from fwprof.catalog import Environment, InstalledPlugin
from fwprof.comparison import floor
from fwprof.environment import machine_facts
from fwprof.errors import FwprofError, PluginError, RequestError, StoreError
from fwprof.estimate import estimate_seconds
from fwprof.records import (
    HOST,
    CheckedPlugin,
    CheckOutcome,
    Comparison,
    Device,
    Measured,
    RunPlan,
    RunRequest,
    RunResult,
    RunSummary,
    Workload,
)
from fwprof.selection import FoundDevices
from fwprof.store import Earlier, Resume, StoredRun, is_matrix
from fwprof.workloads.data.sources import SOURCES, Source

__all__ = [
    "Cancellation",
    "Earlier",
    "InstalledPlugin",
    "Resume",
    "StoredRun",
    "check",
    "compare",
    "export",
    "find_earlier",
    "is_matrix",
    "list_data",
    "list_devices",
    "list_plugins",
    "list_workloads",
    "load",
    "make_plan",
    "profile",
    "run_path",
    "runs",
    "summarize",
    "verify",
    "what_became_of",
]

OUTPUT = "fwprof-runs"


def profile(
    request: RunRequest | None = None,
    *,
    observer: events.Observer = events.ignore,
    cancellation: Cancellation | None = None,
    isolate: bool = True,
    resume: Resume = "never",
    **keywords: Any,
) -> RunResult:
    """Measure what is asked for, store it, and return it.

    Args:
        request: what to measure; or give its fields as keywords. `plugins`, `models` and `data` may be
            written as on the command line: ``plugins=("NAME:VARIANT",)``.
        observer: is called with each event, in the calling thread, never while a block is timed.
        cancellation: its `cancel()`, called from another thread, stops the run; what was measured
            is stored and returned with `is_interrupted`.
        isolate: run every cell in a process of its own. Without it everything happens inside this
            process: settings that frameworks keep globally (threads) stay changed, nothing has a
            time limit, and memory is not measured; the cells are labelled `in_process`.
        resume: `unfinished` takes over what an interrupted run of the same request has measured, and
            measures the rest; `failed` takes over what did not fail in the run before, and measures
            the other cells again (docs/how-to/matrix.md). Both store a run of their own.
        keywords: fields of RunRequest.

    Returns:
        The result as stored under ``<output>/<run id>``. Cells that failed are part of it.

    Raises:
        RequestError: the request cannot be understood.
        PluginError: nothing of it can run here.
        StoreError: the output folder cannot be written.
    """
    machine = machine_facts()
    plan = msgspec.structs.replace(make_plan(request, **keywords), is_isolated=isolate)
    if not isolate and plan.request.environments:
        raise RequestError(
            "other environments need processes of their own",
            cause=f"isolate=False, and environments: {', '.join(plan.request.environments)}",
            next="leave out isolate=False",
        )
    earlier = find_earlier(plan, resume)
    measured = earlier.measured if earlier and not earlier.reason else Measured()
    with store.RunFolder.create(plan, machine, measured) as folder:
        if earlier:
            observer(what_became_of(earlier, plan))
        seconds = estimate_seconds(plan, measured)
        observer(events.RunPlanned(plan=folder.plan, path=str(folder.path), estimated_seconds=seconds))
        result = launcher.run_plan(folder, observer, cancellation or Cancellation())
    if isolate:
        _remember_control(result, observer)
    return result


def verify(
    request: RunRequest | None = None,
    *,
    observer: events.Observer = events.ignore,
    cancellation: Cancellation | None = None,
    **keywords: Any,
) -> RunResult:
    """Check that what is asked for computes the same, without timing anything; store and return it.

    Args:
        request, observer, cancellation, keywords: as for `profile`.

    Returns:
        A result whose cells have `equivalence` and no measurement.

    Raises:
        RequestError, PluginError, StoreError: as `profile`; or there is one cell only.
    """
    asked = msgspec.structs.replace(_request(request, keywords), equivalence="only")
    return profile(asked, observer=observer, cancellation=cancellation)


def find_earlier(plan: RunPlan, resume: Resume) -> Earlier | None:
    """Return what an earlier run of the same request leaves to do, as `profile` would find it.

    Args:
        plan: what is to be measured.
        resume: as for `profile`.

    Raises:
        RequestError: failed cells are to be measured again, and there are none, or they cannot be
            measured beside the others.
        StoreError: the folder of runs cannot be read.
    """
    earlier = store.find_earlier(plan, machine_facts(), resume, datetime.now(UTC))
    if resume != "failed":
        return earlier
    anew = "leave out --retry-failed: everything is measured anew"
    if earlier is None:
        raise RequestError(
            "there is no run of this request whose failed cells could be measured again",
            cause=f"looked in {plan.request.output}",
            next=anew,
        )
    if earlier.reason:
        raise RequestError(f"run {earlier.run} cannot be taken up again", cause=earlier.reason, next=anew)
    if not earlier.failed and earlier.is_finished:
        raise RequestError(
            f"no cell of run {earlier.run} failed",
            cause="what a plugin does not support is no failure",
            next=anew,
        )
    return earlier


def what_became_of(earlier: Earlier, plan: RunPlan) -> events.RunResumed | events.RunNotResumed:
    """Return the event that tells what is done about an earlier run.

    Args:
        earlier: from `find_earlier`.
        plan: what is to be measured.
    """
    if earlier.reason:
        return events.RunNotResumed(run=earlier.run, reason=earlier.reason)
    numbers = range(plan.schedule.sessions)
    done = {
        group.name: sum(earlier.measured.has(group.name, each) for each in numbers) for group in plan.groups
    }
    return events.RunResumed(
        run=earlier.run,
        created=earlier.created,
        cells=len(plan.cells()),
        timed=sum(len(group.cells) for group in plan.groups if done[group.name] == len(numbers)),
        sessions=len(plan.groups) * len(numbers),
        measured=sum(done.values()),
        failed=tuple(sorted(earlier.failed)),
    )


def _remember_control(result: RunResult, observer: events.Observer) -> None:
    """Add what identical cells differed by to this machine's record, which later verdicts rest on."""
    try:
        if ratios := floor.own_ratios(result):
            floor.append(ratios)
    except StoreError as error:
        # The run is stored and whole: only the machine's noise stays less known.
        observer(events.Warned(message=f"{error.what}: {error.cause}"))


def make_plan(request: RunRequest | None = None, **keywords: Any) -> RunPlan:
    """Resolve a request without measuring anything; device plugins are asked in probe children.

    Raises:
        RequestError: the request cannot be understood.
        PluginError: nothing of it can run here.
    """
    request = _request(request, keywords)
    found = {name: _find_devices(name) for name in selection.probed_plugins(request)}
    environments = {
        name: _ask_environment(name, interpreter) for name, interpreter in request.environments.items()
    }
    return planning.make_plan(request, found, store.new_run_id(), environments)


def _request(request: RunRequest | None, keywords: Mapping[str, Any]) -> RunRequest:
    if request is not None and keywords:
        raise RequestError(
            "a request and keywords were given together",
            cause=f"keywords: {', '.join(keywords)}",
            next="use msgspec.structs.replace(request, …), or keywords alone",
        )
    fields = dict(keywords)
    for name, parse in (("plugins", choices.parse_framework), ("models", choices.parse_model)):
        if isinstance(given := fields.get(name), tuple | list):
            fields[name] = [parse(each) if isinstance(each, str) else each for each in given]
    if isinstance(data := fields.get("data"), str):
        fields["data"] = choices.parse_data(data)
    try:
        # A record checks its types only here: one made by hand goes the same way.
        return msgspec.convert(msgspec.to_builtins(request or fields, enc_hook=_path_text), RunRequest)
    except (msgspec.ValidationError, TypeError) as error:
        raise RequestError("the request does not fit RunRequest", cause=str(error)) from error


def _path_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no field takes a value of type {type(value).__name__}")


def _ask_environment(name: str, interpreter: str) -> Environment | FwprofError:
    try:
        return interpreters.ask(name, interpreter)
    except PluginError as error:
        return error


def _find_devices(name: str) -> FoundDevices | FwprofError:
    try:
        plugin = catalog.find_plugin("device", name)
        return FoundDevices(plugin=plugin, devices=launcher.ask_devices(plugin))
    except FwprofError as error:
        return error


def load(reference: str, output: str = OUTPUT) -> RunResult:
    """Read a stored run: an id or its unique beginning, `last`, `last~1`, or a path.

    Raises:
        StoreError: there is no such run, or it cannot be read.
    """
    return store.load_run(store.find_run(reference, Path(output)))


def runs(output: str = OUTPUT) -> Sequence[StoredRun]:
    """Return the runs of a folder, oldest first, interrupted and unreadable ones included."""
    return store.list_runs(Path(output))


def run_path(result: RunResult, output: str | None = None) -> Path:
    """Return the folder that a result is stored in."""
    return Path(output or result.plan.request.output) / result.plan.run_id


def summarize(result: RunResult, path: str = "") -> RunSummary:
    """Derive what people and tools read from a result: figures, intervals, verdicts."""
    return comparing.summarize(result, path or str(run_path(result)))


def compare(before: RunResult | str, after: RunResult | str, output: str = OUTPUT) -> Sequence[Comparison]:
    """Compare two stored runs cell by cell; `ratio` is after over before.

    Raises:
        StoreError: a run cannot be read.
    """
    first, second = (load(run, output) if isinstance(run, str) else run for run in (before, after))
    return comparing.compare_runs(first, second)


def export(
    reference: str | RunResult, name: str, destination: str | Path, output: str = OUTPUT
) -> Sequence[Path]:
    """Write a stored run in another format, by the exporter of that name, in a child process.

    Raises:
        StoreError: the run cannot be read, or the destination is there already.
        PluginError: no such exporter, or it failed.
    """
    path = (
        run_path(reference, None)
        if isinstance(reference, RunResult)
        else store.find_run(reference, Path(output))
    )
    return launcher.ask_export(
        catalog.find_plugin("exporter", name), path.resolve(), Path(destination).resolve()
    )


def check(
    name: str,
    *,
    kind: str | None = None,
    variant: str | None = None,
    device: str = HOST,
    limit_seconds: float = 300.0,
    observer: Callable[[str, CheckOutcome | None], None] = lambda _name, _outcome: None,
) -> CheckedPlugin:
    """Run the conformance suite on an installed plugin, in a child process.

    Args:
        name: as `--plugin` takes it: `NAME[:VARIANT][,KEY=VALUE]`.
        kind: framework, device, meter or exporter; None: whichever has the name.
        variant: of a framework.
        device: where a framework builds, and what a meter reads.
        limit_seconds: how long one check may take.
        observer: is told the name of each check when it begins, and again with its outcome.

    Raises:
        RequestError: plugins of several kinds have the name.
        PluginError: there is no such plugin or device here.
    """
    choice = choices.parse_framework(name)
    if choice.environment is not None:
        raise RequestError(
            "a plugin is checked where fwprof runs",
            next=f"run fwprof check {choice.name} in that environment",
        )
    if variant is not None:
        choice = msgspec.structs.replace(choice, variant=variant)
    plugin = catalog.find_plugin(kind or catalog.kind_of(choice.name), choice.name)
    place = Device(name=device, kind=device)
    if plugin.kind in ("framework", "meter"):
        place, _ = selection.find_device(device, {(each := device.partition(":")[0]): _find_devices(each)})
    outcomes = launcher.check_plugin(plugin, choice, place, limit_seconds, observer)
    return CheckedPlugin(plugin=plugin, outcomes=tuple(outcomes))


def list_plugins() -> Sequence[InstalledPlugin]:
    """Return what is installed, from metadata alone."""
    return catalog.list_plugins()


def list_devices() -> tuple[Sequence[Device], Mapping[str, str]]:
    """Return the devices of all device plugins, and for each plugin that has none, why."""
    devices: list[Device] = []
    reasons: dict[str, str] = {}
    for plugin in catalog.list_plugins("device"):
        match _find_devices(plugin.ref.name):
            case FoundDevices(devices=found):
                devices += found
            case error:
                reasons[plugin.ref.name] = "; ".join(filter(None, (error.what, error.cause)))
    return devices, reasons


def list_data() -> Mapping[str, Source]:
    """Return the data sets that `data` may name: name → what it is."""
    return SOURCES


def list_workloads() -> Sequence[Workload]:
    """Return the built-in workloads."""
    return [workloads.find_workload(name, {}) for name in workloads.builtin_names()]
