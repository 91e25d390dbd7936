"""Memory of a training step beside its peak: that of the first steps, and what it is made of.

Owns what is asked of programs and meters for it. How long a window lasts is `passes`' concern.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fwprof.contracts import Meter, Programs, Staged
from fwprof.execution.passes import watched
from fwprof.records import Reading

CATEGORIES = ("parameter_memory", "gradient_memory", "optimizer_memory", "activation_memory")
OF_FIRST_STEPS = {"host_steady_peak": "host_first_step_peak", "tensor_peak": "tensor_first_step_peak"}
"""What a meter reads of a window → the metric, where the window is that of the first steps."""
SAMPLE_HZ = 10.0


@contextmanager
def over_first_steps(meters: Sequence[Meter]) -> Iterator[dict[str, Reading]]:
    """Have meters look at the first steps, taken inside; their peaks are in the mapping afterwards.

    Args:
        meters: of the memory pass; without any, nothing is looked at.
    """
    found: dict[str, Reading] = {}
    if not meters:
        yield found
        return
    with watched(meters, SAMPLE_HZ) as readings:
        yield found
    found.update(
        {OF_FIRST_STEPS[name]: reading for name, reading in readings.items() if name in OF_FIRST_STEPS}
    )


def by_category(programs: Programs, staged: Staged) -> dict[str, Reading]:
    """Return what the framework says a step's memory is made of; nothing where its plugin does not tell.

    Args:
        programs: that took training steps already, so that what is made lazily is there.
        staged: one batch.
    """
    tell = getattr(programs, "memory", None)
    if tell is None:
        return {}
    try:
        return dict(tell(staged))
    except Exception as error:  # noqa: BLE001 - a framework's or a plugin's: what was read before stands
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return {name: Reading(value=None, unit="bytes", reason=reason) for name in CATEGORIES}
