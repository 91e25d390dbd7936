"""The hooks of the framework `keras`.

Importing this module imports neither keras nor a backend: keras chooses its backend when it is
imported, which `prepare` decides.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

from fwprof.plugin import PluginUnavailableError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    from fwprof_keras.backends import Backend


@hookimpl
def prepare(plan: CellPlan) -> Versions:
    """Set the environment, import keras on its backend, set threads, run one empty operation."""
    from fwprof_keras.modes import prepare_environment, read_mode, require_backend

    mode = read_mode(plan)
    require_backend(mode.backend)
    prepare_environment(mode, plan)
    backend = _open(mode.backend)
    backend.prepare(plan)
    import keras
    import numpy as np

    from fwprof_keras.precision import set_dtype

    set_dtype("float64" if plan.precision == "float64" else "float32")
    # The user's own factory draws its first weights after this, the same ones in every session.
    # keras.utils.set_random_seed would import TensorFlow, whatever the backend is.
    random.seed(plan.seed)
    np.random.seed(plan.seed)
    backend.seed(plan.seed)
    return {"keras": keras.__version__, **backend.versions()}


@hookimpl
def build_model(workload: LoadedWorkload, device: Device, options: Options) -> Model:
    """Make the neutral workload's network, or take over the user's own model."""
    from fwprof_keras.modes import read_mode

    cell = options.cell
    mode = read_mode(cell)
    backend = _open(mode.backend)
    backend.open_device(device)
    backend.apply_preset(cell.settings_preset, cell.precision)
    if workload.native is not None:
        from fwprof_keras.native import NativeModel

        return NativeModel(workload, backend, mode, device, options)
    from fwprof_keras.neutral import NeutralModel

    return NeutralModel(workload, backend, mode, device, options)


@hookimpl
def train_step(model: Model) -> Programs:
    """Return the programs F, G, S and D of a model that `build_model` returned."""
    from fwprof_keras.model import KerasModel
    from fwprof_keras.programs import open_programs

    if not isinstance(model, KerasModel):
        raise TypeError(f"train_step got a {type(model).__name__}, not a model of this plugin")
    return open_programs(model)


@hookimpl
def measure(model: Model | None) -> Sequence[Meter]:
    """Return a meter of the backend's allocator, where it keeps a peak."""
    if model is None:
        return ()
    from fwprof_keras.memory import PeakMeter
    from fwprof_keras.model import KerasModel

    if not isinstance(model, KerasModel) or not model.backend.has_peak:
        return ()
    return (PeakMeter(model.backend),)


@hookimpl
def peak_kernels(device: Device, plan: CellPlan) -> PeakKernels:
    """Return keras's own matrix product and copy on the device."""
    from fwprof_keras.modes import read_mode
    from fwprof_keras.peaks import KerasPeakKernels

    backend = _open(read_mode(plan).backend)
    backend.open_device(device)
    backend.apply_preset(plan.settings_preset, plan.precision)
    is_low = plan.precision in ("bfloat16", "float16")
    return KerasPeakKernels(backend, plan.precision if is_low else "float32")


@hookimpl
def is_out_of_memory(error: BaseException) -> bool:
    """Say whether keras's backend raised because memory ran out."""
    if "keras" not in sys.modules:
        return False
    import keras

    from fwprof_keras.backends import open_backend

    return open_backend(keras.backend.backend()).is_out_of_memory(error)


def _open(name: str) -> Backend:
    """Return the backend, once keras runs on it.

    Raises:
        PluginUnavailableError: keras was imported before, on another backend.
    """
    import keras

    from fwprof_keras.backends import open_backend

    if keras.backend.backend() != name:
        raise PluginUnavailableError(
            f"keras runs on {keras.backend.backend()} in this process, not on {name}",
            cause="keras takes one backend, when it is imported",
            next="measure each backend in a process of its own",
        )
    return open_backend(name)
