"""What `data` and `data_sizes` of a request become: groups of a plan, figures of a run, or an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fwprof
from fwprof import api
from fwprof.errors import RequestError, StoreError
from fwprof.records import DataChoice, RunPlan, RunRequest
from fwprof.testing.data_files import write_mnist
from fwprof.testing.installed import installed

MINE = "mnist:mine"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    write_mnist(tmp_path / "mine", train=90, validation=30)
    with installed(tmp_path / "installed"):
        yield tmp_path


def plan(**fields: Any) -> RunPlan:
    return api.make_plan(
        **{"workloads": ("mlp-small",), "plugins": ("fake",), "devices": ("fakecard:0",), **fields}
    )


def ids(made: RunPlan) -> list[list[str]]:
    return [[cell.id for cell in group.cells] for group in made.groups]


def test_every_number_of_samples_is_a_group_of_its_own() -> None:
    made = plan(plugins=("fake", "fake:graph"), data=MINE, data_sizes=(8, 20), batch_sizes=(4, 8))
    assert [group.name for group in made.groups] == [
        f"mlp-small.batch{batch}.data{size}" for batch in (4, 8) for size in (8, 20)
    ]
    first = "mlp-small-batch4-data8"
    assert ids(made)[0] == [f"{first}.fake.fakecard-0", f"{first}.fake-graph.fakecard-0"]
    workloads = [group.cells[0].workload for group in made.groups]
    assert [workload.data_size for workload in workloads] == [8, 20, 8, 20]
    assert [workload.spec.data.samples for workload in workloads if workload.spec] == [8, 20, 8, 20]


def test_one_number_of_samples_changes_no_name() -> None:
    made = plan(data_sizes=(100,), batch_sizes=(4,))
    assert ids(made) == [["mlp-small.fake.fakecard-0"]]
    assert made.cells()[0].workload.data_size == 100


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"data": MINE, "batch_sizes": (4,)}, 90),
        ({}, 4096),
        ({"workloads": ("digits-mlp",)}, 1438),
        ({"batch_sizes": (5000,)}, 5000),  # made data grow to the batch
    ],
)
def test_the_plan_says_how_many_samples_train_where_nobody_asked(fields: Any, size: int) -> None:
    assert plan(**fields).cells()[0].workload.data_size == size


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"data": "mnits:mine"}, "there is no data set 'mnits'"),
        ({"data": "digits"}, "workload mlp-small does not fit the data set digits"),
        ({"data_sizes": (8,), "batch_sizes": (9,)}, "a batch of 9 is larger than the data set synthetic"),
        ({"data": MINE, "data_sizes": (91,)}, "the data set mnist has 90 training samples, not 91"),
        ({"data": MINE, "batch_sizes": (91,)}, r"larger than the data set mnist \(90 samples\)"),
    ],
)
def test_data_that_cannot_serve_are_refused_before_anything_runs(fields: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        plan(**fields)


def test_damaged_data_are_refused_before_anything_runs(folder: Path) -> None:
    (folder / "mine" / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01")
    with pytest.raises(StoreError, match="train-labels-idx1-ubyte is cut off or damaged"):
        fwprof.profile(RunRequest(workloads=("mlp-small",), data=DataChoice(source="mnist", folder="mine")))
    assert not (folder / "fwprof-runs").exists()


@pytest.mark.parametrize(
    ("fields", "option"), [({"data": "digits"}, "--data"), ({"data_sizes": (64,)}, "--data-size")]
)
def test_data_do_not_apply_to_ones_own_model(folder: Path, fields: Any, option: str) -> None:
    (folder / "net.py").touch()
    with pytest.raises(RequestError, match=f"{option} does not apply to your own model") as caught:
        plan(workloads=(), models=("net.py:make",), **fields)
    assert "--set model.NAME=value" in caught.value.next


def short(**fields: Any) -> dict[str, Any]:
    """One cell of the fake framework, as little of it as can be measured."""
    short = {
        "rounds": 2,
        "max_seconds": 0.5,
        "memory": False,
        "devices": ("fakecard:0",),
        "plugins": ("fake",),
    }
    return {"workloads": ("mlp-small",), **short, **fields}


def test_ones_own_data_are_trained_on_and_named() -> None:
    result = fwprof.profile(**short(data=MINE, data_sizes=(64,), batch_sizes=(8,), epochs=2))
    (cell,) = api.summarize(result).cells
    assert (cell.fate, cell.data, cell.data_size, result.cells[0].labels) == ("ok", "mnist", 64, ())
    assert [point.split for point in cell.training] == ["train", "validation"] * 2
    assert result.plan.request.data == DataChoice(source="mnist", folder="mine")


def test_made_data_are_named_too_and_labelled() -> None:
    result = fwprof.profile(**short())
    (cell,) = api.summarize(result).cells
    assert (cell.data, cell.data_size, result.cells[0].labels) == ("synthetic", 4096, ("synthetic_data",))
