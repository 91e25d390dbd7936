"""The hooks: where plugins meet the engine. The reference page is generated from these docstrings.

A plugin implements the hooks of its kind with `@fwprof.plugin.hookimpl`. pluggy lets an
implementation leave out arguments it does not need. Adding an optional hook or an argument is
compatible; anything else raises `API_VERSION`. They stand in the order in which they fire.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from fwprof.contracts import LoadedWorkload, Meter, Model, Options, PeakKernels, Programs, Versions
    from fwprof.records import CellPlan, Device, RunResult

API_VERSION = 1
PROJECT = "fwprof"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def devices() -> Sequence[Device] | None:
    """List the devices that are here.

    Called: in a probe child process, before planning; not timed. Must not import a framework.
    Kind: device. Required.

    Raises:
        PluginUnavailableError: none can be used; the message says what was looked for.
    """


@hookspec(firstresult=True)
def prepare(plan: CellPlan, cache: Path) -> Versions | None:
    """Import the framework, set its threads, run one empty operation.

    Called: in the worker, once, first of all; timed as import_time.
    Kind: framework. Optional: without it, import counts as build.

    Args:
        plan: the cell; its device's environment is already set.
        cache: empty folder of this worker's own, for what the framework caches on disk.

    Returns:
        Versions of what the cell runs on, e.g. ``{"numpy": "2.1.0"}``.

    Raises:
        PluginUnavailableError: what the cell needs is not there (a compiler, a backend).
    """


@hookspec(firstresult=True)
def build_model(workload: LoadedWorkload, device: Device, options: Options) -> Model | None:
    """Make model, loss and optimizer on the device, from the canonical weights.

    Called: in the worker, once, after `prepare`; timed as build_time.
    Kind: framework. Required.

    Args:
        workload: layers, weights and batches, or what the user's own factory returned.
        device: where to place it; `device.native.get(<framework name>)` is its native name.
        options: the cell (variant, options, threads, precision, preset, seed) and a cache folder.

    Raises:
        UnsupportedError: a layer, a precision or the variant is not supported; names it.
        RequestError: what the user's own factory returned cannot be trained; names the key.
    """


@hookspec(firstresult=True)
def train_step(model: Model) -> Programs | None:
    """Return the programs that the core will time.

    Called: in the worker, once, after `build_model`; timed with it.
    Kind: framework. Required.

    Raises:
        UnsupportedError: there are no programs for this model.
    """


@hookspec
def measure(model: Model | None, device: Device) -> Sequence[Meter] | None:
    """Return the meters of this plugin.

    Called: in the worker, once, after `train_step`; not timed.
    Kind: framework, device, meter. Required for meters, optional for the others.

    Args:
        model: what `build_model` returned.
        device: the cell's device.

    Returns:
        The meters. One that cannot read is returned all the same: it raises nothing, its reading is
        null and says why.
    """


@hookspec(firstresult=True)
def is_out_of_memory(error: BaseException) -> bool | None:
    """Say whether an exception of the framework means that memory ran out.

    Called: in the worker, after any exception; not timed. What it raises itself counts as no.
    Kind: framework. Optional: without it only MemoryError counts.
    """


@hookspec(firstresult=True)
def peak_kernels(device: Device, plan: CellPlan, cache: Path) -> PeakKernels | None:
    """Return the framework's own matrix product and copy on the device.

    Called: in a worker of its own, after `prepare`; not timed, what is returned is.
    Kind: framework. Optional: without it the core measures NumPy's on the host alone.

    Raises:
        UnsupportedError: the device or the precision has none.
    """


@hookspec(firstresult=True)
def export(result: RunResult, destination: Path) -> Sequence[Path] | None:
    """Write a stored run in another format; return the paths written.

    Called: in a child process, once an export, after the run is stored; not timed.
    Kind: exporter. Required.

    Args:
        result: the stored records; nothing live.
        destination: the path the user named; a file or a folder as the format needs.

    Raises:
        OSError: it cannot be written there.
    """
