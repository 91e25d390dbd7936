"""Settings: what presets and precisions set, and what is in force, read back from jax.

What is read here must come from jax itself, never from what was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from fwprof_jax.modes import native_name

if TYPE_CHECKING:
    from fwprof.plugin import CellPlan, Scalar
    from fwprof_jax.modes import Mode

NOTABLE = ("threads", "jit", "default_matmul_precision")
"""What a reader wants to see first."""


def apply_cache(mode: Mode) -> None:
    """Keep compiled programs in the folder that the user named, or nowhere."""
    _set("jax_compilation_cache_dir", None if mode.cache is None else str(mode.cache))
    if mode.cache is not None:
        is_warm(mode.cache)
        # jax keeps only what took a second to compile; most programs here take less.
        _set("jax_persistent_cache_min_compile_time_secs", 0.0)
        _set("jax_persistent_cache_min_entry_size_bytes", -1)


@cache
def is_warm(folder: Path) -> bool:
    """Return whether a folder held compiled programs when this process first asked."""
    return folder.is_dir() and any(folder.iterdir())


def apply_precision(cell: CellPlan) -> None:
    """Set the precision of products, `as-shipped` only where it was asked for, and 64-bit types.

    On the host there is nothing to set: both presets are one there, and read back the same.
    """
    if cell.precision == "float64":
        _set("jax_enable_x64", True)
    if cell.precision == "tf32":
        _set("jax_default_matmul_precision", "tensorfloat32")
    elif cell.settings_preset == "equal" and native_name(cell.device)[0] != "cpu":
        _set("jax_default_matmul_precision", "highest")


def product_types(traced: Any) -> str:
    """Return the types of the numbers that a traced program multiplies in products and convolutions."""
    found: set[str] = set()
    left = [traced.jaxpr]
    while left:
        for equation in left.pop().eqns:
            if equation.primitive.name in ("dot_general", "conv_general_dilated"):
                found |= {str(operand.aval.dtype) for operand in equation.invars}
            left += _inner(equation.params.values())
    return "+".join(sorted(found))


def _inner(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the programs inside an equation: alone or in a tuple, closed over constants or not."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value


def read_settings(params: Any) -> dict[str, Scalar]:
    """Return every setting that changes what a step computes or costs, as jax states it now."""
    leaves = jax.tree.leaves(params)
    return {
        "threads": count_threads(),
        "jit": not _read("jax_disable_jit"),
        "default_matmul_precision": _read("jax_default_matmul_precision"),
        "default_dtype": str(jnp.zeros(()).dtype),
        "parameter_dtype": "+".join(sorted({str(leaf.dtype) for leaf in leaves})),
        "enable_x64": _read("jax_enable_x64"),
        "default_prng_impl": _read("jax_default_prng_impl"),
        "compilation_cache_dir": _read("jax_compilation_cache_dir"),
        "debug_nans": _read("jax_debug_nans"),
        "preallocate": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", ""),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def count_threads() -> int | None:
    """Return how many threads XLA computes with on the host, by their names; None if not told."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return None
    return sum(_name(task) == "tf_XLAEigen" for task in tasks.iterdir())


def _set(name: str, value: Scalar) -> None:
    jax.config.update(name, value)  # type: ignore[no-untyped-call]  # untyped in jax


def _read(name: str) -> Scalar:
    value: Scalar = getattr(jax.config, name)
    return value


def _name(task: Path) -> str:
    try:
        return (task / "comm").read_text().strip()
    except OSError:  # the thread has ended
        return ""
