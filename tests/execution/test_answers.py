"""What a model that is verified is asked, and how far rounding would move its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from fwprof.execution.answers import ROUNDING, take_answers


class Bending:
    """Model and programs of loss = max(0, w·x): its gradient is x or nothing, by the sign of w·x."""

    def __init__(self, weight: float) -> None:
        self.start = np.array([1.0, weight])
        self.reset()

    def reset(self) -> None:
        self.weights = self.start.copy()

    def parameters(self) -> Mapping[str, Any]:
        return {"w": self.weights.copy()}

    def load_parameters(self, values: Mapping[str, Any]) -> None:
        self.weights = np.array(values["w"])

    def predict(self, batch: Any) -> Any:
        return np.maximum(0, batch @ self.weights)[None]

    def forward_backward(self, batch: Any) -> tuple[float, Mapping[str, Any]]:
        value = float(batch @ self.weights)
        return max(0.0, value), {"w": batch * (value > 0)}

    def run(self, batch: Any) -> tuple[float, Mapping[str, Any]]:
        loss, gradients = self.forward_backward(batch)
        self.weights = self.weights - 0.1 * gradients["w"]
        return loss, gradients

    def wait(self, result: Any) -> None:
        pass

    def read(self, result: Any) -> Any:
        return result


BATCH = np.array([1.0, 1.0])


@pytest.mark.parametrize(("weight", "moved"), [(-1 + ROUNDING / 50, 1.0), (1.0, 0.0), (-3.0, 0.0)])
def test_a_gradient_that_rounding_can_turn_on_or_off_says_so(weight: float, moved: float) -> None:
    model: Any = Bending(weight)
    found = take_answers(model, model, [BATCH], precision="float64")
    assert found.sensitivity == {"w": moved}
    # Asked last: nothing of it is in the other answers, and the model is where it began.
    assert found.gradients["w"].tolist() == [1.0, 1.0] if weight > -1 else [0.0, 0.0]
    np.testing.assert_array_equal(model.weights, model.start)


def test_only_float64_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Bending(1.0)
    asked: list[Callable[..., Any]] = []
    monkeypatch.setattr(model, "load_parameters", asked.append)
    assert take_answers(model, model, [BATCH], precision="float32").sensitivity == {}
    assert asked == []
