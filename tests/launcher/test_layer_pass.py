"""The layer pass of whole runs: when it runs, what is stored and told, and what a fault leaves."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fwprof
from fwprof import api, estimate
from fwprof.choices import parse_model
from fwprof.codec import encode
from fwprof.errors import RequestError
from fwprof.exporters import csv as csv_exporter
from fwprof.records import RunPlan, RunResult
from fwprof.report.layout import to_text
from fwprof.report.sections import report
from fwprof.testing.installed import installed
from fwprof.workloads.layer_analysis import LAYER_SECONDS, has_layer_pass


@pytest.fixture(autouse=True)
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fwprof.launcher.layers.LAYER_SECONDS", 0.05)
    with installed(tmp_path / "installed"):
        yield


def run(*plugins: str, **fields: Any) -> RunResult:
    request = {
        "workloads": ("mlp-small",),
        "plugins": plugins or ("fake",),
        "devices": ("fakecard:0",),
        "rounds": 1,
        "max_seconds": 0.5,
        "memory": False,
        "equivalence": "skip",
        "machine_limits": False,
        "batch_sizes": (16,),
        **fields,
    }
    return fwprof.profile(**request)


def test_layers_are_stored_summed_told_and_exported(tmp_path: Path) -> None:
    result = run(layers=True)
    (cell,) = result.cells
    assert cell.fate == "ok"
    assert cell.layers is not None
    assert {block.layer for block in cell.layers.blocks} == {"0", "1", None}
    assert api.load("last").cells == result.cells
    (summary,) = api.summarize(result).cells
    table = summary.layers
    assert table is not None
    assert [row.kind for row in table.rows] == ["dense", "dense"]
    assert sum(row.flops for row in table.rows) == result.plan.cells()[0].workload.flops
    first = table.rows[0]
    assert first.forward.p50
    assert first.forward_backward.p50
    assert first.forward.count == len({block.round for block in cell.layers.blocks})
    assert table.sum_forward_backward.p50 == sum(row.forward_backward.p50 or 0 for row in table.rows)
    assert table.alone_over_inside == (
        table.sum_forward_backward.p50 / (table.whole_forward_backward.p50 or 0)
    )
    printed = msgspec.json.decode(encode(api.summarize(result)))
    assert printed["cells"][0]["layers"]["rows"][0]["output_shape"] == [64]
    text = to_text(report(result, api.summarize(result)), 140)
    assert "layers of mlp-small, batch 16" in text
    assert "alone / inside" in text
    csv_exporter.export(result, tmp_path / "out")
    with (tmp_path / "out" / "layers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 + 2
    assert [row["layer"] for row in rows[:3]] == ["0"] * 3
    assert float(rows[0]["value"]) == first.forward.p50
    assert rows[-1]["layer"] == ""
    assert float(rows[-1]["value"]) == table.whole_forward_backward.p50


def test_nobody_times_layers_who_was_not_asked_to(tmp_path: Path) -> None:
    (cell,) = run().cells
    assert cell.layers is None
    assert api.summarize(api.load("last")).cells[0].layers is None
    assert not list(tmp_path.glob("fwprof-runs/*/cells/*/layers.jsonl"))


def test_a_layer_that_raises_leaves_the_cell_ok_and_says_why() -> None:
    result = run("fake,fault=refuse_layer", layers=True)
    (cell,) = result.cells
    assert cell.fate == "ok"
    assert cell.layers is not None
    assert cell.layers.refused == {"0": "the fault that was asked for"}
    (summary,) = api.summarize(result).cells
    assert summary.layers is not None
    first, second = summary.layers.rows
    assert first.forward.p50 is None
    assert first.forward.reason == "the fault that was asked for"
    assert second.forward_backward.p50
    assert summary.layers.sum_forward_backward.p50 is None
    assert summary.layers.alone_over_inside is None
    text = to_text(report(result, api.summarize(result)), 140)
    assert "layer 0: the fault that was asked for" in text


@pytest.mark.parametrize(
    ("plugin", "fields", "fate", "message"),
    [
        ("fake,fault=kill,stage=layers", {}, "killed", "the worker was killed by SIGKILL"),
        (
            "fake,fault=hang,stage=layers",
            {"limits": {"layers": 1.0}},
            "timeout",
            "stage layers took longer than its limit of 1 s",
        ),
    ],
)
def test_a_fault_ends_the_pass_and_keeps_the_rest(
    plugin: str, fields: dict[str, Any], fate: str, message: str
) -> None:
    (cell,) = run(plugin, layers=True, **fields).cells
    assert cell.fate == fate
    assert cell.failure is not None
    assert cell.failure.stage == "layers"
    assert message in cell.failure.message
    assert cell.measurements[0].blocks


def test_layers_are_timed_inside_the_callers_process_too() -> None:
    (cell,) = run(layers=True, isolate=False).cells
    assert cell.layers is not None
    assert cell.layers.blocks


def planned(**fields: Any) -> RunPlan:
    return api.make_plan(
        **{"workloads": ("mlp-small",), "plugins": ("fake",), "devices": ("fakecard:0",), **fields}
    )


def test_the_pass_is_planned_and_estimated() -> None:
    made = planned(layers=True)
    assert has_layer_pass(made, made.cells()[0])
    longer = estimate.estimate_seconds(made) - estimate.estimate_seconds(planned())
    assert longer == estimate.START_SECONDS + LAYER_SECONDS


def test_layers_of_batches_that_change_their_length_have_no_shape() -> None:
    made = planned(workloads=("dynamic",), layers=True)
    assert not has_layer_pass(made, made.cells()[0])


def test_a_model_of_the_users_own_has_no_layers_by_name() -> None:
    with pytest.raises(RequestError, match="--layers does not apply to your own model"):
        planned(workloads=(), models=(parse_model("net:make"),), layers=True)
