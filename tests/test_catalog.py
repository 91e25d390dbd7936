"""What is installed is known from metadata alone, and every name means one plugin or an error."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fwprof import catalog
from fwprof.errors import PluginError, PluginNotFoundError, PluginUnavailableError
from fwprof.testing.installed import FAKES, FakeDistribution, installed


def framework(distribution: str, name: str, *needs: str) -> FakeDistribution:
    return FakeDistribution(
        name=distribution,
        entry_points={"fwprof.frameworks": {name: "no_such_module_at_all:plugin"}},
        extras={"framework": needs} if needs else {},
        version="2.5",
    )


def test_plugins_are_listed_by_kind_and_name_with_their_distribution(tmp_path: Path) -> None:
    with installed(tmp_path):
        refs = [plugin.ref for plugin in catalog.list_plugins() if plugin.ref.distribution == FAKES.name]
    assert [(ref.kind, ref.name, ref.version) for ref in refs] == [
        ("framework", "fake", "1.0"),
        ("device", "fakecard", "1.0"),
        ("meter", "fakemeter", "1.0"),
        ("exporter", "fakelines", "1.0"),
    ]


def test_one_kind_can_be_listed_alone(tmp_path: Path) -> None:
    with installed(tmp_path):
        assert {plugin.ref.kind for plugin in catalog.list_plugins("meter")} == {"meter"}


def test_listing_and_finding_imports_no_plugin(tmp_path: Path) -> None:
    loud = FakeDistribution(
        name="fwprof-loud",
        entry_points={group: {"loud": f"loud_{kind}"} for kind, group in catalog.KINDS.items()},
        modules={f"loud_{kind}": "raise RuntimeError('imported')" for kind in catalog.KINDS},
    )
    program = (
        "import sys; from fwprof import catalog;"
        "found = [catalog.find_plugin(kind, 'loud').value for kind in catalog.KINDS];"
        "assert found == [f'loud_{kind}' for kind in catalog.KINDS], found;"
        "print(sorted({p.ref.name for p in catalog.list_plugins()} & {'loud'}),"
        " [name for name in sys.modules if name.startswith(('loud', 'numpy', 'scipy', 'rich', 'fwprof_'))])"
    )
    with installed(tmp_path, loud) as variables:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": "", **variables},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("['loud'] []\n", "")


def test_an_installed_plugin_is_found_by_its_name(tmp_path: Path) -> None:
    with installed(tmp_path):
        ref = catalog.find_plugin("framework", "fake")
    assert (ref.distribution, ref.value) == ("fwprof-fakes", "fwprof.testing.fake_framework:plugin")


def test_a_misspelt_name_gets_the_one_that_was_meant(tmp_path: Path) -> None:
    with installed(tmp_path), pytest.raises(PluginNotFoundError, match="did you mean 'fakecard'") as caught:
        catalog.find_plugin("device", "fakecrad")
    assert "fakecard" in caught.value.cause
    assert caught.value.next == "fwprof plugins"


@pytest.mark.parametrize(
    ("kind", "line"),
    [("framework", "pip install 'fwprof-mxyz[framework]'"), ("meter", "pip install 'fwprof-mxyz'")],
)
def test_an_unknown_name_gets_the_line_that_would_install_it(kind: str, line: str) -> None:
    with pytest.raises(PluginNotFoundError, match=f"no {kind} plugin 'mxyz' is installed$") as caught:
        catalog.find_plugin(kind, "mxyz")
    assert caught.value.next.startswith(line)


def test_a_name_of_another_kind_is_not_found(tmp_path: Path) -> None:
    with installed(tmp_path), pytest.raises(PluginNotFoundError, match="no meter plugin 'fakelines'"):
        catalog.find_plugin("meter", "fakelines")


def test_two_distributions_with_one_name_are_both_named(tmp_path: Path) -> None:
    twins = (framework("fwprof-one", "twin"), framework("fwprof-two", "twin"))
    with (
        installed(tmp_path, *twins),
        pytest.raises(PluginError, match="two framework plugins are named 'twin'") as caught,
    ):
        catalog.find_plugin("framework", "twin")
    assert caught.value.cause == "fwprof-one and fwprof-two both register it"
    assert caught.value.next.startswith("pip uninstall fwprof-")


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ("no-such-runtime>=2", "it needs no-such-runtime>=2, which is not installed"),
        ("msgspec>=900", "it needs msgspec>=900; "),
        ("!!!", "fwprof-needy states a requirement that cannot be read: !!!"),
    ],
)
def test_a_need_that_is_not_met_makes_a_plugin_unavailable(tmp_path: Path, needs: str, reason: str) -> None:
    with installed(tmp_path, framework("fwprof-needy", "needy", "msgspec", needs)):
        (plugin,) = [p for p in catalog.list_plugins("framework") if p.ref.name == "needy"]
        with pytest.raises(PluginUnavailableError, match="'needy' is installed, but cannot run") as caught:
            catalog.find_plugin("framework", "needy")
    assert plugin.state == "unavailable"
    assert plugin.reason.startswith(reason)
    assert caught.value.cause == plugin.reason
    assert caught.value.next == "pip install 'fwprof-needy[framework]'"


@pytest.mark.parametrize("needs", [(), ("msgspec>=0.1", "pluggy")])
def test_a_plugin_whose_needs_are_met_is_ready(tmp_path: Path, needs: tuple[str, ...]) -> None:
    ready = framework("fwprof-fine", "fine", *needs)
    with installed(tmp_path, ready):
        found = catalog.find_plugin("framework", "fine")
    assert found.version == "2.5"
    # A run is not resumed on another version of what its plugins run on.
    assert found.runs_on == {name: metadata.version(name) for name in ("msgspec", "pluggy") if needs}


def test_requirements_of_other_extras_do_not_count(tmp_path: Path) -> None:
    with installed(
        tmp_path,
        FakeDistribution(
            name="fwprof-docs",
            entry_points={"fwprof.frameworks": {"documented": "m"}},
            extras={"docs": ("no-such-theme>=1",)},
        ),
    ):
        assert catalog.find_plugin("framework", "documented").name == "documented"
