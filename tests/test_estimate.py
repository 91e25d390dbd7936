"""What a plan takes is counted worker by worker; what was taken over costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fwprof import planning
from fwprof.choices import parse_framework
from fwprof.estimate import Cost, estimate, estimate_seconds
from fwprof.records import Device, Measured, MeasuredSession, PluginRef, RunPlan, RunRequest
from fwprof.selection import FoundDevices
from fwprof.testing.installed import FAKES, FakeDistribution, installed

RIVAL = FakeDistribution(
    name="fwprof-rival", entry_points={"fwprof.frameworks": {"rival": "rival_plugin:plugin"}}
)


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path, FAKES, RIVAL):
        yield


def plan(*plugins: str, **fields: Any) -> RunPlan:
    fields = {"workloads": ("mlp-small",), "devices": ("cpu",), "threads": (1,), "max_seconds": 20.0} | fields
    request = RunRequest(plugins=tuple(map(parse_framework, plugins or ("fake",))), **fields)
    found = {}
    for name in ("cpu", "card"):
        plugin = PluginRef(kind="device", name=name, distribution=name, version="1", value=name)
        device = Device(name=name, kind=name, exclusive=name == "card")
        found[name] = FoundDevices(plugin=plugin, devices=(device,))
    return planning.make_plan(request, found, "01RUN")


def test_one_cell_is_one_worker_of_each_kind() -> None:
    costs = estimate(plan())
    assert costs == {
        "timing": Cost(workers=1, seconds=6 + 2 + 20),
        "memory": Cost(workers=1, seconds=6 + 2),
        "machine's limits": Cost(workers=1, seconds=6 + 4),
    }
    assert estimate_seconds(plan()) == sum(cost.seconds for cost in costs.values())


def test_untimed_workers_live_two_at_a_time() -> None:
    costs = estimate(plan("fake", "fake:graph"))
    assert costs["verifying"].workers == 4
    assert costs["verifying"].seconds == pytest.approx(2 * 6, rel=0.01)
    assert costs["timing"] == Cost(workers=3, seconds=3 * (6 + 2) + 20)
    assert costs["memory"] == Cost(workers=2, seconds=6 + 2)


def test_on_a_device_for_one_worker_they_live_alone() -> None:
    costs = estimate(plan("fake", "fake:graph", devices=("card",), batch_sizes=(8,)))
    assert costs["verifying"].workers == 4
    assert costs["verifying"].seconds == pytest.approx(4 * 6, rel=0.01)
    assert costs["timing"] == Cost(workers=6, seconds=3 * (2 * 6 + 2) + 20)
    # Its counters are read, one worker after the other.
    assert costs["memory"] == Cost(workers=2, seconds=2 * (6 + 2 + 8))


def test_verifying_a_large_model_takes_what_its_arithmetic_takes() -> None:
    """resnet50 took 11 min 44 s for six variants, which are six turns of two workers."""
    (turns, seconds), (_, small) = (
        (cost.workers / 2, cost.seconds)
        for name in ("resnet50", "mlp")
        for cost in [estimate(plan("fake", "fake:graph", workloads=(name,)))["verifying"]]
    )
    assert 30 < seconds / turns < 300
    assert seconds > 10 * small


def test_presets_share_the_worker_that_computes_in_float64() -> None:
    assert estimate(plan("fake", "rival"))["verifying"].workers == 2 + 4


def test_every_group_and_session_has_its_own_workers_and_control() -> None:
    costs = estimate(plan("fake", "fake:graph", workloads=("mlp-small", "mlp"), processes=5))
    assert costs["timing"] == Cost(workers=2 * 5 * 3, seconds=2 * 5 * (3 * 8 + 20))


def test_the_machines_limits_are_measured_by_each_framework() -> None:
    assert estimate(plan("fake", "rival", settings="equal"))["machine's limits"].workers == 2
    assert "machine's limits" not in estimate(plan(machine_limits=False))


def test_training_grows_with_epochs_samples_and_arithmetic() -> None:
    assert "training" not in estimate(plan())
    one, ten = (estimate(plan(epochs=epochs))["training"].seconds for epochs in (1, 10))
    (cell,) = plan(epochs=1).cells()
    assert cell.workload.flops is not None
    assert cell.workload.data_size is not None
    steps = ceil(cell.workload.data_size / (cell.batch_size or 0))
    assert one == pytest.approx(6 + steps * (0.004 + 4 / 3 * cell.workload.flops / 1e10))
    assert ten - 6 == pytest.approx(10 * (one - 6))


def test_every_seed_trains_in_a_process_of_its_own() -> None:
    one, three = (estimate(plan(epochs=2, training_seeds=seeds))["training"] for seeds in (1, 3))
    assert (three.workers, three.seconds) == (3, pytest.approx(3 * one.seconds))


def test_a_run_that_only_verifies_times_nothing() -> None:
    assert set(estimate(plan("fake", "fake:graph", equivalence="only"))) == {"verifying"}
    assert "verifying" not in estimate(plan("fake", "fake:graph", equivalence="skip"))


def test_what_was_taken_over_costs_nothing() -> None:
    whole = plan("fake", "fake:graph", workloads=("mlp-small", "mlp"), processes=2, epochs=1)
    first = [cell.id for cell in whole.groups[0].cells]
    done = MeasuredSession(group="mlp-small", session=0, run="01A", finished="2026-01-01T00:00:00+00:00")
    measured = Measured(
        run="01A",
        sessions=(done,),
        verified=frozenset({"mlp-small"}),
        failed=frozenset(first[:1]),
        passes={first[1]: frozenset({"memory", "memory.1"})},
        limits=frozenset(planning.limits_keys(whole)),
    )
    before, after = estimate(whole), estimate(whole, measured)
    assert after["verifying"].workers == 4
    assert after["verifying"].seconds == pytest.approx(12, rel=0.01)
    assert after["timing"].seconds == before["timing"].seconds * 3 / 4
    assert (before["memory"].workers, after["memory"].workers) == (8, 4)
    assert (before["training"].workers, after["training"].workers) == (4, 3)
    assert "machine's limits" not in after
    everything = msgspec.structs.replace(
        measured,
        sessions=tuple(
            msgspec.structs.replace(done, group=group.name, session=number)
            for group in whole.groups
            for number in range(2)
        ),
        verified=frozenset({"mlp-small", "mlp"}),
        passes={cell.id: frozenset({"memory", "memory.1", "training"}) for cell in whole.cells()},
    )
    assert estimate_seconds(whole, everything) == 0
