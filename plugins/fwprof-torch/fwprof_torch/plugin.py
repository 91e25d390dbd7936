"""The hooks: what the engine calls, each one a door to a module that may import torch.

Owns no logic of its own. Imports no torch when it is loaded, so that import time is measured
where the engine measures it, in `prepare`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fwprof.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fwprof.plugin import (
        CellPlan,
        Device,
        LoadedWorkload,
        Meter,
        Model,
        Options,
        PeakKernels,
        Programs,
        Versions,
    )

_MEMORY_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
)


@hookimpl
def prepare(plan: CellPlan, cache: Path) -> Versions:
    """Set the environment, import torch, set its threads, run one empty operation."""
    from fwprof_torch.modes import prepare_environment, read_mode

    mode = read_mode(plan)
    prepare_environment(mode, plan, cache)
    import torch

    from fwprof_torch.places import open_place

    place = open_place(plan.device)
    torch.set_num_threads(plan.threads)
    # The user's own factory draws its first weights after this, the same ones in every session.
    torch.manual_seed(plan.seed)
    return {"torch": str(torch.__version__), **place.versions()}


@hookimpl
def build_model(workload: LoadedWorkload, device: Device, options: Options) -> Model:
    """Make the neutral workload's network, or take over the user's own model."""
    from fwprof_torch.modes import read_mode
    from fwprof_torch.places import open_place
    from fwprof_torch.settings import apply_preset

    cell = options.cell
    mode = read_mode(cell)
    place = open_place(device)
    apply_preset(cell.settings_preset, cell.precision, place)
    if workload.native is not None:
        from fwprof_torch.native import NativeModel

        return NativeModel(workload, place, mode, options)
    from fwprof_torch.neutral import NeutralModel

    return NeutralModel(workload, place, mode, options)


@hookimpl
def train_step(model: Model) -> Programs:
    """Return the programs F, G, S and D of a model that `build_model` returned."""
    from fwprof_torch.model import TorchModel
    from fwprof_torch.programs import AccumulatingPrograms, TorchPrograms

    if not isinstance(model, TorchModel):
        raise TypeError(f"train_step got a {type(model).__name__}, not a model of this plugin")
    return AccumulatingPrograms(model) if model.part_count > 1 else TorchPrograms(model)


@hookimpl
def measure(model: Model | None, device: Device) -> Sequence[Meter]:
    """Return a meter of torch's own allocator, on devices that have one."""
    if model is None:
        return ()
    from fwprof_torch.meters import AllocatorMeter
    from fwprof_torch.places import open_place

    place = open_place(device)
    return (AllocatorMeter(place),) if place.has_allocator else ()


@hookimpl
def peak_kernels(device: Device, plan: CellPlan, cache: Path) -> PeakKernels:  # noqa: ARG001 (nothing cached)
    """Return torch's own matrix product and copy on the device."""
    from fwprof_torch.peaks import TorchPeakKernels
    from fwprof_torch.places import open_place
    from fwprof_torch.precision import product_dtype
    from fwprof_torch.settings import apply_preset

    place = open_place(device)
    apply_preset(plan.settings_preset, plan.precision, place)
    return TorchPeakKernels(place, product_dtype(plan))


@hookimpl
def is_out_of_memory(error: BaseException) -> bool:
    """Say whether torch raised because memory ran out."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # The allocator of the host raises a plain RuntimeError; only its words tell.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_MESSAGES)
