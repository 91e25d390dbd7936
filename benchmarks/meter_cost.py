"""What one sample of a device's meters costs, and the share of a core that sampling at 10 Hz takes.

Everything a meter reads counts: fwprof's own lines, the vendor's binding, the library under it. Without
a card, a stand-in for the vendor's library answers (its own time, mostly reading a file, is in it):

    gcc -shared -fPIC -o DIR/libnvidia-ml.so.1 plugins/fwprof-cuda/tests/nvml_stand_in.c
    LD_LIBRARY_PATH=DIR NVML_STAND_IN=FILE python benchmarks/meter_cost.py --device cuda:0

    python benchmarks/meter_cost.py [--device cpu] [--samples 500] [--seconds 10]
"""

from __future__ import annotations

import argparse
import statistics
import time

from figures import print_machine

from fwprof import catalog
from fwprof.launcher.passes import SAMPLE_HZ
from fwprof.loading import open_plugins
from fwprof.plugin import Meter


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    plugin = catalog.find_plugin("device", options.device.partition(":")[0])
    hook = open_plugins([plugin]).hook
    device = next(each for each in hook.devices() if options.device in (each.name, each.kind))
    meters = [meter for group in hook.measure(model=None, device=device) for meter in group]
    print_machine()
    print(f"device {device.name}: {device.title}\n")
    print("| passes | readings | null | one sample, µs (p50, p90) | of a core at 10 Hz |")
    print("|---|--:|--:|--:|--:|")
    for meter in meters:
        meter.start()
        costs = []
        for _ in range(options.samples):
            begin = time.perf_counter_ns()
            meter.sample()
            costs.append((time.perf_counter_ns() - begin) / 1e3)
        readings = meter.stop()
        nulls = sum(reading.value is None for reading in readings.values())
        p50, p90 = statistics.median(costs), statistics.quantiles(costs, n=10)[-1]
        print(
            f"| {', '.join(meter.passes)} | {len(readings)} | {nulls} | {p50:.0f}, {p90:.0f} "
            f"| {100 * _core_share(meter, options.seconds):.2f} % |"
        )


def _core_share(meter: Meter, seconds: float) -> float:
    """Return the CPU time of this process over the time, while the meter is sampled as in a pass."""
    meter.start()
    begin, used = time.monotonic(), time.process_time()
    while time.monotonic() - begin < seconds:
        time.sleep(1 / SAMPLE_HZ)
        meter.sample()
    share = (time.process_time() - used) / (time.monotonic() - begin)
    meter.stop()
    return share


if __name__ == "__main__":
    main()
