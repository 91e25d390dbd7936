"""The machine's limits are the best of every library, in FLOP/s and bytes/s."""

from __future__ import annotations

from collections import Counter

import pytest

from fwprof.execution import limits
from fwprof.testing.clock import FakeClock


class Kernels:
    """A library whose products and copies take a known time for each FLOP and byte."""

    def __init__(self, library: str, clock: FakeClock, flop_ns: float, byte_ns: float) -> None:
        self.library = library
        self._clock, self._flop_ns, self._byte_ns = clock, flop_ns, byte_ns
        self.sizes: list[int] = []
        self.copied: list[int] = []
        self.busy: set[int] = set()
        """Calls, by number, in which something else ran too."""

    def gemm(self, size: int) -> None:
        self.sizes.append(size)
        # Large products are the most efficient, as they are in earnest.
        duration = 2 * size**3 * self._flop_ns * (1 + 256 / size)
        self._clock.advance(round(duration * (3 if len(self.sizes) in self.busy else 1)))

    def copy(self, size_bytes: int) -> None:
        self.copied.append(size_bytes)
        self._clock.advance(round(2 * size_bytes * self._byte_ns))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(limits.time, "perf_counter", lambda: clock.now_ns() / 1e9)
    return clock


def test_every_library_is_told_with_its_best_size(clock: FakeClock) -> None:
    slow = Kernels("slow", clock, flop_ns=0.1, byte_ns=0.5)
    fast = Kernels("fast", clock, flop_ns=0.01, byte_ns=1.0)
    found = {each.library: each.readings for each in limits.measure_limits([slow, fast], 4.0)}
    assert found["fast"]["best_gemm"].value == pytest.approx(1e11 / (1 + 256 / 2048))
    assert found["fast"]["best_gemm"].basis == "fast, 2048 x 2048"
    # Looking twice at 1024 would take this one 1.1 s, of one second that there is.
    assert found["slow"]["best_gemm"].basis == "slow, 512 x 512"
    assert found["slow"]["best_copy"].value == pytest.approx(2e9)
    assert {each["best_gemm"].unit for each in found.values()} == {"FLOP/s"}
    assert {each["best_copy"].unit for each in found.values()} == {"bytes/s"}


def test_first_every_size_then_the_best_two_in_turns(clock: FakeClock) -> None:
    kernels = Kernels("numpy", clock, 0.001, 0.1)
    limits.measure_limits([kernels], 8.0)
    sizes = [size for size in limits.GEMM_SIZES[:-1] for _ in range(2)]
    first = limits.PASSES * len(sizes)
    assert kernels.sizes[:first] == limits.PASSES * sizes
    rest = kernels.sizes[first:]
    turns = [size for place, size in enumerate(rest) if place == 0 or rest[place - 1] != size]
    assert turns == [4096, 2048, 4096, 2048]
    calls = Counter(rest)
    # Both had the same time, and the larger takes 7.5 times as long.
    assert calls[2048] > 5 * calls[4096] > 20


def test_a_disturbance_of_the_first_calls_does_not_count(clock: FakeClock) -> None:
    quiet, disturbed = (Kernels("numpy", clock, 0.01, 0.1) for _ in range(2))
    best = {}
    for kernels in (quiet, disturbed):
        # The first look at the best size.
        kernels.busy = set() if kernels is quiet else {7, 8}
        (found,) = limits.measure_limits([kernels], 4.0)
        best[kernels] = found.readings["best_gemm"].value
    assert disturbed.sizes[6:8] == [2048, 2048]
    assert disturbed.sizes.count(2048) > 2 * limits.PASSES
    assert best[disturbed] == pytest.approx(best[quiet])


def test_the_time_is_shared_and_kept(clock: FakeClock) -> None:
    libraries = [Kernels(name, clock, 0.01, 0.1) for name in ("a", "b")]
    start = clock.now_ns()
    limits.measure_limits(libraries, 4.0)
    assert 3.5 < (clock.now_ns() - start) / 1e9 < 5.0


def test_without_time_the_smallest_size_is_still_measured(clock: FakeClock) -> None:
    kernels = Kernels("numpy", clock, 0.1, 0.1)
    (found,) = limits.measure_limits([kernels], 0.0)
    assert kernels.sizes == [256] * 2 * limits.PASSES
    assert found.readings["best_gemm"].value == pytest.approx(1e10 / 2)


def test_a_library_of_another_precision_tells_the_copy_alone(clock: FakeClock) -> None:
    own, other = (Kernels(name, clock, 0.1, 0.1) for name in ("own", "other"))
    found = limits.measure_limits([own], 1.0, [other])
    assert [each.library for each in found] == ["own", "other"]
    assert other.sizes == []
    assert other.copied
    gemm = found[1].readings["best_gemm"]
    assert (gemm.value, gemm.reason) == (None, "its product is in another precision")
    assert found[1].readings["best_copy"].value == pytest.approx(1e10)


def test_without_kernels_there_is_nothing() -> None:
    assert limits.measure_limits([], 1.0) == ()
