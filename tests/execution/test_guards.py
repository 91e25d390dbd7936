"""Programs that do less, or more, than they say are found out, and what was wrong is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from fwprof.execution.session import Session
from fwprof.records import Check
from fwprof.testing.clock import FakeClock
from fwprof.testing.fake_framework import FakeModel, FakePrograms, Outcome

Built = Callable[..., Session]


def failed(session: Session) -> Mapping[str, str]:
    session.warm_up("run", 3_000_000_000)
    return {check.name: check.detail for check in session.check_answers() if not check.passed}


def test_an_honest_framework_passes_every_guard(built: Built) -> None:
    session = built()
    session.warm_up("run", 3_000_000_000)
    assert session.check_answers() == tuple(
        Check(name=name, passed=True)
        for name in (
            "gradients_complete",
            "forward_changes_nothing",
            "step_trains",
            "loss_finite",
            "wait_waits",
        )
    )


def test_dropped_gradients_are_named(built: Built) -> None:
    assert failed(built(fault="drop_gradients")) == {"gradients_complete": "no gradient for 1.kernel"}


def test_no_gradients_at_all_are_named(built: Built) -> None:
    class Lazy(FakePrograms):
        def forward_backward(self, staged: Any) -> Outcome:
            return self.forward(staged)

    assert failed(built(programs_class=Lazy)) == {
        "gradients_complete": "no gradient for 0.bias, 0.kernel, 1.bias; "
        "forward_backward returned no gradients"
    }


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda g: g * np.nan, "gradient of 0.kernel is not finite"),
        (lambda g: g[:1], r"gradient of 0.kernel has shape (1, 8), not (12, 8)"),
        (lambda g: g * 0, "gradient of 0.kernel is zero, yet a step changes the parameter"),
    ],
)
def test_a_gradient_that_cannot_be_is_named(built: Built, change: Callable[[Any], Any], detail: str) -> None:
    class Wrong(FakePrograms):
        def read(self, result: Outcome) -> Any:
            loss, gradients = super().read(result)
            if gradients:
                gradients = {**gradients, "0.kernel": change(gradients["0.kernel"])}
            return loss, gradients

    assert failed(built(programs_class=Wrong)) == {"gradients_complete": detail}


def test_a_wait_that_does_not_wait_is_found(built: Built) -> None:
    assert failed(built(fault="no_wait")) == {
        "wait_waits": "50.0 ms of work was still running after wait returned"
    }


def test_a_read_that_was_late_once_accuses_nobody(built: Built, clock: FakeClock) -> None:
    # Reads: at the end of the warm-up, of the gradients, and the first one after a wait.
    hiccups = iter([0, 0, 50_000_000])

    class Interrupted(FakePrograms):
        def read(self, result: Outcome) -> Any:
            clock.advance(next(hiccups, 0))
            return super().read(result)

    assert failed(built(programs_class=Interrupted)) == {}


def test_many_parameters_far_away_accuse_nobody(built: Built, clock: FakeClock) -> None:
    class Distant(FakePrograms):
        """Copies slowly, and keeps on the host what it copied once, as jax does on a card."""

        copied: Outcome | None = None

        def read(self, result: Outcome) -> Any:
            if result is not self.copied:
                clock.advance(86_000_000)
                self.copied = result
            return super().read(result)

    assert failed(built(programs_class=Distant)) == {}


def test_a_wait_that_does_not_wait_is_found_behind_a_slow_copy(built: Built, clock: FakeClock) -> None:
    class Distant(FakePrograms):
        ready_ns = 0

        def run(self, staged: Any) -> Outcome:
            self.ready_ns = max(self.ready_ns, clock.now_ns()) + 10_000_000
            return super().run(staged)

        def read(self, result: Outcome) -> Any:
            clock.advance(self.ready_ns - clock.now_ns())
            clock.advance(8_000_000)
            return super().read(result)

    assert "wait_waits" in failed(built(programs_class=Distant))


def test_a_step_that_does_not_train_is_found(built: Built) -> None:
    class Idle(FakePrograms):
        def run(self, staged: Any) -> Outcome:
            return self.forward(staged)

    assert failed(built(programs_class=Idle)) == {"step_trains": "a training step changed no parameter"}


@pytest.mark.parametrize("program", ["forward", "forward_backward"])
def test_a_program_that_trains_although_it_must_not_is_found(built: Built, program: str) -> None:
    class Eager(FakePrograms):
        def forward(self, staged: Any) -> Outcome:
            return self.run(staged) if program == "forward" else super().forward(staged)

        def forward_backward(self, staged: Any) -> Outcome:
            outcome = super().forward_backward(staged)
            if program == "forward_backward":
                self.run(staged)
            return outcome

    assert failed(built(programs_class=Eager)) == {
        "forward_changes_nothing": "forward or forward_backward changed 0.bias, 0.kernel, 1.bias"
    }


def test_a_loss_that_is_no_number_fails_its_guard(built: Built) -> None:
    class Lost(FakePrograms):
        def read(self, result: Outcome) -> Any:
            loss, gradients = super().read(result)
            return (loss if gradients is None else np.inf), gradients

    assert failed(built(programs_class=Lost)) == {"loss_finite": "loss inf"}


def test_guards_begin_at_the_canonical_start(built: Built, clock: FakeClock) -> None:
    resets: list[int] = []

    class Noted(FakeModel):
        def reset(self) -> None:
            resets.append(clock.now_ns())
            super().reset()

    assert failed(built(model_class=Noted)) == {}
    assert len(resets) == 1
