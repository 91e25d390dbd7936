"""How a cell executes: variant and options of `--plugin torch[:VARIANT][,key=value]`.

Owns their names, their meaning, and the environment each needs before torch is imported.
Must not import torch.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwprof.plugin import PluginUnavailableError, UnsupportedError, read_choice

if TYPE_CHECKING:
    from fwprof.plugin import CellPlan

VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "eager": {},
    "compile": {"cache": (), "compile_optimizer": ("false", "true")},
}
"""Variant → option → the words it takes; `cache` takes any."""

DEFAULT = "eager"
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


@dataclass(frozen=True)
class Mode:
    """A variant with its options, checked.

    Args:
        name: `eager` or `compile`.
        cache: folder of compiled code the user named; None for a fresh one.
        compile_optimizer: whether the optimizer's step is compiled too.
    """

    name: str = DEFAULT
    cache: Path | None = None
    compile_optimizer: bool = False

    @property
    def is_compiled(self) -> bool:
        """Whether loss and gradients are compiled."""
        return self.name == "compile"

    def has_warm_cache(self) -> bool:
        """Return whether compiled code is there already."""
        compiled = self.cache / "inductor" if self.cache else None
        return compiled is not None and compiled.is_dir() and any(compiled.iterdir())


def read_mode(cell: CellPlan) -> Mode:
    """Return the mode a cell asks for.

    Raises:
        UnsupportedError: variant, option, precision or another part of the cell is not supported.
    """
    name, options = read_choice(cell.choice, VARIANTS, DEFAULT)
    _check_cell(cell)
    if cell.precision == "float16" and options.get("compile_optimizer") == "true":
        raise UnsupportedError(
            "torch cannot compile the optimizer's step in float16",
            cause="its gradient scaler takes the step itself, where all gradients are finite",
            next="leave compile_optimizer out, or use --precision bfloat16",
        )
    cache = options.get("cache")
    return Mode(
        name=name,
        cache=None if cache is None else Path(cache).expanduser().absolute(),
        compile_optimizer=options.get("compile_optimizer") == "true",
    )


def prepare_environment(mode: Mode, cell: CellPlan, cache: Path) -> None:
    """Set the variables that torch reads only once, and look for what compiling needs.

    Raises:
        PluginUnavailableError: a compiler that `torch.compile` needs is not there.
    """
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(cell.threads)
    if not mode.is_compiled:
        return
    _require_compiler(on_host=cell.device.native.get("torch", cell.device.kind) == "cpu")
    folder = mode.cache or cache
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    # torch keeps precompiled C++ headers in the folder for temporary files, whatever cache is set:
    # left there, the first compilation on a machine takes several times as long as all later ones.
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")


def _check_cell(cell: CellPlan) -> None:
    native = cell.device.native.get("torch", cell.device.kind)
    is_verified_in_double = cell.precision == "float64" and cell.is_verification and native == "cpu"
    if cell.precision not in PRECISIONS and not is_verified_in_double:
        raise UnsupportedError(
            f"torch cannot train in {cell.precision} here",
            cause=f"its precisions are {', '.join(PRECISIONS)}",
            next="use --precision float32",
        )
    for field, value, supported in (
        ("world_size", cell.world_size, 1),
        ("data_pipeline", cell.data_pipeline, "staged"),
        ("trainable", cell.trainable, "all"),
    ):
        if value != supported:
            raise UnsupportedError(
                f"torch does not support {field} {value!r} yet", cause=f"only {supported!r} is supported"
            )


def _require_compiler(*, on_host: bool) -> None:
    looked_for = ("CXX", "g++") if on_host else ("CC", "gcc")
    compiler = os.environ.get(looked_for[0], looked_for[1])
    if shutil.which(compiler) is None and (on_host or shutil.which("clang") is None):
        language = "C++" if on_host else "C"
        raise PluginUnavailableError(
            f"torch:compile needs a {language} compiler",
            cause=f"looked for {compiler!r} on PATH (${looked_for[0]} names another one); none is there",
            next=f"install one, e.g. `apt install {looked_for[1]}`, or use --plugin torch",
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise PluginUnavailableError(
            "torch:compile needs the headers of this Python",
            cause=f"looked for {header}",
            next="install them, e.g. `apt install python3-dev`, or use --plugin torch",
        )
