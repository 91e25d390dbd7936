"""Is it the same work? What the answers of two cells say about that.

Owns the tolerances and the order in which tensors are looked at. Knows arrays only: neither
workers nor files (docs/reference/equivalence.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fwprof.records import Equivalence, TensorError
from fwprof.workloads.answers import CURVE_STEPS, PARAMETER_STEPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fwprof.workloads.answers import Answers

    Array = NDArray[Any]

FUNCTION_BOUND = 1e-9
"""Outputs, loss and gradients in float64: rounding stays four to six orders below it, and no other
formula comes near."""
PARAMETER_BOUND = 1e-4
"""Parameters after 3 steps. Rounding Adam's bias correction to float32, as frameworks do even in
float64, moves them 7e-6; another form of its epsilon 7e-3 or more."""
PRECISION_FACTOR = 10.0
"""A cell's own rounding error may be so many times the reference's: no fixed bound fits all models,
since depth multiplies rounding."""
EPSILONS = {"float32": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Precision → distance from 1 to the next number of the format."""
ROUNDING = {precision: 4 * epsilon for precision, epsilon in EPSILONS.items()}
"""Precision → by such a share of itself each weight is moved at random, to see how far that moves
gradients: what the format rounds away over a few layers."""
PRECISION_FLOORS = {**ROUNDING, "float32": 1e-5}
"""Precision → relative error that is always allowed."""
NEGLIGIBLE = 1e-4
"""A gradient tensor this small beside the model's largest is judged on the scale of that: where the
true gradient is zero (the bias of attention's keys), all that is there is rounding."""


def judge_answers(
    answers: Mapping[str, Answers | None],
    reference: Mapping[str, Answers | None],
    *,
    names: Sequence[str],
    precision: str,
    reference_id: str,
    verified_with: tuple[str, ...],
) -> Equivalence:
    """Say whether a cell computes what the reference does, in its function and in its precision.

    Args:
        answers: of the cell, `float64` and `own` (in its precision).
        reference: the same of the reference; `float64` is there.
        names: parameters and statistics in order of computation.
        precision: the cells'.
        reference_id: the reference cell's id.
        verified_with: how the cell's verified program differs from the timed one.
    """
    exact, exact_reference = answers["float64"], reference["float64"]
    assert exact is not None
    assert exact_reference is not None
    function = _errors(exact, exact_reference, names)
    own, own_reference = answers["own"], reference["own"]
    precise = _errors(own, exact, names) if own else {}
    allowed = _errors(own_reference, exact_reference, names) if own_reference else {}
    jumps = _jumps(exact_reference)
    tensors = []
    for (kind, name), error in function.items():
        judged = kind in ("outputs", "loss", "gradient")
        bound = FUNCTION_BOUND if judged else PARAMETER_BOUND
        passed = kind == "loss_curve" or (error is not None and error <= bound)
        own_error = own_bound = None
        if judged and own is not None:
            own_error = precise[kind, name]
            rounding = max(allowed.get((kind, name)) or 0.0, jumps.get((kind, name), 0.0))
            own_bound = max(PRECISION_FLOORS[precision], PRECISION_FACTOR * rounding)
            passed = passed and own_error is not None and own_error <= own_bound
        tensors.append(
            TensorError(
                name=name,
                kind=kind,
                passed=passed,
                function_error=error,
                precision_error=own_error,
                precision_bound=own_bound,
            )
        )
    different = next((one for one in tensors if not one.passed), None)
    errors = [one.function_error for one in tensors if one.kind in ("outputs", "loss", "gradient")]
    known = [error for error in errors if error is not None]
    return Equivalence(
        status="equivalent" if different is None else "not_equivalent",
        max_error=max(known) if known else None,
        first_difference=None if different is None else in_words(different, precision),
        reference=reference_id,
        verified_with=verified_with,
        tensors=tuple(tensors),
    )


def in_words(tensor: TensorError, precision: str) -> str:
    """Name a tensor as a person would, and the precision where that alone is off."""
    name = {
        "gradient": f"the gradient of {tensor.name}",
        "parameter": f"{tensor.name} after {PARAMETER_STEPS} steps",
        "loss_curve": f"the loss over {CURVE_STEPS} steps",
    }.get(tensor.kind, f"the {tensor.name}")
    bound = PARAMETER_BOUND if tensor.kind == "parameter" else FUNCTION_BOUND
    is_same_function = tensor.function_error is not None and tensor.function_error <= bound
    return f"{name} in {precision}" if is_same_function else name


def _jumps(exact: Answers) -> dict[tuple[str, str], float]:
    """Return how far rounding may move each gradient, over its largest value, as `_errors` has it."""
    import numpy as np

    sizes = {name: float(np.abs(value).max(initial=0.0)) for name, value in exact.gradients.items()}
    floor = NEGLIGIBLE * max(sizes.values(), default=0.0)
    return {
        ("gradient", name): moved / scale
        for name, moved in exact.sensitivity.items()
        if (scale := max(sizes.get(name, 0.0), floor))
    }


def _errors(
    answers: Answers, reference: Answers, names: Sequence[str]
) -> dict[tuple[Any, str], float | None]:
    """Return (kind, name) → largest difference over the reference's largest value; None: not a number."""
    import numpy as np

    largest = max(
        (float(np.abs(value).max()) for value in reference.gradients.values() if value.size), default=0
    )
    errors: dict[tuple[Any, str], float | None] = {
        ("outputs", "outputs"): _error(answers.outputs, reference.outputs),
        ("loss", "loss"): _error(np.asarray(answers.loss), np.asarray(reference.loss)),
    }
    for name in _in_order(names, reference.gradients, answers.gradients):
        pair = answers.gradients.get(name), reference.gradients.get(name)
        errors["gradient", name] = _error(*pair, floor=NEGLIGIBLE * largest)
    for name in _in_order(names, reference.parameters, answers.parameters):
        errors["parameter", name] = _error(answers.parameters.get(name), reference.parameters.get(name))
    errors["loss_curve", "loss_curve"] = _error(np.asarray(answers.losses), np.asarray(reference.losses))
    return errors


def _in_order(names: Sequence[str], *found: Mapping[str, Array]) -> Iterator[str]:
    """Yield the names that either side has: those known first, in order of computation."""
    present = {name for each in found for name in each}
    yield from (name for name in names if name in present)
    yield from sorted(present - set(names))


def _error(found: Array | None, expected: Array | None, floor: float = 0.0) -> float | None:
    import numpy as np

    if found is None or expected is None or found.shape != expected.shape:
        return None
    found, expected = (np.asarray(each, dtype=np.float64) for each in (found, expected))
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return None
    difference = float(np.abs(found - expected).max(initial=0.0))
    scale = max(float(np.abs(expected).max(initial=0.0)), floor)
    # Where nothing but zero is expected, whatever is found is wholly wrong.
    return difference / scale if scale else float(difference > 0)
