"""Settings in force of keras itself, read back from it; the backend adds its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwprof.plugin import Scalar


def read_settings(model: keras.Model) -> Mapping[str, Scalar]:
    """Return what changes what a step computes or costs, as keras states it now."""
    return {
        "backend": keras.backend.backend(),
        "run_eagerly": bool(model.run_eagerly),
        "jit": bool(model.jit_compile),
        "model": _kind(model),
        "layout": keras.config.image_data_format(),
        "default_dtype": keras.config.floatx(),
        "dtype_policy": keras.config.dtype_policy().name,
        "compute_dtype": keras.config.dtype_policy().compute_dtype,
        "parameter_dtype": "+".join(sorted({variable.dtype for variable in model.trainable_variables})),
        "flash_attention": keras.config.is_flash_attention_enabled(),
        "optimizer": type(model.optimizer).__name__,
    }


def _kind(model: keras.Model) -> str:
    if isinstance(model, keras.Sequential):
        return "sequential"
    return "functional" if type(model).__name__ == "Functional" else "subclassed"
