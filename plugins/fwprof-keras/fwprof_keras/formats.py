"""Whole models as files, `.keras` and the older `.h5`: with architecture, loss and optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING

import keras

from fwprof.plugin import Format

if TYPE_CHECKING:
    from pathlib import Path

    from fwprof_keras.model import KerasModel

H5_NOTE = "the file has the optimizer's slots as well, but load_model does not bring them back"
"""Keras 3.15 builds the loaded optimizer without variables, and fills in what there is: two counters."""


def whole_model_formats(owner: KerasModel) -> Mapping[str, Format]:
    """Return the formats that `load_model` reads. Seeds of random layers are in none of them."""
    return {
        "keras": Format(
            holds=("parameters", "statistics", "optimizer"),
            save=lambda path: _save(owner, path, ".keras"),
            restore=lambda path: _restore(owner, path, ".keras"),
        ),
        "h5": Format(
            holds=("parameters", "statistics"),
            save=lambda path: _save(owner, path, ".h5"),
            restore=lambda path: _restore(owner, path, ".h5"),
            note=H5_NOTE,
        ),
    }


def _save(owner: KerasModel, path: Path, ending: str) -> None:
    owner.engine.release()
    owner.model.save(f"{path}{ending}")


def _restore(owner: KerasModel, path: Path, ending: str) -> None:
    """Load a model and take over its values, so that the programs that are built go on with them."""
    owner.engine.release()
    # Nothing of the file is run: keras reads configurations and arrays (safe mode).
    loaded = keras.saving.load_model(f"{path}{ending}")
    for own, found in zip(owner.model.weights, loaded.weights, strict=True):
        own.assign(found.value)
    for own, found in zip_longest(owner.model.optimizer.variables, loaded.optimizer.variables):
        own.assign(keras.ops.zeros_like(own.value) if found is None else found.value)
    owner.wait()
