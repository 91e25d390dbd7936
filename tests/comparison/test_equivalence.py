"""What the answers of two cells say: built by hand, one difference at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from fwprof.comparison.equivalence import PRECISION_FLOORS, ROUNDING, judge_answers
from fwprof.records import Equivalence, Precision
from fwprof.workloads.answers import Answers

NAMES = ["0.kernel", "0.bias", "1.kernel"]


def answers(**changes: Any) -> Answers:
    numbers = np.random.default_rng(3)
    return replace(
        Answers(
            outputs=numbers.standard_normal((8, 3)),
            loss=1.25,
            gradients={"0.kernel": numbers.standard_normal((4, 5)), "0.bias": numbers.standard_normal(5)},
            parameters={"0.kernel": numbers.standard_normal((4, 5)), "0.bias": numbers.standard_normal(5)},
            losses=tuple(float(loss) for loss in numbers.random(20)),
        ),
        **changes,
    )


def judged(exact: Answers, own: Answers | None = None, reference_own: Answers | None = None) -> Equivalence:
    return judge_answers(
        {"float64": exact, "own": own},
        {"float64": answers(), "own": reference_own},
        names=NAMES,
        precision="float32",
        reference_id="a",
        verified_with=("float64",),
    )


def off(value: Any, by: float) -> Any:
    """Move the value at which the array is largest by a share of it."""
    moved = np.array(value, dtype=np.float64)
    moved[np.unravel_index(np.abs(moved).argmax(), moved.shape)] *= 1 + by
    return moved


def test_the_same_answers_are_equivalent_and_say_with_what_they_were_compared() -> None:
    found = judged(answers())
    assert (found.status, found.max_error, found.reference) == ("equivalent", 0.0, "a")
    assert found.verified_with == ("float64",)
    assert [one.kind for one in found.tensors] == [
        "outputs", "loss", "gradient", "gradient", "parameter", "parameter", "loss_curve",
    ]  # fmt: skip


@pytest.mark.parametrize(("by", "status"), [(0.5e-9, "equivalent"), (2e-9, "not_equivalent")])
def test_a_gradient_may_differ_by_rounding_and_by_no_more(by: float, status: str) -> None:
    base = answers()
    changed = {**base.gradients, "0.bias": off(base.gradients["0.bias"], by)}
    found = judged(answers(gradients=changed))
    assert found.status == status
    assert found.max_error == pytest.approx(by, rel=1e-3)
    assert found.first_difference == (None if status == "equivalent" else "the gradient of 0.bias")


@pytest.mark.parametrize(("by", "status"), [(0.5e-4, "equivalent"), (2e-4, "not_equivalent")])
def test_parameters_after_three_steps_have_a_wider_bound(by: float, status: str) -> None:
    base = answers()
    found = judged(answers(parameters={**base.parameters, "0.kernel": off(base.parameters["0.kernel"], by)}))
    assert found.status == status
    assert found.first_difference == (None if status == "equivalent" else "0.kernel after 3 steps")


def test_the_first_tensor_in_order_of_computation_is_named() -> None:
    base = answers()
    wrong = {name: off(value, 0.1) for name, value in base.gradients.items()}
    found = judged(answers(gradients=dict(reversed(wrong.items()))))
    assert found.first_difference == "the gradient of 0.kernel"
    found = judged(answers(gradients=wrong, outputs=off(base.outputs, 0.1)))
    assert found.first_difference == "the outputs"


def test_a_gradient_that_is_missing_or_of_another_shape_or_no_number_differs() -> None:
    base = answers()
    for broken in (
        {"0.kernel": base.gradients["0.kernel"]},
        {**base.gradients, "0.bias": base.gradients["0.bias"][:4]},
        {**base.gradients, "0.bias": np.full(5, np.nan)},
    ):
        found = judged(answers(gradients=broken))
        assert found.first_difference == "the gradient of 0.bias"
        (wrong,) = [one for one in found.tensors if not one.passed]
        assert wrong.function_error is None


def test_a_gradient_that_the_reference_does_not_know_differs() -> None:
    found = judged(answers(gradients={**answers().gradients, "9.extra": np.ones(3)}))
    assert found.first_difference == "the gradient of 9.extra"


def test_the_loss_curve_is_shown_and_does_not_decide() -> None:
    found = judged(answers(losses=tuple(loss + 0.1 for loss in answers().losses)))
    assert found.status == "equivalent"
    (curve,) = [one for one in found.tensors if one.kind == "loss_curve"]
    assert curve.function_error is not None
    assert curve.function_error > 0.01


def test_where_the_true_gradient_is_zero_rounding_is_no_difference() -> None:
    base = answers()
    exact = {**base.gradients, "1.kernel": np.full(4, 1e-17)}
    reference = answers(gradients={**base.gradients, "1.kernel": np.full(4, -2e-17)})
    found = judge_answers(
        {"float64": answers(gradients=exact), "own": None},
        {"float64": reference, "own": None},
        names=NAMES,
        precision="float32",
        reference_id="a",
        verified_with=(),
    )
    assert found.status == "equivalent"


def test_a_small_gradient_that_is_dropped_is_still_seen() -> None:
    base = answers()
    small = {**base.gradients, "1.kernel": np.full(4, 1e-7)}
    found = judge_answers(
        {"float64": answers(gradients={**small, "1.kernel": np.zeros(4)}), "own": None},
        {"float64": answers(gradients=small), "own": None},
        names=NAMES,
        precision="float32",
        reference_id="a",
        verified_with=(),
    )
    assert found.first_difference == "the gradient of 1.kernel"


def test_rounding_in_its_own_precision_is_judged_beside_the_reference_s() -> None:
    base = answers()

    def rounded(by: float) -> Answers:
        return answers(outputs=off(base.outputs, by))

    assert judged(base, own=rounded(0.9e-5), reference_own=base).status == "equivalent"
    worse = judged(base, own=rounded(5e-5), reference_own=rounded(4e-6))
    assert (worse.status, worse.first_difference) == ("not_equivalent", "the outputs in float32")
    assert judged(base, own=rounded(5e-5), reference_own=rounded(6e-6)).status == "equivalent"
    (outputs,) = [one for one in worse.tensors if one.kind == "outputs"]
    assert outputs.precision_error == pytest.approx(5e-5, rel=1e-3)
    assert outputs.precision_bound == pytest.approx(4e-5, rel=1e-3)


@pytest.mark.parametrize(
    ("moved", "by", "status"),
    [(0.0, 2e-3, "not_equivalent"), (1e-3, 2e-3, "equivalent"), (1e-3, 2e-2, "not_equivalent")],
)
def test_a_gradient_may_be_off_by_what_rounding_can_do_to_it(moved: float, by: float, status: str) -> None:
    """A ReLU whose input is nearly zero: one program rounds it up, the other down."""
    base = answers()
    largest = float(np.abs(base.gradients["0.bias"]).max())
    own = answers(gradients={**base.gradients, "0.bias": off(base.gradients["0.bias"], by)})
    found = judge_answers(
        {"float64": base, "own": own},
        {"float64": answers(sensitivity={"0.bias": moved * largest}), "own": base},
        names=NAMES,
        precision="float32",
        reference_id="a",
        verified_with=(),
    )
    assert found.status == status
    assert found.first_difference == (None if status == "equivalent" else "the gradient of 0.bias in float32")


def test_outputs_are_judged_as_strictly_where_gradients_jump() -> None:
    """They are continuous: only a coarser format moves them."""
    base = answers()
    found = judge_answers(
        {"float64": base, "own": answers(outputs=off(base.outputs, 1e-3))},
        {"float64": answers(sensitivity=dict.fromkeys(base.gradients, 1.0)), "own": base},
        names=NAMES,
        precision="float32",
        reference_id="a",
        verified_with=(),
    )
    assert found.first_difference == "the outputs in float32"


def test_every_precision_has_a_floor_and_is_asked_by_what_it_rounds_away() -> None:
    assert PRECISION_FLOORS.keys() == ROUNDING.keys() == set(get_args(Precision))
    # 4 units in the last place: 2^-21 for 24 bits of significand, 2^-5 for 8.
    assert (ROUNDING["float32"], ROUNDING["bfloat16"]) == (2.0**-21, 2.0**-5)
