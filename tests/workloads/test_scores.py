"""Loss and accuracy are those of a calculation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.workloads.scores import score


def test_one_right_class_is_scored_by_softmax_and_the_best_logit() -> None:
    losses, hits = score(np.array([[0.0, 0.0], [0.0, np.log(3)]], np.float32), np.array([1, 0]))
    assert losses == pytest.approx([np.log(2), np.log(4)])
    assert hits.tolist() == [0, 0]
    assert score(np.array([[1.0, 2.0]]), np.array([1]))[1].tolist() == [1]


def test_yes_and_no_are_scored_by_sigmoid_and_sign() -> None:
    logits, targets = np.array([[np.log(3), 0.0], [-5.0, 5.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    losses, hits = score(logits, targets)
    assert losses[0] == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    assert hits.tolist() == [1, 0.5]


@pytest.mark.parametrize("targets", [np.array([1]), np.array([[0.0, 1.0]])])
def test_large_logits_are_scored_without_overflow(targets: np.ndarray) -> None:
    losses, hits = score(np.array([[1e4, -1e4]]), targets)
    assert np.isfinite(losses).all()
    assert hits.tolist() == [0]
