"""Listing and choosing cards, through the real pynvml on a stand-in for NVIDIA's library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof_cuda.visible import only_visible

if TYPE_CHECKING:
    from conftest import StandIn


@dataclass(frozen=True)
class Place:
    """A card, or an instance of one."""

    index: int
    uuid: str


LIST = "answer(plugin.devices())"
REFUSE = """
try:
    plugin.devices()
except PluginUnavailableError as error:
    answer({"lines": error.lines(), "exit": int(error.exit_code)})
"""
STRANGER = 4_194_999
"""No process has this number: Linux stops at 2^22."""
UUIDS = [f"GPU-{index:08d}-aaaa-bbbb-cccc-dddddddddddd" for index in range(8)]
WHOLE = [Place(index, uuid) for index, uuid in enumerate(UUIDS)]


def names(devices: list[dict[str, Any]]) -> list[str]:
    return [device["name"] for device in devices]


def refused(stand_in: StandIn, lines: dict[str, object], **variables: str) -> str:
    answer = stand_in.run(REFUSE, lines, **variables)
    assert answer["exit"] == 5
    assert len(answer["lines"]) == 4
    assert all(len(line) <= 100 for line in answer["lines"]), answer["lines"]
    return "\n".join(answer["lines"])


def test_without_the_library_it_says_what_was_looked_for(no_library: StandIn) -> None:
    text = refused(no_library, {})
    assert re.search("no NVIDIA card can be used here: NVML says: NVML Shared Library Not Found", text)
    assert re.search("missing libnvidia-ml.so.1", text)
    assert "/dev/nvidia*" in text
    assert "/proc/driver/nvidia/version" in text
    assert re.search("next: .*--device cpu", text)


def test_a_driver_that_is_not_loaded_is_named(stand_in: StandIn) -> None:
    text = refused(stand_in, {"init": "!9"})
    assert re.search("here: NVML says: Driver Not Loaded", text)
    assert re.search("cause: found libnvidia-ml.so.1", text)


def test_a_driver_of_another_version_is_named(stand_in: StandIn) -> None:
    assert re.search("RM has detected an NVML/RM version mismatch", refused(stand_in, {"init": "!18"}))


def test_a_driver_without_cards_is_named(stand_in: StandIn) -> None:
    assert re.search("here: the driver lists no card", refused(stand_in, stand_in.machine(0)))


@pytest.mark.parametrize("count", [1, 2, 8])
def test_cards_are_listed_in_order(stand_in: StandIn, count: int) -> None:
    devices = stand_in.run(LIST, stand_in.machine(count))
    assert names(devices) == [f"cuda:{index}" for index in range(count)]
    assert [device["uuid"] for device in devices] == UUIDS[:count]


def test_a_card_carries_what_a_worker_needs(stand_in: StandIn) -> None:
    device = stand_in.run(LIST, stand_in.machine(2))[1]
    assert device["kind"] == "cuda"
    assert device["title"] == "Fictive Card 80GB"
    assert device["environment"] == {"CUDA_VISIBLE_DEVICES": UUIDS[1]}
    assert device["native"]["torch"] == "cuda:0"
    assert device["memory_bytes"] == 80 * 2**30
    assert device["exclusive"] is True
    assert device["capabilities"] == {
        "compute_capability": "9.0",
        "driver": "580.95.05",
        "cuda_driver": "13.0",
        "power_limit_mw": 700_000,
        "pci_bus": "00000000:0A:00.0",
        "mig": False,
    }


def test_a_card_that_knows_little_is_still_a_device(stand_in: StandIn) -> None:
    lines = {"count": 1, "0.uuid": UUIDS[0], "0.name": "Old Card"}
    (device,) = stand_in.run(LIST, lines)
    assert device["memory_bytes"] is None
    assert {name: value for name, value in device["capabilities"].items() if value is not None} == {
        "mig": False
    }
    assert device["in_use_by"] is None
    assert device["note"] == "NVML does not tell who computes on it"


def test_a_card_in_use_comes_last_and_says_by_whom(stand_in: StandIn) -> None:
    devices = stand_in.run(LIST, stand_in.machine(3, {"0.processes": f"{STRANGER}:1000,{STRANGER - 1}:-"}))
    assert names(devices) == ["cuda:1", "cuda:2", "cuda:0"]
    assert [device["in_use_by"] for device in devices] == [
        [],
        [],
        [f"pid {STRANGER - 1}", f"pid {STRANGER}"],
    ]


def test_processes_of_this_run_are_not_foreign_and_that_of_its_starter_is(stand_in: StandIn) -> None:
    code = """
