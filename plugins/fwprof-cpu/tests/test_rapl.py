"""RAPL on a fake sysfs tree: sums, wrap-around, and every reason for no value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof.plugin import Meter
from fwprof_cpu.rapl import RaplMeter

RANGE_UJ = 262_143_328_850


def plant(powercap: Path, zone: str, name: str, energy_uj: int, range_uj: int = RANGE_UJ) -> Path:
    folder = powercap / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder / "energy_uj"


def test_packages_are_summed_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    counters = [
        plant(tmp_path, "intel-rapl:0", "package-0", 1000),
        plant(tmp_path, "intel-rapl:1", "package-1", 5000),
        plant(tmp_path, "intel-rapl:0:0", "core", 10),
        plant(tmp_path, "intel-rapl:2", "psys", 10),
        plant(tmp_path, "intel-rapl-mmio:0", "package-0", 1000),
    ]
    meter = RaplMeter(tmp_path)
    assert isinstance(meter, Meter)
    meter.start()
    for counter in counters:
        counter.write_text(f"{int(counter.read_text()) + 300}\n")
    reading = meter.stop()["energy_window"]
    assert (reading.value, reading.unit) == (600, "uJ")
    assert "package-0, package-1" in reading.basis


def test_a_counter_that_wraps_goes_on_counting(tmp_path: Path) -> None:
    counter = plant(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 100)
    meter = RaplMeter(tmp_path)
    meter.start()
    counter.write_text("50\n")
    assert meter.stop()["energy_window"].value == 150


@given(uses=st.lists(st.integers(0, 999), max_size=20), first=st.integers(0, 999))
def test_samples_follow_any_number_of_wraps(
    tmp_path_factory: pytest.TempPathFactory, uses: list[int], first: int
) -> None:
    powercap = tmp_path_factory.mktemp("powercap")
    counter = plant(powercap, "intel-rapl:0", "package-0", first, range_uj=1000)
    meter = RaplMeter(powercap)
    meter.start()
    now = first
    for used in uses:
        now = (now + used) % 1000
        counter.write_text(f"{now}\n")
        meter.sample()
    assert meter.stop()["energy_window"].value == sum(uses)


def test_a_second_window_starts_at_zero(tmp_path: Path) -> None:
    counter = plant(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter(tmp_path)
    meter.start()
    counter.write_text("70\n")
    meter.stop()
    meter.start()
    assert meter.stop()["energy_window"].value == 0


@pytest.mark.parametrize("folder", [".", "missing"])
def test_a_machine_without_rapl_says_so(tmp_path: Path, folder: str) -> None:
    meter = RaplMeter(tmp_path / folder)
    meter.start()
    meter.sample()
    reading = meter.stop()["energy_window"]
    assert reading.value is None
    assert reading.reason == "this machine exposes no RAPL (a virtual machine?)"


def unreadable(counter: Path) -> None:
    # A folder in its place: chmod would not keep root from reading.
    counter.unlink()
    counter.mkdir()


def test_a_counter_that_may_not_be_read_says_how_to_allow_it(tmp_path: Path) -> None:
    unreadable(plant(tmp_path, "intel-rapl:0", "package-0", 0))
    meter = RaplMeter(tmp_path)
    meter.start()
    reading = meter.stop()["energy_window"]
    assert reading.value is None
    assert "intel-rapl:0/energy_uj: Is a directory" in reading.reason
    assert reading.reason.endswith("allow it with: sudo chmod a+r /sys/class/powercap/*/energy_uj")


def test_a_counter_lost_within_the_window_makes_no_value(tmp_path: Path) -> None:
    counter = plant(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter(tmp_path)
    meter.start()
    unreadable(counter)
    reading = meter.stop()["energy_window"]
    assert reading.value is None
    assert "allow it with" in reading.reason


def test_a_reason_does_not_outlive_its_window(tmp_path: Path) -> None:
    meter = RaplMeter(tmp_path)
    meter.start()
    meter.stop()
    plant(tmp_path, "intel-rapl:0", "package-0", 0)
    meter.start()
    assert meter.stop()["energy_window"].value == 0
