"""How long the whole command takes that compares eight cells, and where the time goes.

python benchmarks/eight_cells.py [--plugin NAME]... [--workload mlp] [--max-seconds 90]
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from figures import make_parser, own_state, parse, print_figure, print_machine, print_table

import fwprof
from fwprof import events

LIMIT_SECONDS = 360.0


class Stages:
    """Notes when each stage began, as observers are told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, str]] = [(time.perf_counter_ns(), "planning")]
        self._pass = ""

    def __call__(self, event: events.Event) -> None:
        """Note one event."""
        match event:
            case events.GroupStarted():
                self._pass = ""
                self._begin("start")
            case events.PassStarted(name=name):
                self._pass = f"{name}: "
                self._begin("start")
            case events.StageEntered(stage=stage):
                self._begin(stage)
            case events.CellEnded():
                self._begin("end")
            case _:
                pass

    def _begin(self, stage: str) -> None:
        self.begun.append((time.perf_counter_ns(), self._pass + stage))

    def seconds(self, first_block_ns: int | None) -> Counter[str]:
        """Return stage → seconds; rounds, of which observers hear only when they end, by their blocks."""
        begun = list(self.begun)
        if first_block_ns is not None:
            begun.append((first_block_ns, "rounds"))
        begun.sort()
        ends = [at for at, _ in begun[1:]] + [time.perf_counter_ns()]
        spent: Counter[str] = Counter()
        for (start, stage), end in zip(begun, ends, strict=True):
            spent[stage] += (end - start) / 1e9  # type: ignore[assignment]  # a Counter adds floats as well
        return spent


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, workloads=("mlp",))
    parser.add_argument("--max-seconds", type=float)
    options = parse(parser)
    print_machine()
    stages = Stages()
    with own_state() as runs:
        begin = time.monotonic()
        result = fwprof.profile(
            workloads=options.workloads,
            plugins=options.plugins,
            settings="as-shipped",
            max_seconds=options.max_seconds,
            observer=stages,
            output=str(runs),
        )
        wall = time.monotonic() - begin
    starts = [b.start_ns for c in result.cells for m in c.measurements for b in m.blocks]
    spent = stages.seconds(min(starts, default=None))
    print_figure(
        f"{', '.join(Path(name).stem for name in options.workloads)} on {len(options.plugins)} cells",
        f"{wall:.0f} s, {sum(cell.fate == 'ok' for cell in result.cells)} cells ok",
        f"<= {LIMIT_SECONDS:.0f} s",
        is_reached=wall <= LIMIT_SECONDS,
    )
    print()
    print_table(
        ("stage", "seconds", "share"),
        [(stage, f"{value:.1f}", f"{100 * value / wall:.0f} %") for stage, value in spent.most_common()],
    )


if __name__ == "__main__":
    main()