import subprocess
child = subprocess.Popen(["sleep", "60"])
say({"0.processes": f"self:1,{child.pid}:5,{os.getppid()}:7"})
(device,) = plugin.devices()
child.kill()
child.wait()
answer([device.in_use_by, os.getppid()])
"""
    (user,), starter = stand_in.run(code, stand_in.machine(1))
    assert user.endswith(f"(pid {starter})")


def test_a_lost_card_does_not_hide_the_others(stand_in: StandIn) -> None:
    devices = stand_in.run(LIST, stand_in.machine(2, {"0.handle": "!15"}))
    assert names(devices) == ["cuda:1"]
    assert re.search("card 0 is left out: NVML says: GPU is lost", devices[0]["note"])


def test_the_only_card_being_lost_is_the_reason(stand_in: StandIn) -> None:
    assert re.search(
        "card 0 is left out: NVML says: GPU is lost",
        refused(stand_in, stand_in.machine(1, {"0.handle": "!15"})),
    )


def test_an_instance_is_a_device_of_its_own(stand_in: StandIn) -> None:
    devices = stand_in.run(LIST, stand_in.machine(1, stand_in.instances(0, 2)))
    assert names(devices) == ["cuda:0.0", "cuda:0.1"]
    assert devices[1]["environment"] == {"CUDA_VISIBLE_DEVICES": devices[1]["uuid"]}
    assert devices[1]["uuid"].startswith("MIG-01")
    assert devices[1]["title"] == "Fictive Card 80GB MIG 1g.10gb"
    assert devices[1]["memory_bytes"] == 10 * 2**30
    assert devices[1]["capabilities"]["mig"] is True
    assert devices[1]["capabilities"]["compute_capability"] == "9.0"


def test_a_split_card_without_an_instance_is_left_out(stand_in: StandIn) -> None:
    lines = stand_in.machine(2, stand_in.instances(0, 0))
    (device,) = stand_in.run(LIST, lines)
    assert device["name"] == "cuda:1"
    assert re.search(r"card 0 is left out: split \(MIG\), no instance", device["note"])
    assert re.search("nvidia-smi mig -cgi", refused(stand_in, {**lines, "count": 1}))


def test_cards_that_are_hidden_are_not_listed(stand_in: StandIn) -> None:
    devices = stand_in.run(LIST, stand_in.machine(4), CUDA_VISIBLE_DEVICES=f"3,{UUIDS[1]}")
    assert names(devices) == ["cuda:1", "cuda:3"]
    assert devices[1]["environment"] == {"CUDA_VISIBLE_DEVICES": UUIDS[3]}


@pytest.mark.parametrize("variable", ["", "-1", "7", "NoDevFiles", "MIG-1234", "GPU-" + "f" * 200])
def test_hiding_every_card_is_named(stand_in: StandIn, variable: str) -> None:
    text = refused(stand_in, stand_in.machine(2), CUDA_VISIBLE_DEVICES=variable)
    assert re.search("CUDA_VISIBLE_DEVICES hides every card", text)
    assert re.search("nvidia-smi -L lists the 2 here", text)


def test_indices_over_different_cards_are_read_in_bus_order_and_that_is_said(stand_in: StandIn) -> None:
    lines = stand_in.machine(2, {"1.name": "Other Card"})
    (device,) = stand_in.run(LIST, lines, CUDA_VISIBLE_DEVICES="1")
    assert re.search("read in nvidia-smi's order, and the cards differ", device["note"])
    (device,) = stand_in.run(LIST, lines, CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert device["note"] == ""


def test_listing_closes_what_it_opened(stand_in: StandIn) -> None:
    assert stand_in.run("plugin.devices(); plugin.devices(); answer(sessions())", stand_in.machine(1)) == 0


def test_importing_the_plugin_imports_nothing_of_nvidia_s(stand_in: StandIn) -> None:
    assert stand_in.run("answer('pynvml' in sys.modules)", stand_in.machine(1)) is False


def test_without_the_python_package_it_says_what_to_install(stand_in: StandIn) -> None:
    hide = "sys.modules['pynvml'] = None\n"
    answer = stand_in.run(hide + REFUSE, stand_in.machine(1))
    text = "\n".join(answer["lines"])
    assert re.search("the Python package nvidia-ml-py is missing", text)
    assert re.search("next: +pip install nvidia-ml-py", text)


@pytest.mark.parametrize(
    ("variable", "visible"),
    [
        (None, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("2", [2]),
        (" 5 , 1 ", [1, 5]),
        ("GPU-00000003", [3]),
        ("GPU-0000000", []),  # the beginning of every UUID
        ("1,8,2", [1]),
        ("1,,2", [1]),
        ("4,4", [4]),
        ("-1,0", []),
        ("", []),
    ],
)
def test_the_variable_means_what_it_means_to_cuda(variable: str | None, visible: list[int]) -> None:
    assert [place.index for place in only_visible(WHOLE, variable)] == visible


@given(order=st.permutations(range(8)), length=st.integers(0, 8))
def test_indices_and_uuids_select_the_same_cards(order: list[int], length: int) -> None:
    chosen = order[:length]
    by_index = only_visible(WHOLE, ",".join(map(str, chosen)))
    by_uuid = only_visible(WHOLE, ",".join(UUIDS[index] for index in chosen))
    assert by_index == by_uuid == [WHOLE[index] for index in sorted(chosen)]


@pytest.mark.parametrize(
    ("variable", "visible"),
    [
        (None, ["MIG-a1", "MIG-a2", "GPU-b"]),
        ("0", ["MIG-a1"]),
        ("MIG-a2", ["MIG-a2"]),
        ("MIG-a", []),
        ("1,MIG-a1", ["MIG-a1", "GPU-b"]),
    ],
)
def test_the_variable_names_instances_too(variable: str | None, visible: list[str]) -> None:
    places = [Place(0, "MIG-a1"), Place(0, "MIG-a2"), Place(1, "GPU-b")]
    assert [place.uuid for place in only_visible(places, variable)] == visible
