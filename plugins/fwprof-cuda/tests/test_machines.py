"""Twelve machines: what `fwprof devices` lists there, and what the meters read while steps run.

Through the real pynvml on the stand-in, the command itself, and the passes of the core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import StandIn

STRANGER = 4_194_999
"""No process has this number: Linux stops at 2^22."""

WHILE_STEPS_RUN = """
import itertools, time
from fwprof.testing.metered import read_while

device = next(device for device in plugin.devices() if device.name == {device!r})
energy = itertools.count(1_000, {energy_mj})
later = {later!r}

def step():
    say({{"0.energy_mj": next(energy), **later}})
    time.sleep(0.01)

answer(read_while(step, plugin.measure(device), seconds=0.6, rest_seconds=0.1))
"""


@dataclass(frozen=True)
class Machine:
    """A machine, and what must be said of it.

    Args:
        listed: device → remark; or why there is none.
        read: reading → its value, or a part of the reason why it has none.
        cards: how many there are.
        instances: that the first of them is split into; 0: it is not split.
        says: what the library says, beside that.
        later: what it says once steps run.
        energy_mj: what its energy counter grows by in each step.
        driver: the fixture of its library.
        device: the one that is read.
    """

    listed: Mapping[str, str] | str
    read: Mapping[str, float | str] = field(default_factory=dict)
    cards: int = 1
    instances: int = 0
    says: Mapping[str, object] = field(default_factory=dict)
    later: Mapping[str, object] = field(default_factory=dict)
    energy_mj: int = 10
    driver: str = "stand_in"
    device: str = "cuda:0"


OURS = {"0.processes": "self:700"}
MACHINES = {
    "no library": Machine("NVML Shared Library Not Found", driver="no_library"),
    "no driver": Machine("Driver Not Loaded", says={"init": "!9"}),
    "no card": Machine("the driver lists no card", cards=0),
    "eight cards": Machine(
        {f"cuda:{index}": "" for index in range(8)},
        {"device_process_memory": 700, "foreign_processes": 0, "energy": 10_000, "temperature": 30},
        cards=8,
        says=OURS,
    ),
    "a card in instances": Machine(
        {"cuda:0.0": "", "cuda:0.1": "", "cuda:1": ""},
        {"cuda.card_memory": 2**20, "energy": "Not Supported", "power": "Not Supported"},
        cards=2,
        instances=2,
        device="cuda:0.1",
    ),
    "a counter that is not supported": Machine(
        {"cuda:0": ""}, {"power": "Not Supported", "temperature": 30}, says={"0.power_mw": None}
    ),
    "a card lost meanwhile": Machine(
        {"cuda:0": ""},
        {"temperature": "GPU is lost", "cuda.card_memory": "GPU is lost"},
        later={"0.temperature": "!15", "0.total": "!15"},
    ),
    "a process of others": Machine(
        {"cuda:0": f"in use by pid {STRANGER}"},
        {"foreign_processes": 1, "device_process_memory": 700},
        says={"0.processes": f"self:700,{STRANGER}:1000"},
    ),
    "throttling": Machine(
        {"cuda:0": ""}, {"cuda.throttle_reasons": 4, "throttled": 100}, says={"0.throttle": 4}
    ),
    "an energy counter that stalls": Machine(
        {"cuda:0": ""}, {"energy": "the counter moved 0 times", "power": 70_000}, energy_mj=0
    ),
    "an older driver": Machine(
        {"cuda:0": ""},
        {"energy": "Function Not Found", "foreign_processes": 0, "power": 70_000},
        says=OURS,
        driver="old_driver",
    ),
    "a driver that may not tell": Machine(
        {"cuda:0": "NVML does not tell who computes on it"},
        {"foreign_processes": "Insufficient Permissions", "cuda.card_memory": 2**30},
        says={"0.processes": "!4"},
    ),
}


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> tuple[Machine, StandIn, dict[str, object]]:
    """Return a machine, the stand-in for its library, and what that says."""
    case = MACHINES[request.param]
    stand_in: StandIn = request.getfixturevalue(case.driver)
    split = stand_in.instances(0, case.instances) if case.instances else {}
    return case, stand_in, stand_in.machine(case.cards, {**split, **case.says})


def test_devices_lists_what_is_there(machine: tuple[Machine, StandIn, dict[str, object]]) -> None:
    case, stand_in, lines = machine
    done = stand_in.fwprof(["devices", "--json"], lines)
    assert done.returncode == 0, done.stderr
    found = {entry.get("name", entry["kind"]): entry for entry in json.loads(done.stdout)}
    shown = stand_in.fwprof(["devices"], lines).stdout
    if isinstance(case.listed, str):
        assert not [name for name in found if name.startswith("cuda:")]
        assert case.listed in found["cuda"]["reason"]
        assert f"not here  cuda: {found['cuda']['reason']}" in shown
        return
    assert [name for name in found if name.startswith("cuda:")] == list(case.listed)
    for name, remark in case.listed.items():
        (row,) = [line for line in shown.splitlines() if line.split()[0:1] == [name]]
        assert row.endswith(remark)
        assert (remark == "") == row.rstrip().endswith(" GB")


def test_meters_read_what_the_card_counts(machine: tuple[Machine, StandIn, dict[str, object]]) -> None:
    case, stand_in, lines = machine
    if isinstance(case.listed, str):
        assert not case.read
        return
    code = WHILE_STEPS_RUN.format(device=case.device, later=dict(case.later), energy_mj=case.energy_mj)
    readings = stand_in.run(code, lines)
    for name, wanted in case.read.items():
        if isinstance(wanted, str):
            assert readings[name]["value"] is None
            assert wanted in readings[name]["reason"]
        else:
            assert readings[name]["value"] == pytest.approx(wanted, rel=0.05)
            assert readings[name]["basis"]
