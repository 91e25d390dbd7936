"""How a cell executes: variant and options of `--plugin jax[:VARIANT][,key=value]`.

Owns their names, their meaning, and the environment that jax reads when it is imported. Must not
import jax.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwprof.plugin import UnsupportedError, read_choice

if TYPE_CHECKING:
    from fwprof.plugin import CellPlan, Device

VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {"jit": {"cache": ()}}
"""Variant → option → the words it takes; `cache` takes any.

jax without `jit` is a tool to debug with, no way to train.
"""

PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Mode:
    """A variant with its options, checked.

    Args:
        cache: folder of compiled programs the user named; None: nothing is kept on disk.
    """

    cache: Path | None = None


def read_mode(cell: CellPlan) -> Mode:
    """Return the mode a cell asks for.

    Raises:
        UnsupportedError: variant, option, precision or another part of the cell is not supported.
    """
    _, options = read_choice(cell.choice, VARIANTS)
    _check_cell(cell)
    cache = options.get("cache")
    return Mode(cache=None if cache is None else Path(cache).expanduser().absolute())


def native_name(device: Device) -> tuple[str, int]:
    """Return jax's platform and index of a device."""
    platform, _, index = device.native.get("jax", device.kind).partition(":")
    return platform, int(index or 0)


def prepare_environment(cell: CellPlan) -> None:
    """Set the variables that jax and XLA read only once."""
    # Else jax opens every platform it finds.
    os.environ["JAX_PLATFORMS"] = native_name(cell.device)[0]
    # Else jax takes three quarters of a card at its start, and nobody sees what a model needs.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # XLA sizes its pool of threads by this or by the cores it may use; it has no flag for it.
    os.environ["PJRT_NPROC"] = str(cell.threads)


def _check_cell(cell: CellPlan) -> None:
    if cell.precision not in PRECISIONS:
        raise UnsupportedError(
            f"jax cannot train in {cell.precision} here",
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
                f"jax does not support {field} {value!r} here", cause=f"only {supported!r} is supported"
            )
