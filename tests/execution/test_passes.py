"""Passes that are not timed: meters over training steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from fwprof.contracts import Batch
from fwprof.execution.passes import ENERGY_WINDOW, take_readings
from fwprof.execution.session import Session
from fwprof.records import Reading
from fwprof.testing.fake_framework import FakePrograms
from fwprof.testing.fake_meter import CountingMeter

Built = Callable[..., Session]


class Counting:
    """A meter that writes down what is asked of it."""

    passes: Sequence[str] = ("energy",)

    def __init__(self, name: str, *values: float | None, enough: int = 0) -> None:
        self.calls: list[str] = []
        self.sampled = threading.Event()
        self._name, self._values, self._enough = name, values, enough

    def start(self) -> None:
        self.calls.append("start")

    def sample(self) -> None:
        self.calls.append("sample")
        if self.calls.count("sample") >= self._enough:
            self.sampled.set()

    def stop(self) -> Mapping[str, Reading]:
        # One value a window; the last one from then on.
        value = self._values[min(self.calls.count("stop"), len(self._values) - 1)]
        self.calls.append("stop")
        reason = "no counter" if value is None else ""
        return {self._name: Reading(value=value, unit="uJ", basis="a counter", reason=reason)}


def read(
    session: Session, *meters: Any, seconds: float = 0.0, rate_hz: float = 1000.0, rest_seconds: float = 0.0
) -> Any:
    batch = Batch(*([[0.0] * 12], [0]))  # type: ignore[arg-type]  # staged by the model
    staged = [session.model.stage(batch)]
    return take_readings(session.programs, staged, meters, seconds, rate_hz, rest_seconds)


def test_meters_see_at_least_five_steps(built: Built) -> None:
    steps: list[int] = []

    class Counted(FakePrograms):
        def run(self, staged: Any) -> Any:
            steps.append(1)
            return super().run(staged)

    session = built(programs_class=Counted)
    readings = read(session, CountingMeter("fake.bytes", "bytes", 7))
    assert readings == {"fake.bytes": Reading(value=7, unit="bytes")}
    assert len(steps) == 5


def test_energy_is_told_by_the_step(built: Built) -> None:
    readings = read(built(), Counting(ENERGY_WINDOW, 0, 0, 1000))
    assert (readings["energy"].value, readings["energy"].unit) == (200, "uJ/step")
    assert readings["energy"].basis.startswith("a counter; 5 steps in ")
    assert (readings["energy_above_rest"].value, readings["rest_power"].value) == (200, 0)


def test_a_meter_from_outside_counts_under_its_own_name(built: Built) -> None:
    readings = read(built(), Counting(f"fake.{ENERGY_WINDOW}", 0, 0, 1000))
    assert sorted(readings) == ["fake.energy", "fake.energy_above_rest", "fake.rest_power"]
    assert readings["fake.energy"].value == 200


def test_energy_is_counted_at_rest_before_steps_run(built: Built) -> None:
    meter = Counting(ENERGY_WINDOW, 0, 0, 1000)
    order: list[str] = []

    class Watched(FakePrograms):
        def run(self, staged: Any) -> Any:
            order.append(f"a step in window {meter.calls.count('start')}")
            return super().run(staged)

    read(built(programs_class=Watched), meter, rate_hz=0.001)
    assert meter.calls == ["start", "stop", "start", "stop", "start", "stop"]
    assert set(order) == {"a step in window 3"}


def test_without_a_counter_nobody_waits_for_rest(built: Built) -> None:
    meter = Counting("fake.bytes", 7)
    read(built(), meter, rate_hz=0.001, rest_seconds=3600.0)
    assert meter.calls == ["start", "stop", "start", "stop"]


def test_where_nothing_can_be_read_nothing_is_run(built: Built) -> None:
    class Refusing(FakePrograms):
        def run(self, staged: Any) -> Any:
            raise AssertionError("no step is needed")

    readings = read(
        built(programs_class=Refusing),
        Counting(ENERGY_WINDOW, None),
        CountingMeter("fake.power", "mW", None, "no sensor"),
        seconds=60.0,
    )
    assert {name: (each.value, each.reason) for name, each in readings.items()} == {
        "energy": (None, "no counter"),
        "energy_above_rest": (None, "no counter"),
        "rest_power": (None, "no counter"),
        "fake.power": (None, "no sensor"),
    }


def test_without_a_meter_nothing_is_run(built: Built) -> None:
    class Refusing(FakePrograms):
        def run(self, staged: Any) -> Any:
            raise AssertionError("no step is needed")

    assert read(built(programs_class=Refusing), seconds=60.0) == {}


def test_meters_are_sampled_while_steps_run_and_the_thread_is_gone(built: Built) -> None:
    meter = Counting("fake.samples", 1, enough=3)

    class Waiting(FakePrograms):
        def run(self, staged: Any) -> Any:
            assert meter.sampled.wait(60)
            return super().run(staged)

    before = threading.active_count()
    read(built(programs_class=Waiting), meter)
    assert meter.calls[:3] == ["start", "stop", "start"]
    assert meter.calls[-1] == "stop"
    assert threading.active_count() == before


def test_the_thread_is_gone_where_a_step_raises_too(built: Built) -> None:
    class Broken(FakePrograms):
        def run(self, staged: Any) -> Any:
            raise RuntimeError("a step failed")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="a step failed"):
        read(built(programs_class=Broken), Counting("fake.samples", 1))
    assert threading.active_count() == before


class Timeline(Counting):
    """A meter that keeps what it sampled, a tenth of a second apart."""

    def stop(self) -> Mapping[str, Reading]:
        samples = tuple((place * 10**8, 1.0) for place in range(self._enough))
        return {
            name: msgspec.structs.replace(reading, samples=samples)
            for name, reading in super().stop().items()
        }


@pytest.mark.parametrize(
    ("count", "basis"), [(21, "a counter; 21 samples, 10 a second"), (1, "a counter"), (0, "a counter")]
)
def test_how_often_a_meter_was_sampled_is_kept_beside_its_timeline(
    built: Built, count: int, basis: str
) -> None:
    found = read(built(), Timeline("timeline.power", 5.0, enough=count))
    assert (found["timeline.power"].basis, len(found["timeline.power"].samples)) == (basis, count)
