"""Settings in force: read back from tensorflow, and the `equal` preset.

What is read here must come from tensorflow itself, never from what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

if TYPE_CHECKING:
    from fwprof.plugin import CellPlan, Scalar
    from fwprof_tensorflow.places import Place


MIXED = {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Precision of a cell → the policy of layers whose variables stay float32."""


def apply_preset(cell: CellPlan) -> None:
    """Set the precision of float32 products: `equal` strictly, `as-shipped` only where tf32 was asked.

    On the host there is nothing to set: both presets are one there, and read back the same.
    """
    if cell.precision == "tf32":
        tf.config.experimental.enable_tensor_float_32_execution(True)
    elif cell.settings_preset == "equal" and cell.device.name != "cpu":
        tf.config.experimental.enable_tensor_float_32_execution(False)


def set_precision(cell: CellPlan) -> None:
    """Let layers, losses and optimizers of keras that are made from now on take the cell's precision."""
    name = "float64" if cell.precision == "float64" else "float32"
    # Two switches: optimizers and losses follow the first, layers the second.
    tf.keras.config.set_floatx(name)
    tf.keras.config.set_dtype_policy(MIXED.get(cell.precision, name))


def read_settings(
    variables: Sequence[Any], optimizer: Any, *, is_compiled: bool, is_traced: bool
) -> dict[str, Scalar]:
    """Return every setting that changes what a step computes or costs, as tensorflow states it now.

    Args:
        variables: what is trained, for its dtypes.
        optimizer: for its class.
        is_compiled: whether XLA compiles the programs, as read from them.
        is_traced: whether the programs are graphs, as read from them.
    """
    return {
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "interop_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "jit": is_compiled,
        "graphs": is_traced,
        "auto_clustering": tf.config.optimizer.get_jit() or "off",
        # The one place where tensorflow says so: the switch is a variable of the environment.
        "onednn": bool(_pywrap_util_port.IsMklEnabled()),
        "layout": tf.keras.config.image_data_format(),
        "default_dtype": tf.keras.config.floatx(),
        "compute_dtype": tf.keras.config.dtype_policy().compute_dtype,
        "parameter_dtype": "+".join(sorted({tf.as_dtype(each.dtype).name for each in variables})),
        "optimizer": type(optimizer).__name__,
        "synchronous_execution": tf.config.experimental.get_synchronous_execution(),
        "soft_device_placement": tf.config.get_soft_device_placement(),
        "memory_growth": _memory_growth(),
    }


def notable_settings(place: Place) -> tuple[str, ...]:
    """Return the settings that a reader wants to see first: those that change what a step costs here."""
    everywhere = ("threads", "jit", "layout")
    return (*everywhere, "onednn") if place.is_host else (*everywhere, "tf32", "memory_growth")


def _memory_growth() -> Scalar:
    cards = tf.config.list_physical_devices("GPU")
    return all(tf.config.experimental.get_memory_growth(card) for card in cards) if cards else None
