"""The machine's limits are the best that any library reached, in FLOP/s and bytes/s."""

from __future__ import annotations

import pytest

from fwprof.execution import limits
from fwprof.testing.clock import FakeClock


class Kernels:
    """A library whose products and copies take a known time for each FLOP and byte."""

    def __init__(self, library: str, clock: FakeClock, flop_ns: float, byte_ns: float) -> None:
        self.library = library
        self._clock, self._flop_ns, self._byte_ns = clock, flop_ns, byte_ns
        self.sizes: list[int] = []

    def gemm(self, size: int) -> None:
        self.sizes.append(size)
        # Large products are the most efficient, as they are in earnest.
        self._clock.advance(round(2 * size**3 * self._flop_ns * (1 + 256 / size)))

    def copy(self, size_bytes: int) -> None:
        self._clock.advance(round(2 * size_bytes * self._byte_ns))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(limits.time, "perf_counter", lambda: clock.now_ns() / 1e9)
    return clock


def test_the_best_of_all_libraries_and_sizes_counts(clock: FakeClock) -> None:
    slow = Kernels("slow", clock, flop_ns=0.1, byte_ns=0.5)
    fast = Kernels("fast", clock, flop_ns=0.01, byte_ns=1.0)
    found = limits.measure_limits([slow, fast], 0.1)
    assert found["best_gemm"].value == pytest.approx(1e11 / (1 + 256 / 2048))
    assert (found["best_gemm"].unit, found["best_gemm"].basis) == ("FLOP/s", "fast, 2048 x 2048")
    assert found["best_copy"].value == pytest.approx(2e9)
    assert found["best_copy"].basis.startswith("slow, ")


def test_every_size_runs_a_few_times_however_short_the_time(clock: FakeClock) -> None:
    kernels = Kernels("numpy", clock, 0.1, 0.1)
    limits.measure_limits([kernels], 0.0)
    assert kernels.sizes == [size for size in limits.GEMM_SIZES for _ in range(1 + limits.MIN_REPEATS)]


def test_without_kernels_there_is_no_figure_and_a_reason() -> None:
    found = limits.measure_limits([], 1.0)
    assert [(name, each.value) for name, each in found.items()] == [("best_gemm", None), ("best_copy", None)]
    assert {each.reason for each in found.values()} == {"no library offered a kernel for this device"}
