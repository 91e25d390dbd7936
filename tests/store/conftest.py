from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fwprof.records import Block, Description, Measured, Startup, frames
from fwprof.store import RunFolder
from fwprof.testing.samples import sample_result

STORED = sample_result(3)
"""A run of two cells; only its plan and machine are used here, and the first cell's numbers."""


@pytest.fixture
def begun(tmp_path: Path) -> Callable[..., RunFolder]:
    """Create the folder of a run whose plan has these fields."""

    def create(run_id: str = "01RUN", measured: Measured | None = None, **fields: Any) -> RunFolder:
        request = msgspec.structs.replace(STORED.plan.request, output=str(tmp_path))
        plan = msgspec.structs.replace(STORED.plan, request=request, run_id=run_id, **fields)
        groups = [
            msgspec.structs.replace(
                group,
                cells=tuple(
                    msgspec.structs.replace(cell, id=f"cell{index}") for index, cell in enumerate(group.cells)
                ),
            )
            for group in plan.groups
        ]
        return RunFolder.create(msgspec.structs.replace(plan, groups=tuple(groups)), STORED.machine, measured)

    return create


@pytest.fixture
def described() -> frames.Described:
    """What a worker says of itself."""
    description = STORED.cells[0].description
    assert isinstance(description, Description)
    return frames.Described(description=description)


@pytest.fixture
def blocks() -> Sequence[Block]:
    """Three rounds of five programs."""
    return STORED.cells[0].measurements[0].blocks


@pytest.fixture
def reports(described: frames.Described, blocks: Sequence[Block]) -> Sequence[frames.Report]:
    """Everything a worker says that goes well."""
    startup = Startup(import_ns=1, build_ns=2, first_step_ns=3, second_step_ns=4)
    return [
        described,
        frames.Ready(startup=startup),
        frames.Warm(program="run", blocks=tuple(blocks[:1]), steady=True),
        *(frames.BlockDone(block=block) for block in blocks),
        frames.Checked(checks=()),
        frames.Finished(),
    ]


@pytest.fixture
def write(begun: Callable[..., RunFolder]) -> Callable[..., RunFolder]:
    """Write journals: `cell0/0.jsonl=[reports]`."""

    def write_(journals: dict[str, Sequence[frames.Report]], folder: RunFolder | None = None) -> RunFolder:
        folder = folder or begun()
        for path, reports in journals.items():
            cell, _, name = path.partition("/")
            journal = folder.journal(cell, name)
            for report in reports:
                journal.append(report)
            journal.close()
        return folder

    return write_
