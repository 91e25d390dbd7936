"""Numbers in text: units, digits and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof.report import figures
from fwprof.report.figures import Unit

MS = Unit("ms", 1e6)
ONE = Unit("", 1.0)


@pytest.mark.parametrize(
    ("value", "half_width", "expected"),
    [
        (0.4123, 0.0045, "0.412"),
        (0.4123, 0.045, "0.41"),
        (0.4123, 0.45, "0.4"),
        (0.4123, 4.5, "0.4"),
        (41.23, 4.5, "41"),
        (1234.5, 60.0, "1,230"),
        (1234.567, 0.001, "1,235"),
        (12.3456789, 1e-9, "12.35"),
        (0.0, 0.1, "0"),
        (3.14159, None, "3.1"),
        (305.2, None, "305"),
        (0.0123, None, "0.012"),
        (-0.004, 0.1, "-0.004"),
    ],
)
def test_digits_end_where_the_interval_begins(value: float, half_width: float | None, expected: str) -> None:
    assert figures.number(value, half_width) == expected


@given(st.floats(1e-6, 1e12), st.floats(1e-4, 0.5))
def test_a_printed_number_is_off_by_less_than_its_interval_or_its_fourth_digit(
    value: float, relative: float
) -> None:
    half_width = value * relative
    printed = float(figures.number(value, half_width).replace(",", ""))
    assert abs(printed - value) <= max(half_width, value * 5e-4) * 1.0001


@given(st.floats(1e-6, 1e12), st.floats(1e-6, 1e3))
def test_a_printed_number_never_has_more_than_four_digits_with_an_interval(
    value: float, half_width: float
) -> None:
    printed = figures.number(value, half_width).replace(",", "").replace(".", "").strip("0")
    assert len(printed) <= 4


@pytest.mark.parametrize(
    ("ci95", "unit", "expected"),
    [
        ((408_000, 417_000), MS, "0.408–0.417"),
        ((1.99e6, 2.04e6), MS, "1.99–2.04"),
        ((-14e3, 48e3), MS, "-0.01 to 0.05"),
        ((0.9, 300.0), ONE, "0.90–300"),
        ((0.9999, 1.0001), ONE, "0.9999–1.0001"),
        (None, MS, "not measured"),
    ],
)
def test_both_ends_of_an_interval_stand_to_one_place(
    ci95: tuple[float, float] | None, unit: Unit, expected: str
) -> None:
    assert figures.interval(ci95, unit) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (48e3, "< 0.048"),
        (0.12e6, "< 0.12"),
        (0.121e6, "< 0.13"),
        (12.1e6, "< 13"),
        (-5.0, "~ 0"),
        (0.0, "~ 0"),
    ],
)
def test_an_upper_bound_is_rounded_up(value: float, expected: str) -> None:
    assert figures.upper_bound(value, MS) == expected


@given(st.floats(1, 1e12))
def test_an_upper_bound_stays_a_bound(value: float) -> None:
    printed = float(figures.upper_bound(value, ONE).removeprefix("< ").replace(",", ""))
    assert printed >= value * (1 - 1e-9)
    assert printed <= value * 1.11


@pytest.mark.parametrize(
    ("nanoseconds", "expected"), [(412_345, "412 µs"), (4.1e7, "41 ms"), (3.1e9, "3.1 s"), (70, "70 ns")]
)
def test_a_duration_takes_the_unit_that_suits_it(nanoseconds: float, expected: str) -> None:
    assert figures.duration(nanoseconds) == expected


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [(9e8, "ms"), (1e9, "s"), (4.1e5, "ms"), (9e4, "µs"), (900, "ns")],
)
def test_step_times_are_in_ms_from_a_tenth_of_one(nanoseconds: float, expected: str) -> None:
    assert figures.step_unit(nanoseconds).name == expected


def test_sizes_and_counts_use_si_units() -> None:
    assert figures.size(342_000_000) == "342 MB"
    assert figures.size(1.2e9) == "1.2 GB"
    assert figures.size(12) == "12 bytes"
    assert figures.count(155_420, (153_000, 157_000)) == "155 k"
    assert figures.count(700) == "700"


def test_ratios_and_shares_are_short() -> None:
    assert figures.ratio(1.2134, (1.15, 1.27)) == "1.21 ×"
    assert figures.ratio(4.886, (4.6, 5.2)) == "4.9 ×"
    assert figures.percent(0.0112) == "1.1 %"
    assert figures.percent(0.94) == "94 %"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.84, "0.8 s"),
        (75.2, "75 s"),
        (119.6, "2 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_waiting_times_are_said_as_people_say_them(seconds: float, expected: str) -> None:
    assert figures.wait(seconds) == expected


def test_words_are_counted_and_joined() -> None:
    assert figures.plural(1, "process") == "1 process"
    assert figures.plural(5, "process") == "5 processes"
    assert figures.plural(2, "cell") == "2 cells"
    assert figures.listed([]) == ""
    assert figures.listed(["a"]) == "a"
    assert figures.listed(["a", "b", "c"]) == "a, b and c"
