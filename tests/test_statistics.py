"""The formulas, against figures worked out by hand or found in tables."""

from __future__ import annotations

import math
import random
import statistics as oracle
from itertools import combinations

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwprof import statistics

positive = st.floats(min_value=1e-3, max_value=1e9)
series = st.lists(positive, min_size=1, max_size=60)


def test_outliers_are_what_lies_three_quartile_ranges_outside() -> None:
    assert statistics.count_outliers([10, 11, 12, 13, 14, 15, 16, 17, 18]) == 0
    assert statistics.count_outliers([10, 11, 12, 13, 14, 15, 16, 17, 18, 60]) == 1
    assert statistics.count_outliers([-40, 10, 11, 12, 13, 14, 15, 16, 17, 18, 60]) == 2


def test_a_quantile_is_interpolated_between_its_neighbours() -> None:
    assert statistics.quantile([4, 1, 3, 2], 0.5) == 2.5
    assert statistics.quantile([10, 20, 30, 40, 50], 0.1) == pytest.approx(14)
    assert statistics.quantile([7], 0.9) == 7


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one value"):
        statistics.quantile([], 0.5)


@given(series, st.floats(min_value=0, max_value=1))
def test_quantiles_agree_with_numpy(values: list[float], share: float) -> None:
    assert statistics.quantile(values, share) == pytest.approx(float(numpy.quantile(values, share)))


@given(series)
def test_a_geometric_mean_lies_within_its_values(values: list[float]) -> None:
    mean = statistics.geometric_mean(values)
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)


def test_a_paired_ratio_sees_through_drift_that_both_share() -> None:
    drift = [1.0, 3.0, 0.5, 8.0, 2.0]
    assert statistics.paired_log_ratio(drift, [2 * x for x in drift]) == pytest.approx(math.log(2))


@given(series, positive)
def test_a_paired_ratio_changes_sign_with_the_order(values: list[float], factor: float) -> None:
    other = [value * factor for value in values]
    forth = statistics.paired_log_ratio(values, other)
    assert statistics.paired_log_ratio(other, values) == pytest.approx(-forth, abs=1e-9)


def test_the_width_of_ten_values_is_that_between_the_second_and_the_ninth() -> None:
    """P(|B(10, ½) − 5| > 3) = 2·11/1024 = 2.1 %, and one rank further in it is 10.9 %."""
    values = [math.exp(rank) for rank in range(10)]
    assert statistics.half_width(values[::-1]) == pytest.approx((8 - 1) / 2)


