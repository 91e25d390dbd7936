"""Whole models as keras files, `.keras` and the older `.h5`, beside tensorflow's own checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NoReturn

import tensorflow as tf

from fwprof.plugin import Format, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

H5_NOTE = "the file has the optimizer's slots as well, but load_model does not bring them back"
"""Keras 3.15 builds the loaded optimizer without variables, and fills in what there is: two counters."""


def whole_model_formats(model: Any, optimizer: Any, loss: Callable[[Any, Any], Any]) -> Mapping[str, Format]:
    """Return the formats that save a model with its optimizer in one file.

    Args:
        model: a functional keras model; compiled here, since only so its optimizer is saved with it.
        optimizer: built.
        loss: of keras.
    """
    model.compile(optimizer=optimizer, loss=loss)

    def restore(ending: str, path: Path) -> None:
        # Nothing of the file is run: keras reads configurations and arrays (safe mode).
        loaded = tf.keras.models.load_model(f"{path}{ending}")
        for own, found in zip(model.weights, loaded.weights, strict=True):
            own.assign(found)
        for own, found in zip_longest(optimizer.variables, loaded.optimizer.variables):
            own.assign(tf.zeros_like(own) if found is None else found)

    def make(ending: str, *, has_slots: bool, note: str = "") -> Format:
        return Format(
            holds=("parameters", "statistics", "optimizer") if has_slots else ("parameters", "statistics"),
            save=lambda path: model.save(f"{path}{ending}"),
            restore=partial(restore, ending),
            note=note,
        )

    return {"keras": make(".keras", has_slots=True), "h5": make(".h5", has_slots=False, note=H5_NOTE)}


def no_whole_models(reason: str) -> Mapping[str, Format]:
    """Return the same formats for a cell that has no keras model; each says why."""

    def refuse(_: Path) -> NoReturn:
        raise UnsupportedError(reason)

    return {name: Format(holds=(), save=refuse, restore=refuse) for name in ("keras", "h5")}
