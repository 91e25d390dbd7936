"""The type that layers, losses and optimizers compute in: float32, mixed, or float64 to verify."""

from __future__ import annotations

import keras
from keras.src.backend.common import dtypes

from fwprof.plugin import UnsupportedError

_NARROWED = getattr(dtypes, "BIT64_TO_BIT32_DTYPE", None)
"""Keras's table of what products and sums of 64-bit numbers become; on torch and jax 32-bit ones.

Source: keras/src/backend/common/dtypes.py, the end of `_lattice_result_type`.
"""
_AS_SHIPPED = dict(_NARROWED or {})


MIXED = {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Precision of a cell → keras's policy for layers whose variables stay float32."""


def set_dtype(dtype: str, policy: str | None = None) -> None:
    """Make every layer, loss and optimizer that is built from now on compute in `dtype`.

    Args:
        dtype: of variables and losses.
        policy: of layers, where it is another than `dtype`.

    Raises:
        UnsupportedError: float64, where keras would narrow products to float32 all the same.
    """
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(policy or dtype)
    if _NARROWED is not None:
        # Left as it is, keras would compute in float32 what it was told to compute in float64.
        _NARROWED["float64"] = "float64" if dtype == "float64" else _AS_SHIPPED["float64"]
    elif dtype == "float64":
        raise UnsupportedError(
            f"keras {keras.__version__} cannot be made to compute in float64",
            cause="it narrows products of 64-bit numbers, in a place that is not known here",
            next="use --precision float32",
        )


def is_narrowing() -> bool:
    """Return whether this backend's products of float64 are float32 as keras is shipped."""
    return _AS_SHIPPED.get("float64") == "float32"
