"""The meters of one card, through the real pynvml on a stand-in whose values change meanwhile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import StandIn

WINDOW = """
device = Device(name="cuda:0", kind="cuda", uuid={uuid!r})
memory, activity = plugin.measure(device)
meter = {meter}
meter.start()
for changes in {changes!r}:
    say(changes)
    meter.sample()
answer({{"readings": meter.stop(), "sessions": sessions()}})
"""


def window(
    stand_in: StandIn,
    meter: str,
    lines: dict[str, object],
    changes: list[dict[str, object]],
    card: int | None = 0,
) -> dict[str, Any]:
    code = WINDOW.format(
        uuid="GPU-gone" if card is None else stand_in.uuid(card), meter=meter, changes=changes
    )
    answer = stand_in.run(code, lines)
    assert answer["sessions"] == 0, "the meter left NVML open"
    return dict(answer["readings"])


def test_memory_is_the_largest_sample(stand_in: StandIn) -> None:
    changes: list[dict[str, object]] = [
        {"0.used": 3_000, "0.processes": "9:50,self:700"},
        {"0.used": 2_000, "0.processes": "9:50,self:600"},
    ]
    readings = window(
        stand_in, "memory", stand_in.machine(1, {"0.used": 100, "0.processes": "self:5"}), changes
    )
    assert readings["cuda.card_memory"]["value"] == 3_000
    assert readings["device_process_memory"]["value"] == 700
    assert readings["device_process_memory"]["unit"] == "bytes"


def test_activity_folds_each_counter_in_its_own_way(stand_in: StandIn) -> None:
    lines = stand_in.machine(
        1, {"0.energy_mj": 1_000, "0.utilisation": 0, "0.power_mw": 100, "0.temperature": 30}
    )
    change: dict[str, object] = {
        "0.energy_mj": 1_250,
        "0.utilisation": 90,
        "0.power_mw": 400,
        "0.temperature": 60,
        "0.sm_clock": 990,
        "0.throttle": 4,
    }
    readings = window(stand_in, "activity", lines, [change])
    values = {name: reading["value"] for name, reading in readings.items()}
    assert values == {
        "energy_window": 250_000,
        "utilisation": 60,
        "power": 300,
        "throttled": pytest.approx(200 / 3),
        "temperature": 60,
        "cuda.sm_clock": 1_320,
        "cuda.throttle_reasons": 4,
    }


def test_throttle_reasons_of_all_samples_are_kept(stand_in: StandIn) -> None:
    changes: list[dict[str, object]] = [{"0.throttle": 4}, {"0.throttle": 8}, {"0.throttle": 0}]
    readings = window(stand_in, "activity", stand_in.machine(1), changes)
    assert readings["cuda.throttle_reasons"]["value"] == 12
    assert readings["throttled"]["value"] == pytest.approx(40)


def test_a_card_that_idles_or_runs_at_chosen_clocks_is_not_throttled(stand_in: StandIn) -> None:
    idle, chosen = 1, 2
    changes: list[dict[str, object]] = [{"0.throttle": idle}, {"0.throttle": chosen}]
    readings = window(stand_in, "activity", stand_in.machine(1), changes)
    assert (readings["cuda.throttle_reasons"]["value"], readings["throttled"]["value"]) == (3, 0)


def test_samples_are_stored_with_their_times(stand_in: StandIn) -> None:
    readings = window(stand_in, "activity", stand_in.machine(1), [{"0.power_mw": 1}, {"0.power_mw": 2}])
    times = [time for time, _ in readings["power"]["samples"]]
    assert [value for _, value in readings["power"]["samples"]] == [70_000, 1, 2, 2]
    assert times == sorted(times)


def test_an_unsupported_counter_is_null_with_nvml_s_reason_and_the_others_go_on(stand_in: StandIn) -> None:
    readings = window(
        stand_in, "activity", stand_in.machine(1, {"0.energy_mj": None, "0.power_mw": "!4"}), []
    )
    assert readings["energy_window"]["value"] is None
    assert readings["energy_window"]["reason"] == "NVML says: Not Supported"
    assert readings["power"]["reason"] == "NVML says: Insufficient Permissions"
    assert readings["utilisation"]["value"] == 0


def test_a_counter_that_fails_within_the_window_has_no_value(stand_in: StandIn) -> None:
    readings = window(
        stand_in, "activity", stand_in.machine(1), [{"0.energy_mj": "!15"}, {"0.energy_mj": 5_000}]
    )
    assert readings["energy_window"]["value"] is None
    assert re.search("GPU is lost", readings["energy_window"]["reason"])


def test_processes_of_others_are_counted_at_their_most(stand_in: StandIn) -> None:
    changes: list[dict[str, object]] = [
        {"0.processes": "self:5,4194998:1,4194999:1"},
        {"0.processes": "self:5"},
    ]
    readings = window(stand_in, "memory", stand_in.machine(1, {"0.processes": "self:5"}), changes)
    assert readings["foreign_processes"]["value"] == 2
    assert readings["foreign_processes"]["unit"] == "1"


def test_others_are_not_told_from_a_process_that_goes_by_another_number(stand_in: StandIn) -> None:
    readings = window(stand_in, "memory", stand_in.machine(1, {"0.processes": "4194999:5"}), [])
    assert readings["foreign_processes"]["value"] is None
    assert re.search("in a container", readings["foreign_processes"]["reason"])


@pytest.mark.parametrize(
    ("processes", "reason"),
    [
        ("", "NVML lists no process of this pid"),
        ("9:50", "NVML lists no process of this pid"),
        ("self:-", "NVML does not tell memory by process here"),
        ("!3", "NVML says: Not Supported"),
    ],
)
def test_memory_of_this_process_is_null_where_nvml_cannot_tell(
    stand_in: StandIn, processes: str, reason: str
) -> None:
    readings = window(stand_in, "memory", stand_in.machine(1, {"0.processes": processes}), [])
    assert readings["device_process_memory"]["value"] is None
    assert re.match(reason, readings["device_process_memory"]["reason"])
    assert readings["cuda.card_memory"]["value"] == 2**30


def test_the_card_is_found_by_its_uuid_and_not_by_its_place(stand_in: StandIn) -> None:
    lines = stand_in.machine(2, {"0.used": 1, "1.used": 2})
    readings = window(stand_in, "memory", lines, [], card=1)
    assert readings["cuda.card_memory"]["value"] == 2


def test_a_card_that_is_gone_makes_every_reading_null(stand_in: StandIn) -> None:
    readings = window(stand_in, "activity", stand_in.machine(1), [], card=None)
    assert {reading["value"] for reading in readings.values()} == {None}
    assert {reading["reason"] for reading in readings.values()} == {"NVML says: Not Found"}


def test_a_driver_that_is_gone_makes_every_reading_null(stand_in: StandIn) -> None:
    readings = window(stand_in, "memory", stand_in.machine(1, {"init": "!9"}), [])
    assert {reading["reason"] for reading in readings.values()} == {"NVML says: Driver Not Loaded"}


def test_a_second_window_forgets_the_first(stand_in: StandIn) -> None:
    code = f"""
device = Device(name="cuda:0", kind="cuda", uuid="{stand_in.uuid(0)}")
memory, _ = plugin.measure(device)
memory.start()
say({{"0.used": 999_999}})
memory.stop()
say({{"0.used": 5}})
memory.start()
answer(memory.stop()["cuda.card_memory"])
"""
    assert stand_in.run(code, stand_in.machine(1))["value"] == 5


def test_meters_take_part_in_the_untimed_passes_only(stand_in: StandIn) -> None:
    code = """
from fwprof.plugin import Meter
meters = plugin.measure(Device(name="cuda:0", kind="cuda", uuid="x"))
answer([[isinstance(meter, Meter), meter.passes] for meter in meters])
"""
    assert stand_in.run(code, stand_in.machine(1)) == [[True, ["memory"]], [True, ["energy"]]]
