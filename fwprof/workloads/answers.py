"""What a model answers to a few small batches, and the inputs that it is asked with.

Owns the check batches and weights, and the folder in which answers travel from a worker to the
launcher: `outputs.npy`, `gradients/<name>.npy`, `parameters/<name>.npy`, `answers.json`. Knows no
framework, and does not judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fwprof.errors import StoreError
from fwprof.records import WorkloadPlan
from fwprof.records.workload import SyntheticData
from fwprof.workloads.analysis import training_flops
from fwprof.workloads.inputs import open_array, save_array, write_inputs
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

CHECK_SAMPLES = 8
"""In a check batch: what differs shows in one sample as in a thousand, and large models must fit."""
CHECK_FLOPS = 10**10
"""A check step of more than this many FLOP takes as few samples as there are parts to accumulate,
two at least; in float64 even those take seconds."""
CURVE_STEPS = 20
PARAMETER_STEPS = 3
"""After so many steps parameters are compared; later ones also differ by rounding alone."""
SHIFT = 0.1
"""How far biases, scales and statistics are moved: one of 0 or 1 would hide that it is not used."""

_INDEX = "answers.json"


@dataclass(frozen=True)
class Answers:
    """What one cell's model answered, from the check weights.

    Args:
        outputs: (batch, classes), in inference mode.
        loss: of the first batch.
        gradients: of the first batch, canonical name → array.
        parameters: parameters and statistics after `PARAMETER_STEPS` steps, canonical name → array.
        losses: of `CURVE_STEPS` steps.
        sensitivity: of a model in float64: canonical name → how far rounding may move the gradient, in
            its own unit.
    """

    outputs: Array
    loss: float
    gradients: Mapping[str, Array]
    parameters: Mapping[str, Array]
    losses: tuple[float, ...]
    sensitivity: Mapping[str, float] = field(default_factory=dict)


def write_check_inputs(plan: WorkloadPlan, seed: int, folder: Path) -> None:
    """Write small batches, and canonical weights of which none is at its usual start.

    Raises:
        RequestError, StoreError: as `write_inputs`.
    """
    write_inputs(_with_enough_samples(plan), check_samples(plan), seed, folder, with_data_set=False)
    for path in sorted((folder / "weights").glob("*.npy")):
        value = open_array(path)
        # LoRA's second matrix begins at zero, which hides the first.
        if value.ndim == 1 or not value.any():
            moves = generator(seed, f"check {path.stem}").standard_normal(value.shape)
            # Away from zero where all is positive: a variance stays one.
            moves = abs(moves) if value.min() > 0 else moves
            save_array(path, (value + SHIFT * moves).astype(value.dtype))


def check_samples(plan: WorkloadPlan) -> int:
    """Return how many samples a check batch has."""
    assert plan.spec is not None, "models of the user's own are not verified"
    parts = plan.spec.accumulate
    enough = -(-CHECK_SAMPLES // parts) * parts
    is_heavy = training_flops(plan.layers, enough) > CHECK_FLOPS
    return max(2, parts) if is_heavy else enough


def _with_enough_samples(plan: WorkloadPlan) -> WorkloadPlan:
    """Return the plan with data for a check batch, however few samples the cells are timed with."""
    if plan.spec is None or plan.spec.data.samples is None:
        return plan
    is_made = isinstance(plan.spec.data, SyntheticData)
    samples = max(plan.spec.data.samples, check_samples(plan)) if is_made else None
    data = msgspec.structs.replace(plan.spec.data, samples=samples)
    return msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, data=data))


def save_answers(answers: Answers, folder: Path) -> None:
    """Write answers to a folder.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        save_array(folder / "outputs.npy", answers.outputs)
        for kind in ("gradients", "parameters"):
            for name, value in getattr(answers, kind).items():
                save_array(folder / kind / f"{name}.npy", value)
        index = {"loss": answers.loss, "losses": answers.losses, "sensitivity": dict(answers.sensitivity)}
        (folder / _INDEX).write_text(json.dumps(index))
    except OSError as error:
        raise StoreError(f"cannot write answers to {folder}", cause=str(error)) from error


def load_answers(folder: Path) -> Answers:
    """Open what `save_answers` wrote, memory-mapped.

    Raises:
        StoreError: a file is missing or damaged.
    """
    try:
        index = json.loads((folder / _INDEX).read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {folder / _INDEX}", cause=str(error)) from error
    return Answers(
        outputs=open_array(folder / "outputs.npy"),
        loss=float(index["loss"]),
        gradients=_open_all(folder / "gradients"),
        parameters=_open_all(folder / "parameters"),
        losses=tuple(float(loss) for loss in index["losses"]),
        sensitivity={name: float(value) for name, value in index["sensitivity"].items()},
    )


def _open_all(folder: Path) -> Mapping[str, Array]:
    return {path.name.removesuffix(".npy"): open_array(path) for path in sorted(folder.glob("*.npy"))}
