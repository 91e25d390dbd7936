"""Runs code in a child process that finds a stand-in for NVIDIA's library, built here with gcc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("nvml_stand_in.c")
LIBRARY = "libnvidia-ml.so.1"

CARD = {
    "name": "Fictive Card 80GB",
    "pci": "00000000:0A:00.0",
    "total": 80 * 2**30,
    "used": 2**30,
    "processes": "",
    "capability": "9.0",
    "power_limit_mw": 700_000,
    "mig": 0,
    "utilisation": 0,
    "energy_mj": 1_000,
    "power_mw": 70_000,
    "temperature": 30,
    "sm_clock": 1_980,
    "throttle": 0,
}


@dataclass(frozen=True)
class StandIn:
    """A child process whose NVIDIA library is the stand-in."""

    library_folder: Path
    values: Path

    @staticmethod
    def uuid(index: int) -> str:
        """Return the UUID of a card."""
        return f"GPU-{index:08d}-aaaa-bbbb-cccc-dddddddddddd"

    def machine(self, count: int, changes: Mapping[str, object] | None = None) -> dict[str, object]:
        """Return what the library says of `count` idle cards; a change to None leaves a line out."""
        lines: dict[str, object] = {"driver": "580.95.05", "cuda": 13_000, "count": count}
        for index in range(count):
            lines[f"{index}.uuid"] = self.uuid(index)
            lines |= {f"{index}.{name}": value for name, value in CARD.items()}
        lines |= changes or {}
        return {name: value for name, value in lines.items() if value is not None}

    @staticmethod
    def instances(card: int, count: int) -> dict[str, object]:
        """Return what the library says of a card that is split into instances, beside what it said."""
        lines: dict[str, object] = {f"{card}.mig": 1}
        for number in range(count):
            lines |= {
                f"{card}.{number}.uuid": f"MIG-{card}{number}000000-aaaa-bbbb-cccc-dddddddddddd",
                f"{card}.{number}.name": "Fictive Card 80GB MIG 1g.10gb",
                f"{card}.{number}.total": 10 * 2**30,
                f"{card}.{number}.used": 2**20,
                f"{card}.{number}.processes": "",
            }
        return lines

    def run(self, code: str, lines: Mapping[str, object], **variables: str) -> Any:
        """Run code that prints one JSON document; `say(name=value)` changes the machine meanwhile.

        Names that CUDA reads are unset unless given.
        """
        done = self._start([sys.executable, "-W", "error", "-c", PRELUDE + code], lines, variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def fwprof(self, arguments: Sequence[str], lines: Mapping[str, object], **variables: str) -> Any:
        """Run the command as a user of this machine would; return what became of it."""
        return self._start([sys.executable, "-m", "fwprof.cli.main", *arguments], lines, variables)

    def _start(
        self, command: Sequence[str], lines: Mapping[str, object], variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        self.values.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
        environment |= {
            "LD_LIBRARY_PATH": str(self.library_folder),
            "NVML_STAND_IN": str(self.values),
            **variables,
        }
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


PRELUDE = """
import json, os, sys
from pathlib import Path
import msgspec
from fwprof.plugin import Device, PluginUnavailableError
from fwprof_cuda import plugin

def say(changes):
    path = Path(os.environ["NVML_STAND_IN"])
    lines = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    lines.update((name, str(value)) for name, value in changes.items())
    # At once: the library reads it from other threads too.
    path.with_suffix(".new").write_text("".join(f"{name} {value}\\n" for name, value in lines.items()))
    path.with_suffix(".new").replace(path)

def answer(value):
    sys.stdout.write(msgspec.json.encode(value).decode())

def sessions():
    import pynvml
    return pynvml.nvmlLib.stand_in_open_sessions()
"""


@pytest.fixture(scope="session")
def library_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the stand-in and return its folder."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is needed to build the stand-in for NVIDIA's library")
    folder = tmp_path_factory.mktemp("library")
    (folder / "old").mkdir()
    flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    for place, further in ((folder, []), (folder / "old", ["-DOLD_DRIVER"])):
        subprocess.run([compiler, *flags, *further, "-o", str(place / LIBRARY), str(SOURCE)], check=True)
    return folder


@pytest.fixture
def stand_in(library_folder: Path, tmp_path: Path) -> StandIn:
    """Return a stand-in with a file of values of its own."""
    return StandIn(library_folder, tmp_path / "values.txt")


@pytest.fixture
def old_driver(library_folder: Path, tmp_path: Path) -> StandIn:
    """Return one that lacks what drivers before 510 lack."""
    return StandIn(library_folder / "old", tmp_path / "values.txt")


@pytest.fixture
def no_library(tmp_path: Path) -> StandIn:
    """Return a child that finds a file which is no library, on any machine."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / LIBRARY).write_text("no library")
    return StandIn(folder, tmp_path / "values.txt")
