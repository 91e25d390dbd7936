"""Puts plugins where every process finds them: through entry points, like anybody's.

Owns temporary distributions (a `.dist-info` folder and source modules). Knows nothing of what a
plugin does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FakeDistribution:
    """A distribution to be installed for a test.

    Args:
        name: of the distribution, e.g. `fwprof-mine`.
        entry_points: group → plugin name → object reference (`module` or `module:attribute`).
        modules: module name → source text, written beside it.
        extras: extra → requirements, as a framework plugin states what it runs on.
        version: of the distribution.
    """

    name: str
    entry_points: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: str = "1.0"


FAKES = FakeDistribution(
    name="fwprof-fakes",
    entry_points={
        "fwprof.frameworks": {"fake": "fwprof.testing.fake_framework:plugin"},
        "fwprof.devices": {"fakecard": "fwprof.testing.fake_device"},
        "fwprof.meters": {"fakemeter": "fwprof.testing.fake_meter"},
        "fwprof.exporters": {"fakelines": "fwprof.testing.fake_exporter"},
    },
)
"""The kit's own framework, device, meter and exporter."""

WRONG = FakeDistribution(
    name="fwprof-wrong",
    entry_points={"fwprof.frameworks": {"wrong": "fwprof.testing.wrong_framework:plugin"}},
)
"""A framework that computes almost the same, to see whether that is noticed."""


@contextmanager
def installed(folder: Path, *distributions: FakeDistribution) -> Iterator[Mapping[str, str]]:
    """Install distributions into `folder` for this process and those that it starts.

    While active, `folder` is on `sys.path` and first in `PYTHONPATH`; afterwards both are as they
    were, and the modules written here are forgotten.

    Args:
        folder: an empty folder that outlives the processes started.
        distributions: what to install; by default the kit's fakes.

    Yields:
        The variables that another process needs to find them too.
    """
    distributions = distributions or (FAKES,)
    folder = folder.resolve()
    for distribution in distributions:
        _write(folder, distribution)
    before = os.environ.get("PYTHONPATH")
    changes = {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), before)))}
    os.environ.update(changes)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield changes
    finally:
        sys.path.remove(str(folder))
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        written = {name.partition(".")[0] for each in distributions for name in each.modules}
        for name in [name for name in sys.modules if name.partition(".")[0] in written]:
            del sys.modules[name]
        importlib.invalidate_caches()


def _write(folder: Path, distribution: FakeDistribution) -> None:
    info = folder / f"{distribution.name.replace('-', '_')}-{distribution.version}.dist-info"
    info.mkdir(parents=True)
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {distribution.name}",
        f"Version: {distribution.version}",
    ]
    for extra, requirements in distribution.extras.items():
        metadata.append(f"Provides-Extra: {extra}")
        metadata += [f'Requires-Dist: {requirement}; extra == "{extra}"' for requirement in requirements]
    sections = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""])
        for group, points in distribution.entry_points.items()
    ]
    written = {
        info / "METADATA": "\n".join([*metadata, ""]),
        info / "entry_points.txt": "\n".join(sections),
        info / "INSTALLER": "fwprof.testing\n",
        info / "top_level.txt": "".join(f"{name}\n" for name in distribution.modules),
    }
    for name, source in distribution.modules.items():
        written[folder / f"{name.replace('.', '/')}.py"] = source
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    names = [path.relative_to(folder).as_posix() for path in (*written, info / "RECORD")]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names), encoding="utf-8")
