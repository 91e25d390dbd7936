"""The machine's limits: its best matrix product and its best copy, over libraries and sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fwprof.contracts import PeakKernels
from fwprof.records import Reading

GEMM_SIZES = (256, 512, 1024, 2048)
COPY_BYTES = (2**20, 2**23, 2**26)
MIN_REPEATS = 3


def measure_limits(kernels: Sequence[PeakKernels], seconds: float) -> dict[str, Reading]:
    """Return `best_gemm` (FLOP/s) and `best_copy` (bytes/s) of all the kernels.

    The best repetition counts: a limit is what the machine can do, not what it did on average.

    Args:
        kernels: one set a library.
        seconds: time for everything together.
    """
    share = seconds / (max(1, len(kernels)) * (len(GEMM_SIZES) + len(COPY_BYTES)))
    gemm = [
        (2 * size**3 / _best_seconds(_bind(each.gemm, size), share), f"{each.library}, {size} x {size}")
        for each in kernels
        for size in GEMM_SIZES
    ]
    copy = [
        (2 * size / _best_seconds(_bind(each.copy, size), share), f"{each.library}, {size // 2**20} MiB")
        for each in kernels
        for size in COPY_BYTES
    ]
    return {"best_gemm": _best(gemm, "FLOP/s"), "best_copy": _best(copy, "bytes/s")}


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
