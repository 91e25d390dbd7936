"""A process that outlives a killed parent just long enough to end its workers.

The launcher holds the other end of standard input and names workers, by process group and mark:
`+123 ab01`, `-123 ab01`. When the pipe closes without a farewell, the parent is gone, and every
worker still named is ended with all that it started. A parent-death signal would miss the workers'
own children, and a worker that holds the GIL. Run as a script, so that it imports nothing but the
standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "FWPROF_WORKER"
"""Variable that every process of a worker inherits: a child may leave the group, never this."""

LOOKS = 500
"""How often the guard looks for strays: one that waits in the kernel never goes."""


def end_strays(mark: str) -> bool:
    """Kill what carries a worker's mark, in whatever session it hides; say whether any did."""
    wanted = f"{MARK}={mark}".encode()
    found = False
    for folder in Path("/proc").glob("[0-9]*"):
        # Processes end while one looks, and those of other people cannot be read.
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                found = True
    return found


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

    def watch(self, group: int, mark: str) -> None:
        """Have a worker ended, with all that it started, should this process die."""
        self._tell(f"+{group} {mark}\n")

    def release(self, group: int, mark: str) -> None:
        """Stop watching a worker that has ended."""
        self._tell(f"-{group} {mark}\n")

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
    """Keep the list of workers; end what is left of it when standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    workers: set[str] = set()
    for line in sys.stdin:
        if line[0] == "+":
            workers.add(line[1:])
        else:
            workers.discard(line[1:])
    for worker in workers:
        group, mark = worker.split()
        with suppress(ProcessLookupError):
            os.killpg(int(group), signal.SIGKILL)
        # Again, until none is found: a stray may have started another meanwhile.
        for _ in range(LOOKS):
            if not end_strays(mark):
                break
            time.sleep(0.01)


if __name__ == "__main__":
    main()
