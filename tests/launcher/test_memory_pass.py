"""Memory is measured in one fresh process a session, and recommended by."""

from __future__ import annotations

from pathlib import Path

import pytest

import fwprof
from fwprof import host
from fwprof.events import StageEntered
from fwprof.testing.installed import installed

SMALL, LARGE = "fake", "fake,hold_bytes=60000000"
FIRST = 150_000_000


def test_a_cell_that_holds_more_memory_is_not_the_one_for_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FWPROF_STATE", str(tmp_path / "state"))
    entered: list[tuple[str, str]] = []
    with installed(tmp_path / "installed"):
        result = fwprof.profile(
            workloads=("mlp-small",),
            plugins=(SMALL, LARGE),
            devices=("fakecard:0",),
            schedule="interleaved",
            processes=5,
            rounds=2,
            max_seconds=0.5,
            machine_limits=False,
            observer=lambda event: (
                entered.append((event.cell, event.stage)) if isinstance(event, StageEntered) else None
            ),
        )
    for cell in result.cells:
        assert cell.fate == "ok", cell.failure
        assert len(cell.further_readings) == 4
        # Energy is a mean over seconds of steps: one process reads it.
        assert entered.count((cell.id, "memory")) == 5
        assert entered.count((cell.id, "energy")) == 1
    summary = fwprof.summarize(result)
    found = {one.scenario: one for one in summary.recommendations}
    assert found["resource-limited"].choice == (result.cells[0].id,)
    (judged,) = [one for one in summary.comparisons if one.metric == "host_peak"]
    assert judged.verdict == "slower"
    assert {cell.metrics["host_peak"].count for cell in summary.cells} == {5}
    # Two rounds are too few for quartiles, and nothing is said of what was not measured.
    assert "steadiest" not in found


@pytest.mark.skipif(not host.forget_peak(), reason="this kernel does not forget a peak")
def test_memory_that_only_the_first_step_takes_is_in_its_peak_and_not_in_the_steady_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FWPROF_STATE", str(tmp_path / "state"))
    with installed(tmp_path / "installed"):
        result = fwprof.profile(
            workloads=("mlp-small",),
            plugins=(f"fake,first_step_bytes={FIRST}",),
            rounds=2,
            max_seconds=0.5,
            machine_limits=False,
        )
    (cell,) = result.cells
    assert cell.fate == "ok", cell.failure
    first, steady, whole = (
        cell.readings[name].value or 0 for name in ("host_first_step_peak", "host_steady_peak", "host_peak")
    )
    assert first >= FIRST
    assert steady < first - FIRST / 2
    assert whole >= first
    (summed,) = fwprof.summarize(result).cells
    size = (784 * 64 + 64 + 64 * 10 + 10) * 4
    found = {name: metric.value for name, metric in summed.metrics.items() if name.endswith("_memory")}
    assert found == {
        "device_process_memory": None,
        "parameter_memory": size,
        "gradient_memory": size,
        "optimizer_memory": 2 * size,
        "activation_memory": None,
    }
    assert summed.metrics["activation_memory"].reason == "NumPy keeps no count of what a pass holds"
    assert summed.metrics["parameter_memory"].basis == "NumPy arrays"
