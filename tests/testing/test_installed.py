from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

import pytest

from fwprof import catalog
from fwprof.errors import PluginError, PluginLoadError, PluginNotFoundError, PluginUnavailableError
from fwprof.loading import load_plugin, open_plugins
from fwprof.testing.installed import FAKES, FakeDistribution, installed


def make(name, plugin, **changes):
    return FakeDistribution(name=name, entry_points={"fwprof.frameworks": {plugin: "absent"}}, **changes)


def test_the_fakes_are_found_like_any_plugin(tmp_path):
    with installed(tmp_path):
        kinds = {"framework": "fake", "device": "fakecard", "meter": "fakemeter", "exporter": "fakelines"}
        found = [catalog.find_plugin(kind, name) for kind, name in kinds.items()]
        manager = open_plugins(found)
    assert {each.distribution for each in found} == {"fwprof-fakes"}
    assert len(manager.get_plugins()) == 4


def test_another_process_finds_them_through_the_variables(tmp_path):
    script = "from fwprof.catalog import find_plugin; print(find_plugin('framework', 'fake').version)"
    with installed(tmp_path, FAKES) as changes:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", script], env={**clean, **changes}, capture_output=True, text=True
        )
    assert (done.stdout, done.stderr) == ("1.0\n", "")


@pytest.mark.parametrize("before", [None, "somewhere"])
def test_afterwards_everything_is_as_it_was(tmp_path, monkeypatch, before):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before:
        monkeypatch.setenv("PYTHONPATH", before)
    path = list(sys.path)
    with installed(tmp_path, make("fwprof-mine", "mine", modules={"mine_module": "answer = 42"})):
        import mine_module

        assert mine_module.answer == 42
        assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)
    assert sys.path == path
    assert os.environ.get("PYTHONPATH") == before
    assert "mine_module" not in sys.modules
    with pytest.raises(PluginNotFoundError, match="no framework plugin 'mine' is installed"):
        catalog.find_plugin("framework", "mine")


def test_it_is_undone_when_the_test_fails(tmp_path):
    path = list(sys.path)
    with pytest.raises(ZeroDivisionError, match="division"), installed(tmp_path):
        _ = 1 // 0
    assert sys.path == path


def test_two_distributions_may_use_one_name(tmp_path):
    with (
        installed(tmp_path, make("fwprof-one", "same"), make("fwprof-two", "same")),
        pytest.raises(PluginError, match="two framework plugins are named 'same'"),
    ):
        catalog.find_plugin("framework", "same")


def test_an_extra_may_be_unmet(tmp_path):
    needy = make("fwprof-needy", "needy", extras={"framework": ("no-such-engine>=3",)})
    with (
        installed(tmp_path, needy),
        pytest.raises(PluginUnavailableError, match="'needy' is installed, but cannot run") as caught,
    ):
        catalog.find_plugin("framework", "needy")
    assert caught.value.cause == "it needs no-such-engine>=3, which is not installed"


def test_a_broken_module_can_be_installed_from_its_text(tmp_path):
    broken = FakeDistribution(
        name="fwprof-broken",
        entry_points={"fwprof.frameworks": {"broken": "broken.inner"}},
        modules={"broken.inner": "raise OSError('a library is missing')", "broken.__init__": ""},
    )
    with installed(tmp_path, broken), pytest.raises(PluginLoadError, match="could not be imported"):
        load_plugin(catalog.find_plugin("framework", "broken"))


def test_a_distribution_lists_its_files(tmp_path):
    with installed(tmp_path, make("fwprof-mine", "mine", modules={"mine_module": ""}, version="2.5")):
        distribution = metadata.distribution("fwprof-mine")
        files = {str(path) for path in distribution.files or ()}
        assert all(path.locate().is_file() for path in distribution.files or ())
    assert distribution.version == "2.5"
    assert {"mine_module.py", "fwprof_mine-2.5.dist-info/RECORD"} <= files
