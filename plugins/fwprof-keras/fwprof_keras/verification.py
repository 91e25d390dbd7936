"""How a verified program differs from the timed one, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwprof.plugin import layers as kinds
from fwprof.plugin import walk
from fwprof_keras.precision import is_narrowing

if TYPE_CHECKING:
    from fwprof.plugin import CellPlan, LoadedWorkload


def differences(workload: LoadedWorkload, cell: CellPlan) -> tuple[str, ...]:
    """Return what verification changes; keras's Adam has the canonical form as it is."""
    if not cell.is_verification or workload.spec is None:
        return ()
    found = [resolved.layer for resolved in walk(workload.layers)]
    is_double = cell.precision == "float64"
    has_gelu = any(
        "gelu" in (getattr(layer, "activation", None), getattr(layer, "function", None)) for layer in found
    )
    applies = {
        "float64": is_double,
        "keras's narrowing of float64 to float32 switched off": is_double and is_narrowing(),
        "dropout off": any(isinstance(layer, kinds.Dropout) for layer in found),
        "attention written out": is_double and any(isinstance(layer, kinds.Attention) for layer in found),
        "gelu written out": is_double and has_gelu,
    }
    return tuple(words for words, differs in applies.items() if differs)
