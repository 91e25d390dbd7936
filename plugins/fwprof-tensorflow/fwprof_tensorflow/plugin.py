"""The hooks: what the engine calls, each one a door to a module that may import tensorflow.

Owns no logic of its own. Imports no tensorflow when it is loaded, so that import time is measured
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


@hookimpl
def prepare(plan: CellPlan, cache: Path) -> Versions:  # noqa: ARG001 (nothing cached)
    """Import tensorflow, set its threads, run one empty operation."""
    from fwprof_tensorflow.modes import prepare_environment, read_mode

    read_mode(plan)
    prepare_environment()
    import tensorflow as tf

    from fwprof_tensorflow.places import configure, open_place

    configure(plan.device, plan.threads)
    place = open_place(plan.device)
    # The user's own factory draws its first weights after this, the same ones in every session.
    tf.keras.utils.set_random_seed(plan.seed)
    return {"tensorflow": tf.__version__, "keras": tf.keras.__version__, **place.versions()}


@hookimpl
def build_model(workload: LoadedWorkload, device: Device, options: Options) -> Model:
    """Make the neutral workload's network, or take over the user's own model."""
    from fwprof_tensorflow.modes import read_mode
    from fwprof_tensorflow.places import open_place
    from fwprof_tensorflow.settings import apply_preset

    mode = read_mode(options.cell)
    place = open_place(device)
    apply_preset(options.cell)
    if mode.is_static:
        from fwprof_tensorflow.graph import GraphModel

        return GraphModel(workload, place, options)
    if workload.native is not None:
        from fwprof_tensorflow.native import NativeModel

        return NativeModel(workload, place, mode, options)
    from fwprof_tensorflow.neutral import NeutralModel

    return NeutralModel(workload, place, mode, options)


@hookimpl
def train_step(model: Model) -> Programs:
    """Return the programs F, G, S and D of a model that `build_model` returned."""
    from fwprof_tensorflow.model import TensorFlowModel

    if not isinstance(model, TensorFlowModel):
        raise TypeError(f"train_step got a {type(model).__name__}, not a model of this plugin")
    return model.make_programs()


@hookimpl
def measure(model: Model | None, device: Device) -> Sequence[Meter]:
    """Return a meter of tensorflow's own allocator."""
    if model is None:
        return ()
    from fwprof_tensorflow.meters import AllocatorMeter
    from fwprof_tensorflow.places import open_place

    return (AllocatorMeter(open_place(device)),)


@hookimpl
def peak_kernels(device: Device, plan: CellPlan, cache: Path) -> PeakKernels:  # noqa: ARG001 (nothing cached)
    """Return tensorflow's own matrix product and copy on the device."""
    from fwprof_tensorflow.peaks import TensorFlowPeakKernels
    from fwprof_tensorflow.places import open_place
    from fwprof_tensorflow.settings import apply_preset

    apply_preset(plan)
    is_low = plan.precision in ("bfloat16", "float16")
    return TensorFlowPeakKernels(open_place(device), plan.precision if is_low else "float32")


@hookimpl
def is_out_of_memory(error: BaseException) -> bool:
    """Say whether tensorflow raised because memory ran out."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(error, tf.errors.ResourceExhaustedError)
