"""Tables: alignment, breaking, Markdown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fwprof.report.table import Column, Table

TABLE = Table(
    columns=(
        Column("name", "left", is_key=True),
        Column("first"),
        Column("second"),
        Column("third", starts_part=True),
    ),
    rows=(("a", "1", "22", "x|y"), ("bb", "10", "2", "*")),
)


def test_a_table_that_fits_stays_whole() -> None:
    assert TABLE.text(40) == [
        "name  first  second  third",
        "a         1      22    x|y",
        "bb       10       2      *",
    ]


def test_a_row_with_nothing_to_say_in_a_later_part_is_left_out_there() -> None:
    table = Table(columns=TABLE.columns, rows=(("a", "–", "–", "–"), ("bb", "10", "2", "*")))
    assert table.text(25) == [
        "name  first  second",
        "a         –       –",
        "bb       10       2",
        "",
        "name  third",
        "bb        *",
    ]


def test_a_table_that_is_too_wide_is_broken_where_a_part_starts() -> None:
    assert TABLE.text(25) == [
        "name  first  second",
        "a         1      22",
        "bb       10       2",
        "",
        "name  third",
        "a       x|y",
        "bb        *",
    ]


@given(st.integers(11, 60))
def test_no_line_is_wider_than_asked_and_every_value_is_there(width: int) -> None:
    lines = TABLE.text(max(width, 12))
    assert max(map(len, lines)) <= max(width, 12)
    words = " ".join(lines).split()
    assert {"1", "10", "22", "2", "x|y", "*"} <= set(words)


def test_markdown_escapes_what_would_break_the_table() -> None:
    assert TABLE.markdown() == [
        "| name | first | second | third |",
        "| :-- | --: | --: | --: |",
        "| a | 1 | 22 | x\\|y |",
        "| bb | 10 | 2 | \\* |",
    ]
