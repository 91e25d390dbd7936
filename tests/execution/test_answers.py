"""What a model that is verified is asked, and how far rounding would move its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from fwprof.execution.answers import take_answers
from fwprof.workloads.answers import CURVE_STEPS


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
ROUNDING = 2.0**-21


@pytest.mark.parametrize(("weight", "moved"), [(-1 + ROUNDING / 50, 1.0), (1.0, 0.0), (-3.0, 0.0)])
def test_a_gradient_that_rounding_can_turn_on_or_off_says_so(weight: float, moved: float) -> None:
    model: Any = Bending(weight)
    found = take_answers(model, model, [BATCH], rounding=ROUNDING)
    assert found.sensitivity == {"w": moved}
    # Asked last: nothing of it is in the other answers, and the model is where it began.
    assert found.gradients["w"].tolist() == [1.0, 1.0] if weight > -1 else [0.0, 0.0]
    np.testing.assert_array_equal(model.weights, model.start)


def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Bending(1.0)
    asked: list[Callable[..., Any]] = []
    monkeypatch.setattr(model, "load_parameters", asked.append)
    assert take_answers(model, model, [BATCH]).sensitivity == {}
    assert asked == []


class Scaled(Bending):
    """The same under a scaled loss: gradients overflow while the scale is above 4, and steps halve it."""

    def __init__(self) -> None:
        self.steps = 0
        super().__init__(1.0)

    def reset(self) -> None:
        super().reset()
        self.scale = 64.0

    def forward_backward(self, batch: Any) -> tuple[float, Mapping[str, Any]]:
        loss, gradients = super().forward_backward(batch)
        return loss, {"w": np.full(2, np.inf)} if self.scale > 4 else gradients

    def run(self, batch: Any) -> tuple[float, Mapping[str, Any]]:
        self.steps += 1
        if self.scale <= 4:
            return super().run(batch)
        self.scale /= 2
        return self.forward_backward(batch)


def test_a_gradient_that_overflows_is_asked_again_once_training_found_its_scale() -> None:
    model: Any = Scaled()
    found = take_answers(model, model, [BATCH])
    assert found.gradients["w"].tolist() == [1.0, 1.0]
    assert model.steps == 4 + CURVE_STEPS
    # The curve began anew, with the first scale: four of its steps changed nothing.
    assert len(found.losses) == CURVE_STEPS
    assert len(set(found.losses[:5])) == 1


class Broken(Bending):
    """Its gradients are not finite, whatever is done."""

    def forward_backward(self, batch: Any) -> tuple[float, Mapping[str, Any]]:
        return 1.0, {"w": np.array([1.0, np.nan])}


def test_what_no_scale_brings_back_stays_as_it_is() -> None:
    model: Any = Broken(1.0)
    assert np.isnan(take_answers(model, model, [BATCH]).gradients["w"]).any()
