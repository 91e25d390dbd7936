"""`fwprof check`: one line a check, and whatever a plugin does to its process is a failed check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwprof import api
from fwprof.cli.main import run
from fwprof.errors import ExitCode, PluginNotFoundError, RequestError
from fwprof.records import CheckOutcome
from fwprof.testing.installed import FAKES, FakeDistribution, installed

DEADLY = """
import ctypes
import os
import time

from fwprof.plugin import hookimpl
from fwprof.testing.fake_framework import FakeFramework


class Deadly(FakeFramework):
    @hookimpl
    def peak_kernels(self):
        ctypes.string_at(0)

    @hookimpl
    def is_out_of_memory(self, error):
        print("cannot tell")
        os._exit(3)

    @hookimpl
    def measure(self, model):
        time.sleep(3600)


plugin = Deadly()
"""
LAZY = """
from fwprof.plugin import hookimpl


@hookimpl
def export(result, destination):
    return []
"""
BROKEN = FakeDistribution(
    name="fwprof-broken",
    entry_points={
        "fwprof.frameworks": {"deadly": "broken_deadly:plugin", "lost": "broken_lost", "twin": "broken_lost"},
        "fwprof.exporters": {"lazy": "broken_lazy", "twin": "broken_lazy"},
    },
    modules={"broken_deadly": DEADLY, "broken_lazy": LAZY, "broken_lost": "import nowhere_to_be_found\n"},
)


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path / "site", FAKES, BROKEN):
        yield


@pytest.mark.parametrize("name", ["fake", "fakecard", "fakemeter", "fakelines", "csv", "cpu"])
def test_an_honest_plugin_of_any_kind_passes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", name]) == ExitCode.DONE
    *lines, empty, summary = capsys.readouterr().out.splitlines()
    assert lines[0] == "passed          hooks keep the contract"
    assert not any(line.startswith("failed") for line in lines)
    assert empty == ""
    assert f" {name} (fwprof" in summary
    assert " 0 failed, " in summary


def test_a_check_that_fails_says_why_and_what_was_expected(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "lazy"]) == ExitCode.GATE_SAID_NO
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("failed          written paths exist")
    assert [line.strip() for line in lines[place + 1 : place + 3]] == [
        "export returned no path",
        "expected: export returns the paths it wrote, at least one, and they are there.",
    ]


def test_a_check_that_ends_or_holds_its_process_is_named_and_the_others_go_on() -> None:
    found = api.check("deadly", limit_seconds=5)
    outcomes = {one.check: one for one in found.outcomes}
    assert outcomes["peak_kernels_run"].verdict == "error"
    assert outcomes["peak_kernels_run"].message.startswith("its process was killed by SIGSEGV: File ")
    assert outcomes["out_of_memory_is_told_apart"].message == (
        "its process left by itself with exit status 3: cannot tell"
    )
    assert outcomes["meters_read_honestly"].message == "it took longer than 5 s, and was ended"
    assert outcomes["step_updates_as_the_optimizer_says"].verdict == "passed"
    assert found.plugin.distribution == "fwprof-broken"
    assert len(outcomes) == len(found.outcomes)


def test_a_plugin_that_cannot_be_imported_fails_and_says_what_it_raised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["check", "lost", "--json"]) == ExitCode.GATE_SAID_NO
    document = json.loads(capsys.readouterr().out)
    assert (document["passed"], document["plugin"]["name"]) == (False, "lost")
    first = document["checks"][0]
    assert (first["check"], first["verdict"]) == ("hooks_keep_the_contract", "error")
    assert "No module named 'nowhere_to_be_found'" in first["message"]


def test_each_check_is_told_when_it_begins_and_when_it_ends() -> None:
    told: list[tuple[str, CheckOutcome | None]] = []
    found = api.check("fakelines", observer=lambda name, outcome: told.append((name, outcome)))
    assert told == [pair for one in found.outcomes for pair in ((one.check, None), (one.check, one))]


def test_variant_and_options_reach_the_plugin() -> None:
    whole = api.check("fake:graph,jitter=0.01")
    assert {one.verdict for one in whole.outcomes} == {"passed", "not applicable"}
    odd = {one.check: one for one in api.check("fake", variant="odd").outcomes}
    assert "the fake framework has no variant 'odd'" in odd["an_unsupported_layer_is_named"].message


def test_a_name_of_several_kinds_needs_the_kind() -> None:
    with pytest.raises(RequestError, match="plugins of 2 kinds are named 'twin'") as caught:
        api.check("twin")
    assert caught.value.next == "--kind exporter or --kind framework"
    assert api.check("twin", kind="exporter").plugin.kind == "exporter"


def test_a_plugin_that_is_not_here_is_told_with_the_name_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(PluginNotFoundError, match="no plugin 'fakelins' is installed; did you mean 'fakelin"):
        api.check("fakelins")
    assert run(["check", "fakelins"]) == ExitCode.NOT_AVAILABLE
    assert "fwprof plugins lists what is installed" in capsys.readouterr().err


def test_a_plugin_of_another_environment_is_checked_there() -> None:
    with pytest.raises(RequestError, match="a plugin is checked where fwprof runs") as caught:
        api.check("fake@other")
    assert caught.value.next == "run fwprof check fake in that environment"


def test_a_device_that_is_not_here_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "fake", "--device", "cpu:9"]) == ExitCode.NOT_AVAILABLE
    assert "there is no device 'cpu:9'" in capsys.readouterr().err
