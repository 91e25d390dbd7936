"""Scores are those of a calculation by hand, and of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwprof.workloads.scores import Scores, Tally

CLASSES = "cross_entropy"
LABELS = "binary_cross_entropy"
NUMBERS = "mean_squared_error"


def score(loss: str, outputs: Any, targets: Any) -> Scores:
    tally = Tally(loss)
    tally.add(np.array(outputs), np.array(targets))
    return tally.scores()


def logits(classes: Any, count: int) -> Any:
    """Return logits whose largest is that of the class."""
    return np.eye(count)[np.array(classes)]


def test_one_right_class_is_scored_by_softmax_and_the_best_logit() -> None:
    found = score(CLASSES, np.array([[0.0, 0.0], [0.0, np.log(3)]], np.float32), [1, 0])
    assert found.loss == pytest.approx((np.log(2) + np.log(4)) / 2)
    assert found.accuracy == 0
    assert score(CLASSES, [[1.0, 2.0]], [1]).accuracy == 1


def test_classes_are_averaged_whatever_their_size() -> None:
    # Class 0: 3 hits of 4 predicted, of 3. Class 1: 1 of 2, of 3. Class 2: 1 of 1, of 1.
    found = score(CLASSES, logits([0, 0, 0, 0, 1, 1, 2], 3), [0, 0, 0, 1, 1, 0, 2])
    assert found.accuracy == pytest.approx(5 / 7)
    assert found.precision == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert found.recall == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert found.f1 == pytest.approx((6 / 8 + 2 / 4 + 1) / 3)


def test_a_class_that_is_never_predicted_counts_as_zero_and_one_that_never_occurs_not_at_all() -> None:
    found = score(CLASSES, logits([0, 0, 3], 5), [0, 1, 0])
    # Of five classes, 2 and 4 say nothing. 1 is never predicted, 3 never occurs.
    assert found.precision == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found.recall == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found.f1 == pytest.approx((2 / 4 + 0 + 0) / 3)


def test_every_position_is_a_sample() -> None:
    outputs = logits([[0, 1, 1], [2, 2, 0]], 3)
    targets = np.array([[0, 1, 2], [2, 0, 0]])
    flat = score(CLASSES, outputs.reshape(6, 3), targets.reshape(6))
    assert score(CLASSES, outputs, targets) == flat
    assert flat.accuracy == pytest.approx(4 / 6)


def test_yes_and_no_are_scored_by_sigmoid_and_sign() -> None:
    found = score(LABELS, [[np.log(3), 0.0], [-5.0, 5.0]], [[1.0, 0.0], [1.0, 1.0]])
    by_hand = (np.log(4 / 3) + np.log(2) + np.log1p(np.exp(5)) + np.log1p(np.exp(-5))) / 4
    assert found.loss == pytest.approx(by_hand)
    # A logit of exactly 0 is a no. Label 0: 1 hit of 1 said, of 2. Label 1: 1 of 1, of 1.
    assert found.accuracy == 3 / 4
    assert (found.precision, found.recall, found.f1) == (1, pytest.approx(3 / 4), pytest.approx(5 / 6))


def test_of_a_single_yes_or_no_the_figures_are_those_of_the_yes() -> None:
    found = score(LABELS, [[1.0], [1.0], [-1.0], [-1.0], [1.0]], [[1.0], [0.0], [1.0], [0.0], [1.0]])
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(("targets", "expected"), [([[1.0], [0.0]], 0.0), ([[0.0], [0.0]], None)])
def test_where_no_yes_is_said_precision_is_zero_and_where_there_is_none_either_undefined(
    targets: Any, expected: float | None
) -> None:
    found = score(LABELS, [[-1.0], [-2.0]], targets)
    assert (found.precision, found.recall, found.f1) == (expected, expected, expected)
    assert found.accuracy is not None


def test_of_a_regression_there_is_the_squared_error_alone() -> None:
    found = score(NUMBERS, [[1.0, 2.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]])
    assert found == Scores(loss=(0 + 4 + 0 + 9) / 4)


@pytest.mark.parametrize(("loss", "targets"), [(CLASSES, [1]), (LABELS, [[0.0, 1.0]])])
def test_large_logits_are_scored_without_overflow(loss: str, targets: Any) -> None:
    found = score(loss, [[1e4, -1e4]], targets)
    assert np.isfinite(found.loss)
    assert found.accuracy == 0


@pytest.mark.parametrize(("loss", "targets"), [(CLASSES, [1]), (LABELS, [[0.0, 1.0]])])
def test_outputs_that_overflowed_give_a_loss_that_is_no_number(loss: str, targets: Any) -> None:
    assert not np.isfinite(score(loss, [[np.nan, np.inf]], targets).loss)


def test_small_errors_are_counted_in_float64() -> None:
    tally = Tally(NUMBERS)
    for _ in range(1000):
        tally.add(np.full((100, 1), 1e-3, np.float32), np.zeros((100, 1), np.float32))
    assert tally.scores().loss == pytest.approx(float(np.float32(1e-3)) ** 2, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (CLASSES, (4, 3), (4, 3)),
        (LABELS, (4, 1), (4,)),
        (NUMBERS, (4, 2), (4, 1)),
        (CLASSES, (4, 5, 3), (4,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(loss: str, outputs: Any, targets: Any) -> None:
    with pytest.raises(ValueError, match=r"outputs of shape .* do not fit targets of shape"):
        Tally(loss).add(np.zeros(outputs), np.zeros(targets, np.int64))


def test_nothing_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no sample to score"):
        Tally(CLASSES).scores()


@pytest.fixture(scope="module")
def metrics() -> Any:
    return pytest.importorskip("sklearn.metrics")


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60),
    batch=st.integers(1, 60),
)
def test_scores_are_those_of_scikit_learn_however_the_batches_fall(
    metrics: Any, pairs: list[tuple[int, int]], batch: int
) -> None:
    said, true = map(np.array, zip(*pairs, strict=True))
    tally = Tally(CLASSES)
    for at in range(0, len(pairs), batch):
        tally.add(logits(said[at : at + batch], 5), true[at : at + batch])
    found = tally.scores()
    expected = metrics.precision_recall_fscore_support(true, said, average="macro", zero_division=0)[:3]
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(true, said))


def test_labels_that_occur_are_averaged_as_scikit_learn_does(metrics: Any) -> None:
    random = np.random.default_rng(1)
    values, true = random.standard_normal((50, 3)), random.integers(0, 2, (50, 3))
    found = score(LABELS, values, true.astype(np.float32))
    expected = metrics.precision_recall_fscore_support(true, values > 0, average="macro")[:3]
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected)
    assert found.accuracy == pytest.approx(1 - metrics.hamming_loss(true, values > 0))
