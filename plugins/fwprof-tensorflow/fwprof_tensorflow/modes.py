"""How a cell executes: the variants of `--plugin tensorflow[:VARIANT]`.

Owns their names, what each may be asked, and the environment that keras needs before it is
imported. Must not import tensorflow.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwprof.plugin import UnsupportedError, read_choice

if TYPE_CHECKING:
    from fwprof.plugin import CellPlan

VARIANTS = ("function", "eager", "xla", "graph")
DEFAULT = "function"
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


@dataclass(frozen=True)
class Mode:
    """A variant, checked.

    Args:
        name: `function`, `eager`, `xla` or `graph`.
    """

    name: str = DEFAULT

    @property
    def is_traced(self) -> bool:
        """Whether programs are functions that tensorflow traces into graphs."""
        return self.name in ("function", "xla")

    @property
    def is_xla(self) -> bool:
        """Whether XLA compiles the graphs."""
        return self.name == "xla"

    @property
    def is_static(self) -> bool:
        """Whether one graph is built before it runs in a session."""
        return self.name == "graph"


def read_mode(cell: CellPlan) -> Mode:
    """Return the mode a cell asks for.

    Raises:
        UnsupportedError: variant, option, precision or another part of the cell is not supported.
    """
    name, _ = read_choice(cell.choice, {variant: {} for variant in VARIANTS}, DEFAULT)
    _check_cell(cell)
    if name == "graph" and cell.precision in ("bfloat16", "float16"):
        raise UnsupportedError(
            f"tensorflow:graph cannot train in {cell.precision} here",
            cause="its layers are those of tensorflow 1, which know no mixed precision",
            next="use --plugin tensorflow, or --precision float32",
        )
    return Mode(name)


def prepare_environment() -> None:
    """Set what keras reads only once: here it is tensorflow's own, whatever the user's default is."""
    os.environ["KERAS_BACKEND"] = "tensorflow"


def _check_cell(cell: CellPlan) -> None:
    known = (*PRECISIONS, "float64") if cell.is_verification else PRECISIONS
    if cell.precision not in known:
        raise UnsupportedError(
            f"tensorflow cannot train in {cell.precision} here",
            cause=f"its precisions are {', '.join(known)}",
            next="use --precision float32",
        )
    for field, value, supported in (
        ("world_size", cell.world_size, 1),
        ("data_pipeline", cell.data_pipeline, "staged"),
        ("trainable", cell.trainable, "all"),
    ):
        if value != supported:
            raise UnsupportedError(
                f"tensorflow does not support {field} {value!r} yet", cause=f"only {supported!r} is supported"
            )
