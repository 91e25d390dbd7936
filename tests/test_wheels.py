"""The wheels that users install: what is in them, and what the extras draw in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_string
from email.message import Message
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fwprof

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [
    ROOT,
    *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml")),
    *sorted(file.parent for file in ROOT.glob("examples/third_party/*/pyproject.toml")),
]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a wheel of every distribution of the repository, built without a network."""
    folder = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder)]
        subprocess.run([*command, str(package)], check=True, capture_output=True)
    return folder


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def requirements_of(wheel: Path) -> set[str]:
    """Return the names that a wheel requires without any extra."""
    needs = [Requirement(text) for text in metadata_of(wheel).get_all("Requires-Dist", [])]
    return {need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})}


def test_every_wheel_holds_its_licence_types_and_no_tests(wheels: Path) -> None:
    built = sorted(wheels.glob("*.whl"))
    assert len(built) == len(PACKAGES)
    for wheel in built:
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("/licenses/LICENSE") for name in names), wheel.name
        assert any(name.endswith("/py.typed") for name in names), wheel.name
        assert not [name for name in names if name.startswith(("tests/", "docs/", "plugins/"))], wheel.name


def test_the_core_wheel_holds_the_built_in_workloads_and_their_texts(wheels: Path) -> None:
    in_tree = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "fwprof").rglob("*")
        if file.suffix in {".py", ".yaml", ".typed", ".gz"}
    }
    in_wheel = set(zipfile.ZipFile(next(wheels.glob("fwprof-*.whl"))).namelist())
    assert in_tree <= in_wheel


def test_the_core_alone_draws_in_no_framework_and_no_device(wheels: Path) -> None:
    plain = requirements_of(next(wheels.glob("fwprof-*.whl")))
    assert "click" in plain
    assert not {name for name in plain if name.startswith("fwprof")}


def test_the_extras_install_the_plugins_from_local_wheels(wheels: Path, tmp_path: Path) -> None:
    """What is not first-party is lent by this environment, so that no index is asked."""
    frameworks = [name for name in ("keras", "tensorflow", "torch") if find_spec(name) is not None]
    if not frameworks:
        pytest.skip("no framework is installed: nothing could be lent for the extra")
    venv, lent = tmp_path / "venv", tmp_path / "lent"
    lent.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "fwprof" not in entry.name:
            (lent / entry.name).symlink_to(entry)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    next(venv.glob("lib/python*/site-packages")).joinpath("lent.pth").write_text(f"{lent}\n")

    python = str(venv / "bin" / "python")
    offline = ["--no-index", "--find-links", str(wheels), "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            *offline,
            f"fwprof[{','.join((*frameworks, 'cuda'))}]",
        ],
        check=True,
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""},
    )
    ask = (
        "from importlib.metadata import entry_points, version\n"
        "print(version('fwprof'), *sorted(point.name for group in ('frameworks', 'devices')"
        " for point in entry_points(group=f'fwprof.{group}')))\n"
    )
    said = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout
    assert said.split() == [fwprof.__version__, "cpu", "cuda", *frameworks]
