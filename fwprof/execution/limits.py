"""The machine's limits: its best matrix product and its best copy, over libraries and sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from fwprof.contracts import PeakKernels
from fwprof.records import Reading

GEMM_SIZES = (256, 512, 1024, 2048, 4096, 8192)
COPY_BYTES = (2**20, 2**23, 2**26, 2**28)
"""From what fits a cache to what fills a card; the larger ones are left out where one call takes longer
than all the time that there is."""
MIN_REPEATS = 3


def measure_limits(kernels: Sequence[PeakKernels], seconds: float) -> dict[str, Reading]:
    """Return `best_gemm` (FLOP/s) and `best_copy` (bytes/s) of all the kernels.

    The best repetition counts: a limit is what the machine can do, not what it did on average.

    Args:
        kernels: one set a library.
        seconds: time for everything together, about.
    """
    share = seconds / (2 * max(1, len(kernels)))
    gemm = [
        (rate, f"{each.library}, {size} x {size}")
        for each in kernels
        for size, rate in _rates(each.gemm, GEMM_SIZES, lambda size: 2 * size**3, share)
    ]
    copy = [
        (rate, f"{each.library}, {size // 2**20} MiB")
        for each in kernels
        for size, rate in _rates(each.copy, COPY_BYTES, lambda size: 2 * size, share)
    ]
    return {"best_gemm": _best(gemm, "FLOP/s"), "best_copy": _best(copy, "bytes/s")}


def _rates(
    kernel: Callable[[int], None], sizes: Sequence[int], work: Callable[[int], int], seconds: float
) -> Iterator[tuple[int, float]]:
    """Yield sizes, and the best work a second that the kernel does of each."""
    for place, size in enumerate(sizes):
        best_s = _best_seconds(_bind(kernel, size), seconds / len(sizes))
        yield size, work(size) / best_s
        following = sizes[place + 1 : place + 2]
        # The first call of a size allocates, and is not counted.
        if following and (MIN_REPEATS + 1) * best_s * work(following[0]) / work(size) > seconds:
            return


def _bind(kernel: Callable[[int], None], size: int) -> Callable[[], None]:
    return lambda: kernel(size)


def _best_seconds(call: Callable[[], None], seconds: float) -> float:
    call()
    best, end, repeats = float("inf"), time.perf_counter() + seconds, 0
    while repeats < MIN_REPEATS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        repeats += 1
    return best


def _best(found: Sequence[tuple[float, str]], unit: str) -> Reading:
    if not found:
        return Reading(value=None, unit=unit, reason="no library offered a kernel for this device")
    value, basis = max(found)
    return Reading(value=value, unit=unit, basis=basis)
