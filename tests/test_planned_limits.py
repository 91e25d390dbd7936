"""What cells are held against: which limits a plan needs, and what its steps move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fwprof import planning
from fwprof.choices import parse_framework
from fwprof.records import Device, PluginRef, RunPlan, RunRequest
from fwprof.selection import FoundDevices
from fwprof.testing.installed import FAKES, FakeDistribution, installed

RIVAL = FakeDistribution(
    name="fwprof-rival", entry_points={"fwprof.frameworks": {"rival": "rival_plugin:plugin"}}
)
CPU = PluginRef(kind="device", name="cpu", distribution="fwprof-cpu", version="1", value="cpu")
FOUND = {"cpu": FoundDevices(plugin=CPU, devices=(Device(name="cpu", kind="cpu"),))}


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path, FAKES, RIVAL):
        yield


def plan(*plugins: str, **fields: Any) -> RunPlan:
    choices = tuple(map(parse_framework, plugins))
    return planning.make_plan(RunRequest(plugins=choices, workloads=("mlp-small",), **fields), FOUND, "01RUN")


def test_the_machines_limits_are_measured_once_a_framework_and_kind_of_cell() -> None:
    made = plan("fake", "fake:graph", "rival", threads=(1, 2), settings="equal")
    keys = planning.limits_keys(made)
    assert {key: [cell.framework.name for cell in cells] for key, cells in keys.items()} == {
        "cpu/1/float32/equal": ["fake", "rival"],
        "cpu/2/float32/equal": ["fake", "rival"],
    }


def test_presets_precisions_and_environments_are_held_against_limits_of_their_own() -> None:
    made = plan("fake", precisions=("float32", "bfloat16"), settings="both", threads=(1,))
    assert list(planning.limits_keys(made)) == [
        "cpu/1/float32",
        "cpu/1/float32/equal",
        "cpu/1/bfloat16",
        "cpu/1/bfloat16/equal",
    ]
    first = made.groups[0].cells[0]
    elsewhere = msgspec.structs.replace(first, id="other", environment="other")
    group = msgspec.structs.replace(made.groups[0], cells=(first, elsewhere))
    keys = planning.limits_keys(msgspec.structs.replace(made, groups=(group,)))
    assert {key: [cell.environment for cell in cells] for key, cells in keys.items()} == {
        "cpu/1/float32": [first.environment, "other"]
    }


def test_bytes_are_counted_in_the_precision_of_the_cell() -> None:
    made = plan("fake", precisions=("float32", "bfloat16"))
    whole, half = (cells[0].workload for cells in (group.cells for group in made.groups))
    assert whole.flops == half.flops
    # 64 and 10 outputs of each of 64 samples are written and read in 2 bytes instead of 4.
    assert whole.traffic_bytes - half.traffic_bytes == 2 * 2 * 64 * (64 + 10)
