"""What `fwprof --help` and `--version` cost: CPU time of the whole process, user and system.

python benchmarks/startup.py [--repeats 20]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys

from figures import print_figure, print_machine

LIMIT_MS = 100.0


def cpu_ms(command: list[str]) -> float:
    """Return the CPU time of one run of a command, ms."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} exited with {process.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    command = shutil.which("fwprof")
    if command is None:
        sys.exit("fwprof is not installed")
    print_machine()
    for option in ("--help", "--version"):
        cpu_ms([command, option])
        times = [cpu_ms([command, option]) for _ in range(repeats)]
        median = statistics.median(times)
        bare = statistics.median(cpu_ms([sys.executable, "-c", ""]) for _ in range(repeats))
        print_figure(
            f"fwprof {option}, CPU",
            f"{median:.0f} ms, {min(times):.0f} to {max(times):.0f} (python alone: {bare:.0f} ms)",
            f"<= {LIMIT_MS:.0f} ms",
            is_reached=median <= LIMIT_MS,
        )


if __name__ == "__main__":
    main()
