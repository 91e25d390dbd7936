"""Pure functions on numbers: medians, intervals, and which of several cells differ.

Owns every formula that stands between raw times and a printed figure. Knows no record and no
unit. What the launcher calls between rounds is plain Python; the rest imports numpy and scipy
when it is called. Every resampling takes its seed: the same numbers give the same interval.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import combinations
from math import comb, exp, fsum, isfinite, log, sqrt
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Floats = NDArray[numpy.float64]

__all__ = [
    "bootstrap_interval",
    "centred_medians",
    "count_outliers",
    "geometric_mean",
    "half_width",
    "has_drifted",
    "holm",
    "mean_interval",
    "median",
    "noise_floor",
    "paired_log_ratio",
    "percentile_interval",
    "quantile",
    "ratio_half_width",
    "ratio_of_means",
    "resampled_medians",
    "separated_pairs",
    "welch_interval",
    "widest_half_width",
]

Interval = tuple[float, float]

LEVEL = 0.95
RESAMPLES = 2000
"""Enough for the ends of a 95 % interval: 50 resampled values lie beyond each."""
CHUNK_VALUES = 2_000_000
"""Values resampled at a time: 16 MB, so that a run of many rounds does not need gigabytes."""
MIN_FLOOR_VALUES = 20
"""A 95 % quantile of fewer values would be little more than their maximum."""


def quantile(values: Collection[float], share: float) -> float:
    """Return the value below which a share of the values lies, interpolated linearly.

    Args:
        values: at least one number, in any order.
        share: between 0 and 1.

    Raises:
        ValueError: there is no value.

    Source: Hyndman and Fan, Sample Quantiles in Statistical Packages, 1996, definition 7.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a quantile needs at least one value")
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def count_outliers(values: Collection[float]) -> int:
    """Return how many values lie more than three quartile ranges outside the quartiles.

    Source: Tukey, Exploratory Data Analysis, 1977 (values "far out").
    """
    low, high = quantile(values, 0.25), quantile(values, 0.75)
    reach = 3 * (high - low)
    return sum(value < low - reach or value > high + reach for value in values)


def geometric_mean(values: Collection[float]) -> float:
    """Return the geometric mean of positive values."""
    return exp(fsum(log(value) for value in values) / len(values))


def paired_log_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the median over rounds of ln(b/a).

    Args:
        a: positive values, one a round.
        b: as many, of the same rounds.
    """
    return median(_log_ratios(a, b))


def half_width(values: Sequence[float]) -> float | None:
    """Return the relative half-width of the 95 % interval of the median of positive values.

    None while there are fewer than six values: no interval has that level then.
    """
    return _half_width([log(value) for value in values])


def ratio_half_width(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the half-width of the 95 % interval of the median paired log-ratio of b over a."""
    return _half_width(_log_ratios(a, b))


def widest_half_width(cells: Sequence[Sequence[float]]) -> float | None:
    """Return the half-width that decides when a group has enough rounds.

    The widest of all pairs of cells; of the values themselves where there is one cell.

    Args:
        cells: for each cell its positive values, one a round, of the same rounds.
    """
    if len(cells) == 1:
        return half_width(cells[0])
    widths = [ratio_half_width(a, b) for a, b in combinations(cells, 2)]
    known = [width for width in widths if width is not None]
    return max(known) if known and len(known) == len(widths) else None


