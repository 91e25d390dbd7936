"""Pick a batch size: a program of its own that has fwprof measure for it.

Doubles the batch while that still pays, tells how far it is on one line, and stops at once when
asked to. `python examples/embed.py --framework torch --device cpu`
"""

from __future__ import annotations

import argparse
import signal
import sys

import fwprof
from fwprof.events import CellEnded, Event, RoundDone


class BatchPicker:
    """Measures one batch size after another and keeps the samples a second of each.

    Args:
        framework: as on fwprof's command line.
        device: likewise.
        workload: likewise.
        pays: how much faster twice the batch has to be.
    """

    def __init__(self, framework: str, device: str, workload: str, pays: float = 1.1) -> None:
        self.throughput: dict[int, float] = {}
        self.stopped = False
        self._framework, self._device, self._workload = framework, device, workload
        self._pays = pays
        self._cancellation = fwprof.Cancellation()

    def stop(self) -> None:
        """End the search; what was measured counts."""
        self.stopped = True
        self._cancellation.cancel()

    def pick(self, first: int, last: int, rounds: int, max_seconds: float) -> int | None:
        """Return the batch size beyond which doubling no longer pays; None where nothing was measured.

        Args:
            first: batch size to begin with.
            last: largest one to try.
            rounds: of blocks for each size.
            max_seconds: for warm-up and rounds of each size.
        """
        best = None
        size = first
        while size <= last and not self.stopped:
            speed = self._measure(size, rounds, max_seconds)
            if speed is None or (best is not None and speed < self._pays * self.throughput[best]):
                break
            self.throughput[size] = speed
            best, size = size, size * 2
        return best

    def _measure(self, size: int, rounds: int, max_seconds: float) -> float | None:
        self._cancellation = fwprof.Cancellation()
        result = fwprof.profile(
            plugins=(self._framework,),
            devices=(self._device,),
            workloads=(self._workload,),
            batch_sizes=(size,),
            rounds=rounds,
            max_seconds=max_seconds,
            memory=False,
            observer=lambda event: self._show(size, event),
            cancellation=self._cancellation,
        )
        (cell,) = fwprof.summarize(result).cells
        metric = cell.metrics.get("throughput")
        return metric.p50 or metric.value if metric is not None else None

    def _show(self, size: int, event: Event) -> None:
        match event:
            case RoundDone(round=done):
                print(f"\rbatch {size}: round {done}", end="", file=sys.stderr, flush=True)
            case CellEnded(fate=fate, reason=reason):
                print(f"\rbatch {size}: {fate} {reason}", file=sys.stderr)


def main() -> int:
    """Read the command line, pick, and print the choice."""
    parser = argparse.ArgumentParser(description="Pick a batch size for a framework.")
    parser.add_argument("--framework", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workload", default="mlp-small")
    parser.add_argument("--last", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()

    picker = BatchPicker(asked.framework, asked.device, asked.workload)
    # fwprof installs no signal handler: what Ctrl-C means is this program's business.
    signal.signal(signal.SIGINT, lambda *_: picker.stop())
    try:
        chosen = picker.pick(16, asked.last, rounds=asked.rounds, max_seconds=asked.seconds)
    except fwprof.FwprofError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return 1
    for size, speed in picker.throughput.items():
        print(f"{size:>6} {speed:>12,.0f} samples/s" + (" <-" if size == chosen else ""))
    return 0 if chosen is not None else 1


if __name__ == "__main__":
    sys.exit(main())
