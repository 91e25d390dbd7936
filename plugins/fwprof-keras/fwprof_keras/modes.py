"""How a cell executes: variant and options of `--plugin keras[:BACKEND][,key=value]`.

Owns their names, their meaning, and which backend keras would choose itself. Must not import keras,
which fixes its backend when it is imported.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fwprof.plugin import PluginUnavailableError, UnsupportedError, read_choice

if TYPE_CHECKING:
    from fwprof.plugin import CellPlan

BACKENDS = ("tensorflow", "torch", "jax")
OPTIONS: dict[str, tuple[str, ...]] = {
    "mode": ("auto", "eager", "compiled"),
    "jit": ("auto", "true", "false"),
    "model": ("auto", "sequential", "functional"),
    "workers": ("threads", "processes"),
}
"""Option → the values it takes; the first where it is left out."""

PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Mode:
    """A backend with its options, checked.

    Args:
        backend: of keras.
        run_eagerly: as `Model.compile` takes it; None: not asked for.
        jit: as `Model.compile` takes `jit_compile`; None stands for `auto`.
        model: `sequential`, `functional`, or `auto`: sequential where the layers allow it.
        has_processes: whether the workers of its data pipeline are processes, not threads.
    """

    backend: str
    run_eagerly: bool | None = None
    jit: bool | None = None
    model: str = "auto"
    has_processes: bool = False


def read_mode(cell: CellPlan) -> Mode:
    """Return the mode a cell asks for.

    Raises:
        UnsupportedError: backend, option, precision or another part of the cell is not supported.
    """
    backend, chosen = read_choice(cell.choice, dict.fromkeys(BACKENDS, OPTIONS), default_backend())
    _check_cell(cell)
    run_eagerly = {"auto": None, "eager": True, "compiled": False}[chosen["mode"]]
    jit = {"auto": None, "true": True, "false": False}[chosen["jit"]]
    _check_compilation(backend, run_eagerly, jit)
    if backend == "jax" and chosen["workers"] == "processes":
        raise UnsupportedError(
            "keras:jax cannot have workers=processes",
            cause="keras forks them, and jax warns that a fork of its process is likely to deadlock",
            next="leave workers=processes out: threads make the batches",
        )
    # jax compiles a step with jit_compile or not at all.
    if run_eagerly is False and backend == "jax":
        jit = True
    return Mode(
        backend=backend,
        run_eagerly=run_eagerly,
        jit=jit,
        model=chosen["model"],
        has_processes=chosen["workers"] == "processes",
    )


def default_backend() -> str:
    """Return the backend that keras itself would choose: $KERAS_BACKEND, keras.json, tensorflow.

    Source: keras/src/backend/config.py.
    """
    if named := os.environ.get("KERAS_BACKEND"):
        return named
    folder = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    try:
        found = json.loads((folder / "keras.json").read_text())
    except (OSError, ValueError):
        return "tensorflow"
    backend = found.get("backend", "tensorflow") if isinstance(found, dict) else "tensorflow"
    return str(backend)


def require_backend(backend: str) -> None:
    """Check, without an import, that keras and the backend's package are installed.

    Raises:
        PluginUnavailableError: one is not; the message has the line that installs it.
    """
    for package in ("keras", backend):
        if find_spec(package) is None:
            raise PluginUnavailableError(
                f"keras:{backend} needs {package}, which is not installed",
                next=f"pip install 'fwprof-keras[{backend}]'",
            )


def prepare_environment(mode: Mode, cell: CellPlan) -> None:
    """Set the variables that keras and its backend read only once, when they are imported."""
    os.environ["KERAS_BACKEND"] = mode.backend
    native = cell.device.native.get("keras", cell.device.kind)
    if mode.backend == "jax":
        # What XLA sizes its pool of threads by, before it asks the machine.
        # Source: xla/pjrt/utils.cc, DefaultThreadPoolSize.
        os.environ["NPROC"] = str(cell.threads)
        # Else jax takes three quarters of a card at its start, and nobody sees what a model needs.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    else:
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[variable] = str(cell.threads)
    if mode.backend == "torch":
        os.environ["KERAS_TORCH_DEVICE"] = "cpu" if is_host(native) else native.replace("gpu", "cuda")


def _check_compilation(backend: str, run_eagerly: bool | None, jit: bool | None) -> None:
    if run_eagerly and jit:
        raise UnsupportedError(
            "keras cannot run eagerly and with jit",
            cause="mode=eager and jit=true exclude each other",
            next="leave one of them out",
        )
    if backend == "torch" and (jit or run_eagerly is False):
        raise UnsupportedError(
            "keras:torch is not compiled here yet",
            cause="torch's compiler fails on keras's own loss (keras 3.15, torch 2.13)",
            next="leave mode and jit out: keras runs eagerly on torch by itself",
        )
    if backend == "jax" and run_eagerly is False and jit is False:
        raise UnsupportedError(
            "keras:jax has no compiled mode without jit",
            cause="only tensorflow makes a graph without compiling it",
            next="leave jit=false out, or use mode=eager",
        )


def _check_cell(cell: CellPlan) -> None:
    if cell.precision not in PRECISIONS:
        raise UnsupportedError(
            f"keras cannot train in {cell.precision} here",
            cause=f"its precisions are {', '.join(PRECISIONS[:-1])}",
            next="use --precision float32",
        )
    for field, value, supported in (
        ("world_size", cell.world_size, 1),
        ("data_pipeline", cell.data_pipeline, "staged"),
        ("trainable", cell.trainable, "all"),
    ):
        if value != supported:
            raise UnsupportedError(
                f"keras does not support {field} {value!r} yet", cause=f"only {supported!r} is supported"
            )


def is_host(native: str) -> bool:
    """Whether keras's name of a device, e.g. `cpu:0`, means the host."""
    return native.lower().split(":")[0] == "cpu"
