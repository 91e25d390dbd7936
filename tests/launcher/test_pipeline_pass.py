"""The pipeline pass of whole runs: when it runs, what is stored, and what a fault leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fwprof
from fwprof import api, estimate
from fwprof.choices import parse_model
from fwprof.errors import RequestError
from fwprof.records import RunPlan, RunResult
from fwprof.testing.installed import installed
from fwprof.workloads.pipelines import PIPELINE_SECONDS, has_pipeline


@pytest.fixture(autouse=True)
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    with installed(tmp_path / "installed"):
        yield


def run(plugin: str = "fake", **fields: Any) -> RunResult:
    request = {
        "workloads": ("mlp-small",),
        "plugins": (plugin,),
        "devices": ("fakecard:0",),
        "rounds": 1,
        "max_seconds": 0.5,
        "memory": False,
        "equivalence": "skip",
        "machine_limits": False,
        "overrides": {"data.samples": 200},
        "batch_sizes": (64,),
        **fields,
    }
    return fwprof.profile(**request)


def test_loops_are_stored_and_told(tmp_path: Path) -> None:
    (cell,) = run(workers=2).cells
    assert cell.fate == "ok"
    assert cell.pipeline is not None
    assert (cell.pipeline.sample_count, cell.pipeline.epoch_steps) == (200, 3)
    assert cell.pipeline.loops[0].staged_ns is None
    assert [loop.number for loop in cell.pipeline.loops] == list(range(len(cell.pipeline.loops)))
    assert len(cell.pipeline.loops) >= 4
    assert cell.readings["pipeline_peak"].value > 0
    stored = api.load("last")
    assert stored.plan.cells()[0].workload.spec is not None
    assert stored.plan.cells()[0].workload.spec.pipeline.workers == 2
    (summary,) = api.summarize(stored).cells
    # The timed programs had their batches staged, as always.
    assert summary.data_pipeline == "staged"
    assert summary.pipeline == cell.pipeline
    assert summary.metrics["data_stall"].count == len(cell.pipeline.loops) - 1


def test_nobody_loops_who_was_not_asked_to(tmp_path: Path) -> None:
    (cell,) = run().cells
    assert cell.pipeline is None
    assert not list(tmp_path.glob("fwprof-runs/*/cells/*/pipeline.jsonl"))


@pytest.mark.parametrize(
    ("plugin", "fields", "fate", "message"),
    [
        ("fake,fault=few_batches", {}, "failed", "the data pipeline ended after 1 of 3 batches, in loop "),
        ("fake,fault=kill,stage=pipeline", {}, "killed", "the worker was killed by SIGKILL"),
        (
            "fake,fault=hang,stage=pipeline",
            {"limits": {"pipeline": 1.0}},
            "timeout",
            "stage pipeline took longer than its limit of 1 s",
        ),
    ],
)
def test_a_fault_ends_the_pass_and_keeps_the_rest(
    plugin: str, fields: dict[str, Any], fate: str, message: str
) -> None:
    (cell,) = run(plugin, pipeline=True, **fields).cells
    assert cell.fate == fate
    assert cell.failure is not None
    assert cell.failure.stage == "pipeline"
    assert message in cell.failure.message
    assert cell.measurements[0].fate == "ok"
    assert cell.measurements[0].blocks
    assert cell.pipeline is not None
    assert "incomplete" in cell.labels


def test_inside_the_callers_process_there_are_loops_and_no_memory() -> None:
    (cell,) = run(pipeline=True, isolate=False).cells
    assert cell.pipeline is not None
    assert cell.pipeline.loops
    assert "caller's process" in cell.readings["pipeline_peak"].reason


def planned(**fields: Any) -> RunPlan:
    return api.make_plan(
        **{"workloads": ("mlp-small",), "plugins": ("fake",), "devices": ("fakecard:0",), **fields}
    )


def test_the_pass_is_asked_for_by_a_flag_or_by_workers() -> None:
    for fields, is_fed, workers in (({}, False, 0), ({"pipeline": True}, True, 0), ({"workers": 3}, True, 3)):
        made = planned(**fields)
        (cell,) = made.cells()
        assert has_pipeline(made, cell) is is_fed
        assert cell.workload.spec is not None
        assert cell.workload.spec.pipeline.workers == workers
        assert cell.data_pipeline == "staged"
    longer = estimate.estimate_seconds(planned(pipeline=True)) - estimate.estimate_seconds(planned())
    assert longer == estimate.START_SECONDS + PIPELINE_SECONDS


def test_batches_that_change_their_length_have_no_such_pass() -> None:
    made = planned(workloads=("dynamic",), pipeline=True)
    assert not has_pipeline(made, made.cells()[0])


def test_a_model_of_the_users_own_has_no_data_set_to_loop_over() -> None:
    models = (parse_model("net:make"),)
    with pytest.raises(RequestError, match="--pipeline does not apply to your own model"):
        planned(workloads=(), models=models, workers=2)
