"""The formats that the fake framework writes checkpoints in, from all of its state to weights alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fwprof.errors import UnsupportedError
from fwprof.plugin import Format

if TYPE_CHECKING:
    from pathlib import Path

    from fwprof.testing.fake_framework import FakeModel


def formats_of(model: FakeModel) -> Mapping[str, Format]:
    """Return `npz` without the random state, `snapshot` with it, and `weights`, which `graph` has not."""
    return {
        "npz": Format(
            holds=("parameters", "statistics", "optimizer"), save=model.save, restore=model.restore
        ),
        "snapshot": Format(
            holds=("parameters", "statistics", "optimizer", "random_state"),
            save=partial(_save_snapshot, model),
            restore=partial(_restore_snapshot, model),
        ),
        "weights": Format(
            holds=("parameters", "statistics"),
            save=partial(_save_weights, model),
            restore=partial(_restore_weights, model),
            note="the weights alone, without the optimizer's momentum",
        ),
    }


def save_state(model: FakeModel, path: Path) -> None:
    """Write parameters, statistics and the optimizer's state."""
    arrays = {f"value/{name}": value for name, value in model.network.values.items()}
    arrays |= {f"first/{name}": value for name, value in model.update.first.items()}
    arrays |= {f"second/{name}": value for name, value in model.update.second.items()}
    with path.open("wb") as file:
        np.savez(file, step_count=model.update.step_count, **arrays)  # type: ignore[arg-type]  # its stub lacks **arrays beside a count


def restore_state(model: FakeModel, path: Path) -> None:
    """Read what `save_state` wrote."""
    model.update.clear()
    with np.load(path) as arrays:
        model.update.step_count = int(arrays["step_count"])
        for key in arrays.files:
            kind, _, name = key.partition("/")
            if kind == "value":
                model.network.values[name][...] = arrays[key]
            elif name:
                getattr(model.update, kind)[name] = arrays[key]


def _save_snapshot(model: FakeModel, path: Path) -> None:
    model.save(path)
    state = json.dumps(model.network.random.bit_generator.state)
    path.with_suffix(".random.json").write_text(state, encoding="utf-8")


def _restore_snapshot(model: FakeModel, path: Path) -> None:
    model.restore(path)
    state = json.loads(path.with_suffix(".random.json").read_text(encoding="utf-8"))
    model.network.random.bit_generator.state = state


def _save_weights(model: FakeModel, path: Path) -> None:
    if model.variant == "graph":
        raise UnsupportedError("the variant graph has no weights apart from its graph")
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **model.network.values)


def _restore_weights(model: FakeModel, path: Path) -> None:
    model.update.clear()
    with np.load(path) as arrays:
        model.load_parameters({name: arrays[name] for name in arrays.files})