def test_five_values_have_no_95_percent_interval_and_six_have_one() -> None:
    """All of n values are above the median with probability 2^-n: 2·2^-5 = 6.3 %."""
    assert statistics.half_width([1.0] * 5) is None
    assert statistics.half_width([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(math.log(6) / 2)


@given(st.lists(positive, min_size=6, max_size=40), positive)
def test_a_half_width_is_relative(values: list[float], factor: float) -> None:
    scaled = statistics.half_width([value * factor for value in values])
    assert scaled == pytest.approx(statistics.half_width(values), abs=1e-9)


def test_the_ranks_of_many_values_go_on_where_exact_ones_end() -> None:
    exact, normal = (statistics.half_width([math.exp(i / n) for i in range(n)]) for n in (1000, 1001))
    assert exact == pytest.approx(normal, rel=0.02)


def test_the_widest_pair_of_a_group_decides() -> None:
    quiet, noisy = [1.0] * 10, [math.exp(rank) for rank in range(10)]
    assert statistics.widest_half_width([quiet, quiet, noisy]) == pytest.approx(3.5)
    assert statistics.widest_half_width([quiet, quiet]) == 0
    assert statistics.widest_half_width([noisy]) == pytest.approx(3.5)


def test_the_width_of_a_group_is_unknown_while_there_are_few_rounds() -> None:
    assert statistics.widest_half_width([[1.0], [2.0]]) is None


def test_a_series_that_climbs_has_drifted_and_one_that_jitters_has_not() -> None:
    climbing = [1.0 + 0.02 * index for index in range(12)]
    jitter = [1.0, 1.3, 0.8, 1.2, 0.9, 1.0, 0.9, 1.4, 1.1, 1.2, 0.8, 1.1]
    assert statistics.has_drifted(climbing, 0.05)
    assert not statistics.has_drifted(jitter, 0.05)
    assert not statistics.has_drifted([1.0 + 0.001 * index for index in range(12)], 0.05)
    assert not statistics.has_drifted(climbing[:8], 0.0)


def test_the_noise_floor_is_unknown_below_twenty_values() -> None:
    assert statistics.noise_floor([0.01] * 19, 5) is None


def test_the_noise_floor_shrinks_with_the_root_of_the_sessions() -> None:
    stored = [index / 100 for index in range(21)]
    assert statistics.noise_floor(stored, 1) == pytest.approx(0.19)
    assert statistics.noise_floor(stored, 4) == pytest.approx(0.095)


def test_a_bootstrap_gives_the_same_interval_every_time() -> None:
    values = [float(value) for value in range(1, 41)]
    first = statistics.bootstrap_interval(values, seed=3)
    assert first == statistics.bootstrap_interval(values, seed=3)
    assert first != statistics.bootstrap_interval([value**1.01 for value in values], seed=3)


def test_a_bootstrap_finds_the_exact_interval_of_a_median() -> None:
    """The percentile interval of a median nears the binomial one: ranks 14 and 27 of 40."""
    low, high = statistics.bootstrap_interval([float(value) for value in range(1, 41)], resamples=20_000)
    assert low == pytest.approx(14, abs=1)
    assert high == pytest.approx(27, abs=1)


def test_programs_are_resampled_over_the_same_rounds() -> None:
    """A difference that is the same in every round has no width, however noisy the rounds are."""
    noise = [1.0, 9.0, 4.0, 7.0, 2.0, 30.0, 3.0]
    medians = statistics.resampled_medians([noise, [value + 5 for value in noise]], resamples=200)
    assert medians.shape == (200, 2)
    assert numpy.ptp(medians[:, 0]) > 0
    assert medians[:, 1] - medians[:, 0] == pytest.approx(numpy.full(200, 5.0))


def test_long_series_are_resampled_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "CHUNK_VALUES", 100)
    medians = statistics.resampled_medians([list(range(1, 31))], resamples=50)
    assert medians.shape == (50, 1)
    assert len(set(medians[:, 0])) > 5


def test_the_t_interval_is_that_of_the_table() -> None:
    """Mean 3, variance 2.5, t(4; 0.975) = 2.7764: 3 ± 2.7764·√(2.5/5)."""
    mean, low, high = statistics.mean_interval([1, 2, 3, 4, 5])
    assert mean == 3
    assert high - mean == pytest.approx(2.776445 * math.sqrt(0.5), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.floats(-10, 10))
def test_a_t_interval_moves_with_its_values(values: list[float], shift: float) -> None:
    mean, low, high = statistics.mean_interval(values)
    moved = statistics.mean_interval([value + shift for value in values])
    assert moved == pytest.approx((mean + shift, low + shift, high + shift), abs=1e-6)
    assert low <= oracle.fmean(values) + 1e-9
    assert oracle.fmean(values) <= high + 1e-9


def test_welch_of_equal_variances_and_sizes_is_students_test() -> None:
    """Difference 2, variance 2.5 each, 8 degrees of freedom: t = 2, p = 0.0805."""
    difference, low, high, p = statistics.welch_interval([1, 2, 3, 4, 5], [3, 4, 5, 6, 7])
    assert difference == 2
    assert (low, high) == pytest.approx((2 - 2.306004, 2 + 2.306004), rel=1e-6)
    assert p == pytest.approx(0.0805, abs=5e-4)


def test_welch_of_values_without_noise_is_certain() -> None:
    assert statistics.welch_interval([1, 1], [2, 2]) == (1, 1, 1, 0.0)
    assert statistics.welch_interval([1, 1], [1, 1]) == (0, 0, 0, 1.0)


def test_a_ratio_of_means_is_covered_by_its_interval() -> None:
    """2,000 seeded draws of five pairs, 5 and 20 % of noise: Fieller's interval is exact here."""
    source = random.Random(7)
    covered = bounded = 0
    for _ in range(2000):
        a = [source.gauss(1, 0.2) for _ in range(5)]
        found = statistics.ratio_of_means(a, [source.gauss(3, 0.15) for _ in a])
        bounded += found is not None
        covered += found is not None and found[1] <= 3 <= found[2]
    assert bounded > 1900
    assert covered / bounded == pytest.approx(0.95, abs=0.02)


def test_a_ratio_of_proportional_values_is_certain() -> None:
    assert statistics.ratio_of_means([10, 11, 12], [20, 22, 24]) == pytest.approx((2, 2, 2))


def test_a_ratio_over_what_may_be_zero_has_no_bounds() -> None:
    assert statistics.ratio_of_means([1, -1, 1, -1], [1, 2, 3, 4]) is None
    assert statistics.ratio_of_means([0, 0], [1, 2]) is None


def test_holm_stops_at_the_first_test_that_fails() -> None:
    """0.01 ≤ 0.05/3 stands; 0.03 > 0.05/2 does not, and neither does any larger one."""
    assert statistics.holm([0.03, 0.01, 0.04]) == [False, True, False]
    assert statistics.holm([0.01, 0.02, 0.04]) == [True, True, True]
    assert statistics.holm([]) == []


def test_two_centred_columns_differ_by_the_paired_ratio() -> None:
    a, b = [1.0, 5.0, 2.0, 9.0], [2.0, 6.0, 8.0, 9.0]
    ((left, right),) = statistics.centred_medians([[a, b]])
    assert right - left == pytest.approx(statistics.paired_log_ratio(a, b))


@given(st.lists(positive, min_size=5, max_size=5))
def test_what_slows_a_whole_round_changes_no_centred_value(factors: list[float]) -> None:
    rounds = [[1.0, 2.0, 3.0, 2.0, 1.0], [2.0, 2.0, 5.0, 1.0, 1.0], [1.5, 1.0, 1.0, 3.0, 2.0]]
    slowed = [[value * factor for value, factor in zip(row, factors, strict=True)] for row in rounds]
    assert statistics.centred_medians([slowed]) == pytest.approx(statistics.centred_medians([rounds]))


def test_tukey_separates_what_lies_beyond_the_tables_range() -> None:
    """q(0.05; 3, 8) = 4.041; residual variance 1 over 5 sessions: 4.041·√(1/5) = 1.807."""
    rows = numpy.array([[1, -1, 0], [-1, 1, 0], [1, 0, -1], [-1, 0, 1], [0, 0, 0]], dtype=float)
    rows -= rows.mean(axis=0)
    rows *= math.sqrt(8 / (rows**2).sum())
    assert statistics.separated_pairs(rows + numpy.array([0, 1.80, 0.9])) == set()
    assert statistics.separated_pairs(rows + numpy.array([0, 1.82, 0.9])) == {(0, 1)}


def test_tukey_of_two_cells_is_the_paired_t_test() -> None:
    differences = [0.1, 0.2, 0.15, 0.05, 0.3]
    _, low, _ = statistics.mean_interval(differences)
    for shift, separated in ((low - 1e-9, {(0, 1)}), (low + 1e-9, set())):
        assert statistics.separated_pairs([[0.0, value - shift] for value in differences]) == separated


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4), min_size=5, max_size=5),
    st.permutations(range(4)),
)
def test_separation_does_not_depend_on_the_order_of_cells(rows: list[list[float]], order: list[int]) -> None:
    straight = statistics.separated_pairs(rows)
    turned = statistics.separated_pairs([[row[index] for index in order] for row in rows])
    assert {frozenset(order[i] for i in pair) for pair in turned} == {frozenset(pair) for pair in straight}


def test_without_noise_every_difference_is_separated_and_no_tie_is() -> None:
    rows = [[0.0, 0.0, 1.0]] * 5
    assert statistics.separated_pairs(rows) == {(0, 2), (1, 2)}
    assert set(combinations(range(3), 2)) - statistics.separated_pairs(rows) == {(0, 1)}
