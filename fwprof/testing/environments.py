"""Makes a second environment, as two frameworks need whose dependencies clash.

Owns a virtual environment that borrows installed distributions by links: nothing is downloaded
and nothing copied. Knows nothing of what runs in it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata, util
from pathlib import Path

from packaging.requirements import Requirement

from fwprof.testing.installed import FakeDistribution, installed

BORROWED = ("fwprof", "fwprof-cpu")


def make_environment(
    folder: Path, *distributions: FakeDistribution, borrowed: Sequence[str] = BORROWED
) -> Path:
    """Make a virtual environment and return its interpreter.

    Args:
        folder: where; it is created.
        distributions: what is installed there and nowhere else.
        borrowed: distributions of this environment that are there too, with what they need.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    borrow(site, borrowed)
    if distributions:
        with installed(site, *distributions):
            pass  # what it wrote stays; only this process forgets it
    return folder / "bin" / "python"


def borrow(site: Path, names: Iterable[str]) -> None:
    """Link distributions of this environment, and what they need, into a folder of modules."""
    left, done = list(names), set[str]()
    while left:
        name = left.pop()
        if name in done:
            continue
        done.add(name)
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
        needed = map(Requirement, distribution.requires or ())
        left += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    # An editable installation links no modules: its folder stands in a file that is not read from here.
    folders = {_folder_of(name.replace("-", "_")) for name in done & set(BORROWED)}
    (site / "borrowed.pth").write_text("".join(f"{folder}\n" for folder in sorted(folders)), encoding="utf-8")


def _folder_of(module: str) -> str:
    spec = util.find_spec(module)
    assert spec is not None, f"{module} is not installed here"
    assert spec.submodule_search_locations is not None
    return str(Path(next(iter(spec.submodule_search_locations))).parent)
