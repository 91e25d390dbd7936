"""Every first-party distribution has the same shape, and its entry points lead somewhere."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import fwprof

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))
STRANGERS = sorted(file.parent for file in ROOT.glob("examples/third_party/*/pyproject.toml"))
PACKAGES = [ROOT, *PLUGINS, *STRANGERS]

first_party = pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
third_party = pytest.mark.parametrize("folder", STRANGERS, ids=lambda folder: folder.name)
plugins = pytest.mark.parametrize("folder", [*PLUGINS, *STRANGERS], ids=lambda folder: folder.name)
packages = pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)


def project_of(folder: Path) -> dict[str, Any]:
    """Return the `[project]` table of a distribution."""
    return dict(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def module_of(folder: Path) -> Path:
    return folder / project_of(folder)["name"].replace("-", "_")


def fwprof_imports(file: Path) -> set[str]:
    """Return the modules of fwprof that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "fwprof":
            found |= {f"fwprof.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return {name for name in found if name.split(".")[0] == "fwprof"}


@first_party
def test_a_plugin_has_the_version_of_the_core(folder: Path) -> None:
    project = project_of(folder)
    assert project["version"] == fwprof.__version__
    assert f"fwprof=={fwprof.__version__}" in project["dependencies"]


@third_party
def test_a_stranger_has_a_version_of_its_own_and_takes_more_than_one_of_the_core(folder: Path) -> None:
    (need,) = (
        found
        for found in map(Requirement, project_of(folder)["dependencies"])
        if found.name.startswith("fwprof")
    )
    assert need.name == "fwprof"
    assert need.specifier.contains(fwprof.__version__)
    assert "==" not in str(need.specifier)


@third_party
def test_nothing_of_ours_knows_a_stranger(folder: Path) -> None:
    name = project_of(folder)["name"]
    sources = [file for part in ("fwprof", "plugins") for file in (ROOT / part).rglob("*.py")]
    sources += [plugin / "pyproject.toml" for plugin in PLUGINS]
    words = (name, name.replace("-", "_"))
    assert [file for file in sources if any(word in file.read_text(encoding="utf-8") for word in words)] == []
    extras = project_of(ROOT)["optional-dependencies"]
    assert not [need for needs in extras.values() for need in needs if name in need]


def test_the_extras_of_the_core_ask_for_its_own_version() -> None:
    extras = project_of(ROOT)["optional-dependencies"]
    ours = [need for needs in extras.values() for need in needs if need.startswith("fwprof-")]
    assert ours
    assert all(need.endswith(f"=={fwprof.__version__}") for need in ours)


@first_party
def test_the_core_has_an_extra_for_every_plugin(folder: Path) -> None:
    extras = project_of(ROOT)["optional-dependencies"]
    wanted = Requirement(extras[folder.name.removeprefix("fwprof-")][0])
    assert wanted.name == folder.name
    assert wanted.extras == set(project_of(folder).get("optional-dependencies", {})) & {"framework"}


@plugins
def test_a_plugin_is_described_like_the_core(folder: Path) -> None:
    core, plugin = project_of(ROOT), project_of(folder)
    assert plugin["name"] == folder.name
    for key in ("requires-python", "license", "license-files", "readme"):
        assert plugin[key] == core[key], key
    assert plugin["description"]
    assert "\n" not in plugin["description"]


@first_party
def test_a_plugin_leaves_tool_configuration_to_the_root(folder: Path) -> None:
    document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    core = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(document) <= {"build-system", "project", "tool"}
    assert set(document["tool"]) == {"hatch"}
    assert document["build-system"] == core["build-system"]


@packages
def test_a_distribution_carries_its_readme_licence_and_types(folder: Path) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("# ")
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (module_of(folder) / "py.typed").exists()


@plugins
def test_a_plugin_imports_only_the_door_made_for_it(folder: Path) -> None:
    imported = {name for file in module_of(folder).rglob("*.py") for name in fwprof_imports(file)}
    assert imported <= {"fwprof.plugin"}


@plugins
def test_the_tests_of_a_plugin_use_the_doors_made_for_them(folder: Path) -> None:
    imported = {name for file in (folder / "tests").rglob("*.py") for name in fwprof_imports(file)}
    open_doors = {"fwprof", "fwprof.plugin"}
    assert {name for name in imported if not name.startswith("fwprof.testing")} <= open_doors


@packages
def test_what_is_installed_is_this_checkout(folder: Path) -> None:
    project = project_of(folder)
    try:
        installed = distribution(project["name"])
    except PackageNotFoundError:
        pytest.skip(f"{project['name']} is not installed: another framework was chosen")
    declared = {
        EntryPoint(name, value, group)
        for group, entries in project.get("entry-points", {}).items()
        for name, value in entries.items()
    }
    declared |= {
        EntryPoint(name, value, "console_scripts") for name, value in project.get("scripts", {}).items()
    }
    assert installed.version == project.get("version", fwprof.__version__)
    assert set(installed.entry_points) == declared


@packages
def test_every_entry_point_leads_to_a_file(folder: Path) -> None:
    project = project_of(folder)
    groups = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    for value in (value for group in groups for value in group.values()):
        module, _, attribute = value.partition(":")
        path = folder.joinpath(*module.split("."))
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        names = {getattr(node, "name", "") for node in ast.parse(file.read_text(encoding="utf-8")).body}
        assert not attribute or attribute in names, value


def test_every_group_of_entry_points_is_a_kind_of_plugin() -> None:
    kinds = {"fwprof.frameworks", "fwprof.devices", "fwprof.meters", "fwprof.exporters"}
    assert {group for folder in PACKAGES for group in project_of(folder).get("entry-points", {})} <= kinds
