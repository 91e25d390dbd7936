"""The machine's limits: the best matrix product and the best copy of each library, over sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fwprof.contracts import PeakKernels
from fwprof.records import LibraryLimits, Reading

GEMM_SIZES = (256, 512, 1024, 2048, 4096, 8192)
"""The larger ones are left out where looking at them would take more than `MOST` of the time there is."""
COPY_BYTES = (2**28, 2**29)
"""Several times what caches hold: bytes that a step moves are counted as if none stayed in one.

Source: McCalpin, STREAM benchmark, rule for the size of arrays (four times the last-level caches).
"""
GEMM_SHARE = 0.75
"""Of a library's time; its largest copy is done in a tenth of what its largest product takes."""
PASSES, MOST = 2, 0.75
"""Looks at every size before the best are known: what disturbs one look is mostly over at the next."""
BEST_SIZES, TURNS = 2, 2
"""What is left of the time goes to the best sizes, in turns: a disturbance of some hundred
milliseconds then meets one turn of a size and spares the other."""

Kernel = Callable[[int], None]


def measure_limits(
    kernels: Sequence[PeakKernels], seconds: float, copy_only: Sequence[PeakKernels] = ()
) -> tuple[LibraryLimits, ...]:
    """Return `best_gemm` (FLOP/s) and `best_copy` (bytes/s) of each library.

    The best repetition counts: a limit is what the machine can do, not what it did on average.

    Args:
        kernels: one set a library.
        seconds: time for everything together, about; the first calls of the smallest size are made
            however short it is.
        copy_only: libraries whose product is in another precision than the one asked for.
    """
    share = seconds / max(1, len(kernels) + len(copy_only))
    return tuple(
        LibraryLimits(
            library=each.library,
            readings={
                "best_gemm": Reading(value=None, unit="FLOP/s", reason="its product is in another precision")
                if each in copy_only
                else _best_gemm(each, GEMM_SHARE * share),
                "best_copy": _best_copy(each, (1 - GEMM_SHARE) * share),
            },
        )
        for each in (*kernels, *copy_only)
    )


def _best_gemm(kernels: PeakKernels, seconds: float) -> Reading:
    rate, size = _best_rate(kernels.gemm, GEMM_SIZES, lambda size: 2 * size**3, seconds)
    return Reading(value=rate, unit="FLOP/s", basis=f"{kernels.library}, {size} x {size}")


def _best_copy(kernels: PeakKernels, seconds: float) -> Reading:
    rate, size = _best_rate(kernels.copy, COPY_BYTES, lambda size: 2 * size, seconds)
    return Reading(value=rate, unit="bytes/s", basis=f"{kernels.library}, {size // 2**20} MiB")


def _best_rate(
    kernel: Kernel, sizes: Sequence[int], work: Callable[[int], int], seconds: float
) -> tuple[float, int]:
    """Return the most work a second, and the size of which it is.

    First every size, then the best ones for what is left of the time: the figure of a size that was
    called often differs least from session to session.
    """
    end = time.perf_counter() + seconds
    shortest = dict.fromkeys(sizes, float("inf"))
    for _ in range(PASSES):
        for place, size in enumerate(shortest):
            shortest[size] = min(shortest[size], _shortest_call(kernel, size))
            following = sizes[place + 1 : place + 2]
            # A look is two calls: the first call of a size allocates, and is not counted.
            if following and 2 * PASSES * shortest[size] * work(following[0]) / work(size) > MOST * seconds:
                shortest = {each: shortest[each] for each in sizes[: place + 1]}
                break
    best = sorted(shortest, key=lambda size: work(size) / shortest[size], reverse=True)[:BEST_SIZES]
    turns = [size for _ in range(TURNS) for size in best]
    for done, size in enumerate(turns):
        now = time.perf_counter()
        if now < end:
            until = now + (end - now) / (len(turns) - done)
            shortest[size] = min(shortest[size], _shortest_call(kernel, size, until))
    return max((work(size) / duration, size) for size, duration in shortest.items())


def _shortest_call(kernel: Kernel, size: int, until: float = 0.0) -> float:
    """Return the shortest of the calls that begin before a time, s; of one at least."""
    kernel(size)
    shortest, is_first = float("inf"), True
    while is_first or time.perf_counter() < until:
        start = time.perf_counter()
        kernel(size)
        shortest, is_first = min(shortest, time.perf_counter() - start), False
    return shortest
