"""Requests become plans: which cells, what they are called, how long, and what goes on without the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fwprof import environment, planning, selection
from fwprof.choices import parse_framework, parse_model
from fwprof.errors import FwprofError, PluginNotFoundError, PluginUnavailableError, RequestError
from fwprof.records import Device, PluginRef, RunPlan, RunRequest
from fwprof.selection import FoundDevices
from fwprof.testing.installed import FAKES, FakeDistribution, installed

RIVAL = FakeDistribution(
    name="fwprof-rival", entry_points={"fwprof.frameworks": {"rival": "rival_plugin:plugin"}}
)
GONE = FakeDistribution(
    name="fwprof-gone",
    entry_points={"fwprof.frameworks": {"gone": "gone_plugin"}},
    extras={"framework": ("no-such-runtime>=2",)},
)


def devices_of(kind: str, *devices: Device) -> FoundDevices:
    reference = PluginRef(kind="device", name=kind, distribution=f"fwprof-{kind}", version="1.0", value=kind)
    return FoundDevices(plugin=reference, devices=devices)


FOUND: Mapping[str, FoundDevices | FwprofError] = {
    "cpu": devices_of("cpu", Device(name="cpu", kind="cpu", title="A processor")),
    "card": devices_of(
        "card",
        Device(name="card:0", uuid="ID-0", kind="card", exclusive=True),
        Device(name="card:1", uuid="ID-1", kind="card", exclusive=True),
    ),
    "none": PluginUnavailableError("no driver", cause="the library is not there"),
}


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path, FAKES, RIVAL, GONE):
        yield


def plan(*plugins: str, **fields: Any) -> RunPlan:
    fields.setdefault("workloads", ("mlp-small",))
    choices = tuple(parse_framework(each) for each in plugins or ("fake",))
    return planning.make_plan(RunRequest(plugins=choices, **fields), FOUND, "01RUN")


def ids(made: RunPlan) -> list[list[str]]:
    return [[cell.id for cell in group.cells] for group in made.groups]


def test_one_of_everything_is_one_cell_with_a_short_name() -> None:
    made = plan()
    (cell,) = made.cells()
    assert ids(made) == [["mlp-small.fake.cpu"]]
    assert (cell.framework.distribution, cell.device_plugin.name, cell.environment) == (
        "fwprof-fakes",
        "cpu",
        "fake",
    )
    assert cell.threads == environment.granted_cores()
    assert (made.run_id, made.is_isolated, made.unavailable) == ("01RUN", True, {})


def test_what_can_be_compared_stands_in_one_group() -> None:
    made = plan(
        "fake",
        "fake:graph",
        workloads=("mlp-small", "lenet"),
        batch_sizes=(8, 16),
        threads=(1, "all"),
        precisions=("float32", "bfloat16"),
    )
    assert [group.name for group in made.groups] == [
        f"{workload}.batch{size}.{precision}"
        for workload in ("mlp-small", "lenet")
        for precision in ("float32", "bfloat16")
        for size in (8, 16)
    ]
    assert ids(made)[0] == [
        f"mlp-small-batch8-float32.{choice}.cpu.threads{threads}"
        for choice in ("fake", "fake-graph")
        for threads in (1, "all")
    ]
    assert [cell.threads for cell in made.groups[0].cells[:2]] == [1, environment.granted_cores()]


def test_devices_of_one_workload_stand_in_one_group() -> None:
    made = plan(devices=("cpu", "card:1"), batch_sizes=(4,))
    assert ids(made) == [["mlp-small.fake.cpu", "mlp-small.fake.card-1"]]


def test_ids_are_names_that_any_file_system_takes() -> None:
    (cell,) = plan("fake:graph,slow=1.5,pid_file=/tmp/a b").cells()
    assert cell.id == "mlp-small.fake-graph-slow-1-5-pid_file-tmp-a-b.cpu"


def test_what_is_asked_for_twice_is_measured_once() -> None:
    assert ids(plan("fake", "fake", devices=("cpu", "cpu"))) == [["mlp-small.fake.cpu"]]


def test_cells_whose_names_would_be_the_same_are_numbered() -> None:
    assert ids(plan("fake:a.b", "fake:a-b")) == [["mlp-small.fake-a-b.cpu", "mlp-small.fake-a-b.cpu.2"]]


@pytest.mark.parametrize(
    ("frameworks", "settings", "presets"),
    [
        (("fake",), None, ["as-shipped"]),
        (("fake", "fake:graph"), None, ["as-shipped", "as-shipped"]),
        (("fake", "rival"), None, ["as-shipped", "equal"] * 2),
        (("fake", "rival"), "equal", ["equal", "equal"]),
        (("fake",), "both", ["as-shipped", "equal"]),
    ],
)
def test_both_presets_only_where_frameworks_are_compared(
    frameworks: tuple[str, ...], settings: Any, presets: list[str]
) -> None:
    made = plan(*frameworks, settings=settings)
    assert [cell.settings_preset for cell in made.cells()] == presets
    assert len({cell.id for cell in made.cells()}) == len(presets)


@pytest.mark.parametrize(
    ("fields", "sessions", "seconds", "least", "most"),
    [
        ({"budget": "quick"}, 1, 20.0, 10, None),
        ({}, 1, 90.0, 10, None),
        ({"budget": "thorough"}, 5, 90.0, 10, None),
        ({"budget": "thorough", "processes": 7}, 7, 90.0, 10, None),
        ({"rounds": 3, "max_seconds": 2.5}, 1, 2.5, 3, 3),
        ({"rounds": 40}, 1, 90.0, 10, 40),
    ],
)
def test_a_budget_is_sessions_seconds_and_rounds(
    fields: dict[str, Any], sessions: int, seconds: float, least: int, most: int | None
) -> None:
    schedule = plan(**fields).schedule
    assert (schedule.sessions, schedule.max_seconds) == (sessions, seconds)
    assert (schedule.min_rounds, schedule.max_rounds) == (least, most)


@pytest.mark.parametrize(
    ("frameworks", "fields", "has_replica"),
    [
        (("fake",), {}, False),
        (("fake", "fake:graph"), {}, True),
        (("fake",), {"processes": 2}, True),
    ],
)
def test_a_control_is_measured_where_something_is_compared(
    frameworks: tuple[str, ...], fields: dict[str, Any], has_replica: bool
) -> None:
    assert plan(*frameworks, **fields).schedule.replica is has_replica


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, "interleaved"),
        ({"devices": ("card",)}, "sequential"),
        ({"devices": ("cpu", "card")}, "sequential"),
        ({"devices": ("card",), "schedule": "interleaved"}, "interleaved"),
        ({"schedule": "sequential"}, "sequential"),
    ],
)
def test_one_device_for_one_worker_makes_the_schedule_sequential(fields: dict[str, Any], kind: str) -> None:
    assert plan(**fields, batch_sizes=(4,)).schedule.kind == kind


def test_what_is_unavailable_is_noted_and_the_rest_goes_on() -> None:
    made = plan("fake", "gone", "absent", devices=("cpu", "none"))
    assert ids(made) == [["mlp-small.fake.cpu"]]
    assert {name: reason.partition(":")[0] for name, reason in made.unavailable.items()} == {
        "gone": "the framework plugin 'gone' is installed, but cannot run here",
        "absent": "no framework plugin 'absent' is installed",
        "none": "no driver",
    }


def test_nothing_available_raises_the_first_reason() -> None:
    with pytest.raises(PluginNotFoundError, match="no framework plugin 'absent' is installed"):
        plan("absent", "gone")
    with pytest.raises(PluginUnavailableError, match="no driver"):
        plan(devices=("none",))


@pytest.mark.parametrize(
    ("asked", "name"), [("card", "card:0"), ("card:1", "card:1"), ("card:ID-1", "card:1"), ("cpu", "cpu")]
)
def test_a_device_is_chosen_by_plugin_name_or_uuid(asked: str, name: str) -> None:
    (cell,) = plan(devices=(asked,), batch_sizes=(4,)).cells()
    assert cell.device.name == name


def test_a_device_that_is_not_there_gets_the_ones_that_are() -> None:
    with pytest.raises(PluginUnavailableError, match="there is no device 'card:7'; did you mean") as caught:
        plan(devices=("card:7",))
    assert caught.value.cause.startswith("found: card:0")
    assert caught.value.next.startswith("fwprof devices")


def test_device_plugins_are_asked_once_each() -> None:
    asked = RunRequest(devices=("card:1", "cpu", "card:0"))
    assert selection.device_plugin_names(asked) == ("card", "cpu")


def workload_file(folder: Path, batch_size: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(
        "name: mine\ninput: {shape: [4]}\nlayers:\n  - {kind: dense, units: 3}\nclasses: 3\n"
        f"batch_size: {batch_size}\noptimizer: {{kind: sgd, learning_rate: 0.1}}\n",
        encoding="utf-8",
    )
    return str(path)


def test_the_batch_size_is_the_workloads_for_the_kind_of_device(tmp_path: Path) -> None:
    file = workload_file(tmp_path, "{default: 8, card: 64}")
    made = plan(workloads=(file,), devices=("cpu", "card:0"))
    assert [cell.batch_size for cell in made.cells()] == [8, 64]
    made = plan(workloads=(file,), devices=("cpu", "card:0"), batch_sizes=(5,))
    assert [cell.batch_size for cell in made.cells()] == [5, 5]


def test_a_workload_without_a_batch_size_for_a_device_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="workload mine has no batch size for cpu") as caught:
        plan(workloads=(workload_file(tmp_path, "{card: 64}"),))
    assert caught.value.cause == "it has one for card"
    assert "--batch-size" in caught.value.next


def models(*texts: str) -> dict[str, Any]:
    return {"workloads": (), "models": tuple(parse_model(text) for text in texts)}


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.py", "b.py", "My Net.py"):
        (tmp_path / name).write_text("def make(): ...\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_ones_own_model_is_measured_with_its_framework(own_files: Path) -> None:
    factory = f"{own_files}/My Net.py:make"
    made = planning.make_plan(RunRequest(**models(f"fake={factory}")), FOUND, "01RUN")
    (cell,) = made.cells()
    assert cell.id == "my-net.fake.cpu"
    assert cell.batch_size is None
    assert cell.workload.native is not None
    assert cell.workload.native.factory == factory
    assert planning.limits_keys(made) == {}


def test_a_file_that_is_not_there_is_said_before_anything_is_measured(own_files: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no file bb\.py") as caught:
        plan("fake", **models("fake=bb.py:make"))
    assert caught.value.next == "did you mean 'b.py'?"


def test_models_for_several_frameworks_meet_only_their_own(own_files: Path) -> None:
    made = plan("fake", "rival", settings="equal", **models("fake=a.py:make", "rival=b.py:make"))
    assert [group.name for group in made.groups] == ["own-models"]
    assert ids(made) == [["a.fake.cpu", "b.rival.cpu"]]


def test_one_model_under_several_frameworks_names_its_group(own_files: Path) -> None:
    made = plan("fake", "fake:graph", **models("a.py:make"))
    assert [group.name for group in made.groups] == ["a"]


@pytest.mark.parametrize(
    ("factories", "names"),
    [
        (("a.py:old", "a.py:new"), ["a.old", "a.new"]),
        (("a.py:make", "b.py:make"), ["a", "b"]),
        (("a.py:make", "other/a.py:make"), ["{folder}.a.make", "other.a.make"]),
    ],
)
def test_models_are_called_by_what_tells_them_apart(
    own_files: Path, factories: tuple[str, ...], names: list[str]
) -> None:
    (own_files / "other").mkdir()
    (own_files / "other" / "a.py").write_text("", encoding="utf-8")
    made = plan("fake", **models(*factories))
    folder = re.sub(r"[^a-z0-9_.-]+", "-", own_files.name.lower())
    assert [cell.workload.name for cell in made.cells()] == [name.format(folder=folder) for name in names]
    assert len(made.groups) == 1


def test_a_model_for_a_framework_that_was_not_chosen_leaves_nothing(own_files: Path) -> None:
    with pytest.raises(RequestError, match="the request names no cell to measure") as caught:
        plan("fake", **models("rival=a.py:make"))
    assert "--model FRAMEWORK=" in caught.value.next


def test_a_batch_size_does_not_apply_to_ones_own_model(own_files: Path) -> None:
    with pytest.raises(RequestError, match="--batch-size does not apply to your own model") as caught:
        plan("fake", batch_sizes=(4,), **models("fake=a.py:make"))
    assert "--set model.NAME=value" in caught.value.next


def test_without_a_choice_and_with_several_frameworks_the_user_chooses() -> None:
    with pytest.raises(RequestError, match="no framework was chosen") as caught:
        planning.make_plan(RunRequest(workloads=("mlp-small",)), FOUND, "01RUN")
    assert "fake" in caught.value.cause
    assert "rival" in caught.value.cause
    assert "gone" not in caught.value.cause
    assert caught.value.next.startswith("add --plugin ")


def test_an_environment_that_is_not_known_is_refused() -> None:
    with pytest.raises(RequestError, match="there is no environment 'oldd'") as caught:
        plan("fake@oldd", environments={"old": "python3"})
    assert caught.value.cause == "fake@oldd names it; known are old"
    assert caught.value.next == "did you mean '@old'?"
    with pytest.raises(RequestError, match="there is no environment 'old'") as caught:
        plan("fake@old")
    assert caught.value.next == "add --python old=INTERPRETER"


def test_an_environment_that_no_cell_uses_is_refused() -> None:
    with pytest.raises(
        RequestError, match="no cell runs in environment 'fak'; did you mean 'fake'"
    ) as caught:
        plan("fake", environments={"fak": "python3"})
    assert caught.value.cause == "--python fak=… names it; chosen are fake"


def test_an_environment_that_cannot_be_used_leaves_the_other_cells() -> None:
    request = RunRequest(
        workloads=("mlp-small",),
        plugins=(parse_framework("fake"), parse_framework("fake@old")),
        environments={"old": "python3"},
    )
    broken = PluginUnavailableError("environment 'old' has no fwprof", cause="it says so")
    made = planning.make_plan(request, FOUND, "01RUN", {"old": broken})
    assert ids(made) == [["mlp-small.fake.cpu"]]
    assert made.unavailable == {"fake@old": "environment 'old' has no fwprof: it says so"}


def test_a_meter_asked_for_twice_is_one_meter() -> None:
    (cell,) = plan(meters=("fakemeter", "fakemeter")).cells()
    assert [meter.name for meter in cell.meter_plugins] == ["fakemeter"]


def test_a_meter_that_is_not_installed_ends_the_request() -> None:
    with pytest.raises(PluginNotFoundError, match="no meter plugin 'fakemetre' is installed; did you mean"):
        plan(meters=("fakemetre",))


def test_limits_of_stages_stand_beside_the_defaults() -> None:
    limits = plan(limits={"block": 1.5}).limits
    assert (limits["block"], limits["build"]) == (1.5, planning.LIMITS["build"])


def test_weights_are_kept_of_what_is_trained_only() -> None:
    with pytest.raises(RequestError, match="there are no trained weights to save"):
        planning.make_plan(RunRequest(workloads=("mlp-small",), save_weights=True), {}, "01RUN")


def test_two_workloads_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mlp-small\ninput: {shape: [4]}\nlayers: [{kind: dense, units: 2}]\nclasses: 2\n"
        "optimizer: {kind: sgd, learning_rate: 0.1}\n"
    )
    with pytest.raises(RequestError, match="two workloads are named 'mlp-small'") as caught:
        plan(workloads=("mlp-small", str(tmp_path / "mine.yaml")))
    assert caught.value.cause == f"mlp-small and {tmp_path / 'mine.yaml'}"


def test_a_workload_named_twice_is_measured_once() -> None:
    assert ids(plan(workloads=("mlp-small", "mlp-small"))) == [["mlp-small.fake.cpu"]]