def has_drifted(values: Sequence[float], tolerance: float) -> bool:
    """Tell whether the last third of a positive series differs from its first third.

    Their medians must differ by more than the tolerance, and by more than the noise between
    rounds explains (rank-sum statistic beyond 1.96). A series of fewer than nine cannot tell.

    Source: Mann and Whitney, On a Test of Whether One of Two Random Variables is Stochastically
    Larger than the Other, 1947 (normal approximation).
    """
    size = len(values) // 3
    if size < 3:
        return False
    first, last = values[:size], values[-size:]
    if abs(log(median(last) / median(first))) <= log(1 + tolerance):
        return False
    ordered = sorted(first)
    wins = sum((bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 for value in last)
    return abs(wins - size**2 / 2) >= 1.96 * sqrt(size**2 * (2 * size + 1) / 12)


def noise_floor(stored: Collection[float], sessions: int) -> float | None:
    """Return the |ln r| that identical cells exceed in one of twenty comparisons.

    Args:
        stored: |ln r| of single A/A sessions on this machine.
        sessions: sessions that the comparison averages.

    Returns:
        The 95 % quantile over √sessions; None below 20 stored values.
    """
    if len(stored) < MIN_FLOOR_VALUES:
        return None
    return quantile(stored, LEVEL) / sqrt(sessions)


def resampled_medians(
    rows: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = RESAMPLES
) -> Floats:
    """Return the medians of several series over the same resampled rounds.

    The rounds are drawn once for all rows, so that the interval of a difference of two medians
    keeps what the rows share.

    Args:
        rows: (series, rounds), at least one round.

    Returns:
        (resamples, series).
    """
    import numpy

    table = numpy.asarray(rows, dtype=numpy.float64)
    rounds = table.shape[1]
    generator = numpy.random.default_rng(seed)
    at_once = max(1, CHUNK_VALUES // rounds)
    parts = []
    for start in range(0, resamples, at_once):
        drawn = generator.integers(rounds, size=(min(at_once, resamples - start), rounds))
        parts.append(numpy.stack([numpy.median(row[drawn], axis=1) for row in table], axis=1))
    return numpy.concatenate(parts)


def percentile_interval(values: Floats | Sequence[float], level: float = LEVEL) -> Interval:
    """Return the central interval that holds a share `level` of resampled values.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    import numpy

    low, high = numpy.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: Sequence[float], level: float = LEVEL, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return the percentile bootstrap interval of the median."""
    return percentile_interval(resampled_medians([values], seed=seed, resamples=resamples), level)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Return the mean and its t interval.

    Args:
        values: at least two.

    Returns:
        (mean, low, high).

    Source: Student, The Probable Error of a Mean, 1908.
    """
    count = len(values)
    mean = fsum(values) / count
    width = _t_quantile(count - 1, level) * sqrt(_variance(values) / count)
    return mean, mean - width, mean + width


def welch_interval(
    a: Sequence[float], b: Sequence[float], level: float = LEVEL
) -> tuple[float, float, float, float]:
    """Compare two means of unpaired values whose variances may differ.

    Args:
        a: at least two values.
        b: at least two values.

    Returns:
        (difference b − a, low, high, two-sided p).

    Source: Welch, The Generalization of "Student's" Problem when Several Different Population
    Variances are Involved, 1947.
    """
    difference = fsum(b) / len(b) - fsum(a) / len(a)
    parts = [(_variance(values) / len(values), len(values) - 1) for values in (a, b)]
    variance = fsum(part for part, _ in parts)
    if variance == 0:
        return difference, difference, difference, float(difference == 0)
    freedom = variance**2 / fsum(part**2 / count for part, count in parts)

    from scipy.special import stdtr

    width = _t_quantile(freedom, level) * sqrt(variance)
    p = 2 * float(stdtr(freedom, -abs(difference) / sqrt(variance)))
    return difference, difference - width, difference + width, p


def ratio_of_means(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float] | None:
    """Return mean(b) over mean(a) of paired values, with its 95 % interval.

    Args:
        a: at least two values, one a session.
        b: as many, of the same sessions.

    Returns:
        (ratio, low, high); None where a's mean is not told from zero: nothing bounds the ratio then.

    Source: Fieller, Some Problems in Interval Estimation, 1954.
    """
    count = len(a)
    left, right = fsum(a) / count, fsum(b) / count
    shared = fsum((x - left) * (y - right) for x, y in zip(a, b, strict=True)) / (count - 1)
    scale = _t_quantile(count - 1, LEVEL) ** 2 / count
    # The ratios r for which the mean of b − r·a is not told from zero: a quadratic in r.
    square = left**2 - scale * _variance(a)
    middle = left * right - scale * shared
    if square <= 0:
        return None
    root = sqrt(max(middle**2 - square * (right**2 - scale * _variance(b)), 0.0))
    return right / left, (middle - root) / square, (middle + root) / square


def holm(p_values: Sequence[float], level: float = LEVEL) -> Sequence[bool]:
    """Tell which of several tests stand when all are judged at once.

    The chance of any false one is at most 1 − level.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    stands = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > (1 - level) / (len(p_values) - rank):
            break
        stands[index] = True
    return stands


def centred_medians(rounds: Sequence[Sequence[Sequence[float]]]) -> Floats:
    """Return one log value a session and cell, free of what a round did to all cells alike.

    ln of each value, less the median over the cells of its round; then the median over rounds.
    With two cells the difference of two columns is their paired log-ratio.

    Args:
        rounds: (sessions, cells, rounds), positive; sessions may differ in their rounds.

    Returns:
        (sessions, cells).
    """
    import numpy

    lines = []
    for session in rounds:
        logs = numpy.log(numpy.asarray(session, dtype=numpy.float64))
        lines.append(numpy.median(logs - numpy.median(logs, axis=0), axis=1))
    return numpy.stack(lines)


def separated_pairs(logs: Floats | Sequence[Sequence[float]], level: float = LEVEL) -> set[tuple[int, int]]:
    """Return the pairs of columns whose means differ, judged all at once.

    Sessions are blocks and cells treatments of a randomised block layout; the residual variance
    is pooled over the cells. The chance of any false pair is at most 1 − level.

    Args:
        logs: (sessions, cells), at least two of each.

    Returns:
        Pairs (i, j) with i < j.

    Source: Tukey, The Problem of Multiple Comparisons, 1953; Hochberg and Tamhane, Multiple
    Comparison Procedures, 1987, chapter 3.
    """
    import numpy

    table = numpy.asarray(logs, dtype=numpy.float64)
    sessions, cells = table.shape
    means = table.mean(axis=0)
    residuals = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (sessions - 1) * (cells - 1)
    error = sqrt(float((residuals**2).sum()) / freedom / sessions)
    least = _range_quantile(cells, freedom, level) * error
    return {(i, j) for i, j in combinations(range(cells), 2) if abs(means[i] - means[j]) > least}


def _log_ratios(a: Sequence[float], b: Sequence[float]) -> Sequence[float]:
    return [log(right / left) for left, right in zip(a, b, strict=True)]


def _half_width(logs: Sequence[float]) -> float | None:
    rank = _interval_rank(len(logs))
    if rank is None:
        return None
    ordered = sorted(logs)
    return (ordered[-1 - rank] - ordered[rank]) / 2


@lru_cache(maxsize=1024)
def _interval_rank(count: int, level: float = LEVEL) -> int | None:
    """Return the rank from either end that bounds the median with at least this confidence.

    Unlike a bootstrap it costs one sort, and needs no seed.

    Source: David and Nagaraja, Order Statistics, 2003, section 7.1 (binomial probabilities).
    """
    if count > 1000:  # the normal approximation is exact to a rank there, and 2^-count is not 0
        return int((count - 1.959964 * sqrt(count)) / 2) - 1
    tail, rank = 0, None
    for index in range((count + 1) // 2):
        tail += comb(count, index)
        if 2 * tail > (1 - level) * 2**count:
            break
        rank = index
    return rank


def _variance(values: Sequence[float]) -> float:
    mean = fsum(values) / len(values)
    return fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


@lru_cache(maxsize=256)
def _t_quantile(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


@lru_cache(maxsize=256)
def _range_quantile(cells: int, freedom: int, level: float) -> float:
    if cells == 2:  # a studentised range of two is √2·|t|; scipy.stats takes a second to import
        return sqrt(2) * _t_quantile(freedom, level)

    from scipy.stats import studentized_range

    value = float(studentized_range.ppf(level, cells, freedom))
    if not isfinite(value):
        raise ArithmeticError(f"no studentised range quantile for {cells} cells, {freedom} freedom")
    return value
