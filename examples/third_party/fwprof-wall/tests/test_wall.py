"""What is read from the counter's file, and why nothing is."""

import threading
import time

import pytest

from fwprof.testing.conformance.suites import MeterConformance
from fwprof.testing.metered import read_while
from fwprof_wall import plugin
from fwprof_wall.meters import VARIABLE, WallMeter


def window(path, after=None):
    meter = WallMeter(path)
    meter.start()
    if after is not None:
        path.write_text(after)
    return meter.stop()["wall.energy_window"]


def test_it_counts_joules_of_the_window(tmp_path):
    path = tmp_path / "joules"
    path.write_text("120.5\n")
    reading = window(path, "121.0\n")
    assert (reading.value, reading.unit) == (500_000, "uJ")
    assert len(reading.samples) == 2


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [(None, None, "No such file"), ("a lot", None, "could not convert"), ("7", "3", "began anew")],
)
def test_a_counter_that_cannot_be_read_says_why(tmp_path, before, after, reason):
    path = tmp_path / "joules"
    if before is not None:
        path.write_text(before)
    reading = window(path, after)
    assert reading.value is None
    assert reason in reading.reason


def test_without_a_file_it_says_how_to_name_one(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (meter,) = plugin.measure()
    meter.start()
    assert VARIABLE in meter.stop()["wall.energy_window"].reason


def test_the_core_tells_it_by_the_step_and_beside_the_machine_at_rest(tmp_path, monkeypatch):
    path = tmp_path / "joules"
    path.write_text("0")
    monkeypatch.setenv(VARIABLE, str(path))
    steps = [0]

    def step():
        steps[0] += 1
        partial = path.with_suffix(".new")
        partial.write_text(f"{steps[0] * 2}")
        partial.replace(path)
        time.sleep(0.01)

    before = threading.active_count()
    readings = read_while(step, plugin.measure(), seconds=0.6, rest_seconds=0.05)
    assert readings["wall.energy"].value == pytest.approx(2_000_000, rel=0.05)
    assert readings["wall.energy"].unit == "uJ/step"
    assert readings["wall.rest_power"].value == 0
    assert threading.active_count() == before


class TestMeters(MeterConformance):
    plugin = plugin
    name = "wall"
