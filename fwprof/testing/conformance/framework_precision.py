"""What a framework must do in the formats of 16 bits, where it supports them."""

from __future__ import annotations

import msgspec
import numpy as np

from fwprof.plugin import UnsupportedError
from fwprof.records import Precision
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.conformance.subject import Built, FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, expect, expect_close, expect_names, expect_same

ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Half the distance between 1 and the next number of the format."""
LEAST, MOST = 0.01, 50.0
"""Times the rounding by which a gradient differs from that in float32, in share of the tensor's largest:
less, and nothing was computed in the format; more, and something else was computed."""
REPEATED = 1e-5
"""Two runs of the same program from the same state may differ by the order of a sum."""


def check_bfloat16_is_what_it_says(subject: FrameworkSubject) -> None:
    """In bfloat16 it computes in bfloat16, says so, and keeps parameters in float32."""
    _check(subject, "bfloat16")


def check_float16_is_what_it_says(subject: FrameworkSubject) -> None:
    """In float16 it does the same; gradients are read as they are, without the scale of the loss."""
    _check(subject, "float16")


def _check(subject: FrameworkSubject, precision: Precision) -> None:
    exact = subject.build()
    loss, wanted = exact.gradients()
    built = _build(subject, precision)
    told = str(built.model.settings().get("compute_dtype", ""))
    expect(precision in told, f"settings() read back compute_dtype {told!r} in {precision}")
    expect_same(built.parameters(), built.loaded.weights, 1e-6, f"parameters() in {precision}")
    outputs = built.model.predict(built.staged[0])
    expect(outputs.dtype in (np.float32, np.float64), f"predict gives {outputs.dtype}, not float32")
    found_loss, found = built.gradients()
    rounding = ROUNDING[precision]
    expect_close(found_loss, loss, MOST * rounding, f"the loss in {precision}")
    expect_names(found, wanted, f"gradients in {precision}")
    errors = {name: _error(found[name], wanted[name]) for name in wanted}
    worst = max(errors, key=lambda name: errors[name])
    expect(
        errors[worst] <= MOST * rounding,
        f"the gradient of {worst} in {precision} differs from that in float32 by {errors[worst]:.1e}",
    )
    expect(errors[worst] >= LEAST * rounding, f"the gradients in {precision} are those of float32")
    losses = built.steps()
    expect(bool(np.isfinite(losses).all()), f"the losses in {precision} are {losses}")
    after = built.parameters()
    moved = any((after[name] != value).any() for name, value in built.loaded.weights.items())
    expect(moved, f"three steps in {precision} changed no parameter")
    built.model.reset()
    expect_close(built.steps(), losses, REPEATED, f"the losses in {precision} after reset")


def _build(subject: FrameworkSubject, precision: Precision) -> Built:
    loaded = load_case("plain")
    cell = msgspec.structs.replace(subject.cell(loaded), precision=precision)
    try:
        return subject.build_prepared(loaded, cell)
    except UnsupportedError as error:
        raise NotApplicable(f"{subject.name} does not support {precision}: {error}") from error


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


PRECISION_CHECKS = (check_bfloat16_is_what_it_says, check_float16_is_what_it_says)
