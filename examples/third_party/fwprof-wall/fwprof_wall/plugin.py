"""The hook of the meter `wall`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fwprof.plugin import Meter, hookimpl
from fwprof_wall.meters import VARIABLE, WallMeter


@hookimpl
def measure() -> Sequence[Meter]:
    """Return the meter of the file that the environment names."""
    named = os.environ.get(VARIABLE)
    return [WallMeter(Path(named) if named else None)]
