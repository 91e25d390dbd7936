"""How long a user waits for the first answer: the whole command, the framework's import included.

python benchmarks/first_answer.py [--plugin torch] [--repeats 3]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time

from figures import print_figure, print_machine

LIMIT_SECONDS = 30.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugin", default="torch")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    command = shutil.which("fwprof")
    if command is None:
        sys.exit("fwprof is not installed")
    print_machine()
    seconds = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            words = [
                "profile",
                "mlp",
                "--plugin",
                options.plugin,
                "--quick",
                "--max-seconds",
                "10",
                "-o",
                folder,
            ]
            start = time.monotonic()
            subprocess.run(
                [command, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            seconds.append(time.monotonic() - start)
    print_figure(
        f"fwprof profile mlp --plugin {options.plugin} --quick --max-seconds 10",
        ", ".join(f"{each:.1f} s" for each in seconds),
        f"<= {LIMIT_SECONDS:.0f} s",
        is_reached=max(seconds) <= LIMIT_SECONDS,
    )


if __name__ == "__main__":
    main()
