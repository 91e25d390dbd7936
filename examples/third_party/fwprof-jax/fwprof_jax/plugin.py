"""The hooks: what the engine calls, each one a door to a module that may import jax.

Owns no logic of its own. Imports no jax when it is loaded, so that import time is measured where
the engine measures it, in `prepare`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fwprof.plugin import hookimpl

if TYPE_CHECKING:
    from fwprof.plugin import (
        CellPlan,
        Device,
        LoadedWorkload,
        Model,
        Options,
        PeakKernels,
        Programs,
        Versions,
    )


@hookimpl
def prepare(plan: CellPlan) -> Versions:
    """Set the environment, import jax and optax, open the device, run one empty operation."""
    from fwprof_jax.modes import prepare_environment, read_mode

    mode = read_mode(plan)
    prepare_environment(plan)
    import jax
    import optax

    from fwprof_jax.places import open_device
    from fwprof_jax.settings import apply_cache, apply_precision

    apply_cache(mode)
    apply_precision(plan)
    open_device(plan.device)
    return {"jax": jax.__version__, "optax": optax.__version__}


@hookimpl
def build_model(workload: LoadedWorkload, device: Device, options: Options) -> Model:
    """Make the neutral workload's network, or take over the user's own model."""
    from fwprof_jax.modes import read_mode
    from fwprof_jax.places import open_device
    from fwprof_jax.settings import apply_precision

    mode = read_mode(options.cell)
    apply_precision(options.cell)
    place = open_device(device)
    if workload.native is not None:
        from fwprof_jax.native import NativeModel

        return NativeModel(workload, place, mode, options)
    from fwprof_jax.neutral import NeutralModel

    return NeutralModel(workload, place, mode, options)


@hookimpl
def train_step(model: Model) -> Programs:
    """Return the programs F, G, S and D of a model that `build_model` returned."""
    from fwprof_jax.model import JaxModel
    from fwprof_jax.programs import JaxPrograms

    if not isinstance(model, JaxModel):
        raise TypeError(f"train_step got a {type(model).__name__}, not a model of this plugin")
    return JaxPrograms(model)


@hookimpl
def peak_kernels(device: Device, plan: CellPlan) -> PeakKernels:
    """Return jax's own matrix product and copy on the device."""
    from fwprof_jax.mixed import FORMATS
    from fwprof_jax.peaks import JaxPeakKernels
    from fwprof_jax.places import open_device
    from fwprof_jax.settings import apply_precision

    apply_precision(plan)
    return JaxPeakKernels(open_device(device), FORMATS.get(plan.precision, "float32"))


@hookimpl
def is_out_of_memory(error: BaseException) -> bool:
    """Say whether jax raised because memory ran out."""
    jax = sys.modules.get("jax")
    # XLA has one exception for everything; its words begin with the status.
    return (
        jax is not None
        and isinstance(error, jax.errors.JaxRuntimeError)
        and "RESOURCE_EXHAUSTED" in str(error)
    )
