"""Every built-in workload, small, through one variant of a framework: is it the one of the definitions?

    python -m fwprof.testing.sweep FOLDER

is the process of its own that `sweep` starts: verified in float64 or as it is timed, one after the
other. Knows no framework; the formulas are those of `definitions`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from fwprof.contracts import LoadedWorkload
from fwprof.plugin import CellPlan, UnsupportedError
from fwprof.records import Record, WorkloadPlan
from fwprof.testing.conformance.subject import Built, FrameworkSubject
from fwprof.testing.conformance.verdicts import ConformanceError, expect, expect_close, expect_names
from fwprof.testing.definitions import loss_of, outputs_of, spec_of
from fwprof.testing.samples import sample_cell
from fwprof.workloads import builtin_names, find_workload, plan_workload
from fwprof.workloads.answers import check_samples, write_check_inputs
from fwprof.workloads.inputs import read_inputs
from fwprof.workloads.language import parameter_shapes, state_shapes

SAMPLED = ("finetune-lora", "gpt", "text-cnn")
"""Three that together have most of what is hard: for every run of the tests."""
SMALL_SHAPES: Mapping[str, tuple[int, ...]] = {
    "bert": (16,),
    "resnet18": (64, 64, 3),
    "resnet50": (64, 64, 3),
}
"""Inputs of the workloads that are too large as they are; layers and parameters stay."""

AGREES = 1e-9
"""Share of the largest value by which an answer in float64 may be off."""
SLOPE, SLOPE_STEP = 1e-5, 1e-7
"""By how much the slope along one random direction may be off, as a share of how large such slopes are,
by a central difference; and the step it is taken by: so small that few ReLUs change sides."""
NEGLIGIBLE = 1e-4
"""Share of the largest gradient below which a smaller one no longer weighs more."""
LIMIT_S = 3600


class Order(Record, frozen=True, kw_only=True):
    """What the process is to do."""

    plugin: str
    cell: CellPlan
    workloads: tuple[str, ...]


def sweep(
    plugin: str,
    name: str,
    folder: Path,
    *,
    variant: str | None = None,
    workloads: Sequence[str] = (),
    is_verification: bool = True,
) -> Mapping[str, str]:
    """Build and ask every workload in one fresh process.

    Args:
        plugin: the entry point, `module[:attribute]`.
        name: of the framework, as users type it.
        folder: an empty one.
        variant: of the framework; None: its default.
        workloads: built-in names; empty: all.
        is_verification: in float64 and compared with the definitions; else in float32 as it is
            timed, where it must train.

    Returns:
        Workload → what is wrong with it, `refused: …` where the plugin does not support it, or "".
    """
    cell = sample_cell(
        name=name,
        variant=variant,
        value=plugin,
        precision="float64" if is_verification else "float32",
        is_verification=is_verification,
    )
    order = Order(plugin=plugin, cell=cell, workloads=tuple(workloads) or builtin_names())
    (folder / "order.json").write_bytes(msgspec.json.encode(order))
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    expect(done.returncode == 0, f"the sweep of {name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return msgspec.json.decode((folder / "found.json").read_bytes(), type=dict[str, str])


def expect_swept(found: Mapping[str, str], refused: Collection[str] = ()) -> None:
    """Expect every workload to be right, but those that the variant says it does not support.

    Args:
        found: what `sweep` returned.
        refused: names of workloads that must be refused.

    Raises:
        ConformanceError: one is wrong, is refused though it should not be, or is not; names them.
    """
    wrong = {
        name: what or "is not refused"
        for name, what in found.items()
        if what.startswith("refused: ") != (name in refused) or (what and name not in refused)
    }
    lines = "".join(f"\n  {name}: {what}" for name, what in wrong.items())
    expect(not wrong, f"{len(wrong)} of {len(found)} workloads:{lines}")


def small_plan(name: str) -> WorkloadPlan:
    """Return a built-in workload, planned for small inputs."""
    workload = find_workload(name)
    shape = SMALL_SHAPES.get(name, workload.input.shape)
    workload = msgspec.structs.replace(workload, input=msgspec.structs.replace(workload.input, shape=shape))
    return plan_workload(workload, 8 * workload.accumulate)


def check_verified(built: Built) -> None:
    """Check outputs, losses, gradients and three steps of a model that is verified in float64.

    Raises:
        ConformanceError: one is not what the definitions say; names it.
    """
    workload, batch, staged = built.loaded, built.loaded.batches[0], built.staged[0]
    wanted = outputs_of(workload, workload.weights, batch, is_training=False)
    expect_close(built.model.predict(staged), wanted, AGREES, "predict")
    loss = loss_of(workload, workload.weights, batch)
    expect_close(built.forward(), loss, AGREES, "the loss of forward")
    found, gradients = built.gradients()
    expect_close(found, loss, AGREES, "the loss of forward_backward")
    shapes = parameter_shapes(workload.layers)
    expect_names(gradients, shapes, "gradients")
    # Each tensor weighs the same, however small its gradient is; unless it is zero but for rounding, as
    # that of the bias of attention's keys.
    norms = {name: float(np.linalg.norm(gradients[name])) for name in shapes}
    least, random = NEGLIGIBLE * max(norms.values()), np.random.default_rng(5)
    directions = {name: random.normal(size=shape) / max(norms[name], least) for name, shape in shapes.items()}
    weights = {name: value.astype(np.float64) for name, value in workload.weights.items()}
    ahead, behind = (
        loss_of(workload, weights | {name: weights[name] + step * d for name, d in directions.items()}, batch)
        for step in (SLOPE_STEP, -SLOPE_STEP)
    )
    slope = sum(np.vdot(gradients[name], direction) for name, direction in directions.items())
    # Its standard deviation over directions, to which each tensor adds 1: a slope that happens to be
    # nearly nothing is known no more exactly than one of this size.
    size = np.sqrt(sum((norm / max(norm, least)) ** 2 for norm in norms.values()))
    error = abs(slope - (ahead - behind) / (2 * SLOPE_STEP)) / size
    expect(bool(error <= SLOPE), f"the slope of the loss is off by {error:.1e} of the size of such slopes")


def check_trains(built: Built) -> None:
    """Check that steps have finite losses, move what is trained and leave alone what is frozen.

    Raises:
        ConformanceError: they do not.
    """
    losses = built.steps(3)
    expect(all(np.isfinite(losses)), f"the losses of three steps are {losses}")
    after, start = built.parameters(), built.loaded.weights
    still = [
        name for name in parameter_shapes(built.loaded.layers) if np.array_equal(after[name], start[name])
    ]
    expect(not still, f"three steps do not move {', '.join(still[:3])}")
    moved = [
        name
        for layer in built.loaded.layers
        if layer.is_frozen
        for name in state_shapes([layer])
        if not np.array_equal(after[name], start[name].astype(after[name].dtype))
    ]
    expect(not moved, f"three steps move what is frozen: {', '.join(moved[:3])}")


def _load(plan: WorkloadPlan, folder: Path) -> LoadedWorkload:
    folder.mkdir()
    write_check_inputs(plan, 0, folder)
    return read_inputs(folder, plan)


def _ask(subject: FrameworkSubject, cell: CellPlan, name: str) -> str:
    plan = small_plan(name)
    cell = msgspec.structs.replace(cell, workload=plan, batch_size=check_samples(plan))
    loaded = _load(plan, subject.folder / name)
    assert spec_of(loaded).name == name
    try:
        built = subject.build_prepared(loaded, cell)
        if cell.is_verification:
            check_verified(built)
        check_trains(built)
    except UnsupportedError as error:
        return f"refused: {error}"
    except ConformanceError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Carry out the order that `folder` holds, and write what was found beside it."""
    order = msgspec.json.decode((folder / "order.json").read_bytes(), type=Order)
    os.environ.update(order.cell.device.environment)
    subject = FrameworkSubject(
        plugin=order.plugin, name=order.cell.framework.name, folder=folder, device=order.cell.device
    )
    subject.manager.hook.prepare(plan=order.cell, cache=folder)
    found = {name: _ask(subject, order.cell, name) for name in order.workloads}
    (folder / "found.json").write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
