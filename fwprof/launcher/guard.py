"""A process that outlives a killed parent just long enough to end its workers.

The launcher holds the other end of standard input and names process groups: `+123`, `-123`. When
the pipe closes without a farewell, the parent is gone, and every group still named is killed. A
parent-death signal would miss the workers' own children, and a worker that holds the GIL.
Run as a script, so that it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress


class Guard:
    """The launcher's end of the pipe to one guard process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Have a process group killed should this process die."""
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """Stop watching a group that has ended."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Let the guard leave."""
        stdin = self._process.stdin
        if stdin is not None:
            with suppress(BrokenPipeError):
                stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            # A guard that somebody killed must not take the run with it.
            with suppress(BrokenPipeError):
                stdin.write(line.encode())
                stdin.flush()


def main() -> None:
    """Keep the list of groups; kill what is left of it when standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
