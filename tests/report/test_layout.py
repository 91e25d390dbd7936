"""Text and Markdown of the parts of a report."""

from __future__ import annotations

from fwprof.report.layout import Facts, Line, to_markdown, to_text
from fwprof.report.table import Column, Table


def test_a_command_stays_in_one_piece_and_its_comment_goes_below() -> None:
    facts = Facts((("next", "fwprof profile mlp --plugin alpha   # what it gives"),))
    assert to_text([facts], 100).splitlines() == [
        "next            fwprof profile mlp --plugin alpha   # what it gives"
    ]
    assert to_text([facts], 50).splitlines() == [
        "next            fwprof profile mlp --plugin alpha",
        "                  # what it gives",
    ]


def test_long_facts_are_wrapped_under_their_text() -> None:
    lines = to_text([Facts((("settings", "word " * 20),))], 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert all(line.startswith(" " * 16) for line in lines[1:])


def test_an_item_of_the_line_above_stays_indented_where_it_is_wrapped() -> None:
    lines = to_text([Facts((("recommended", "mlp"), ("", "  first: " + "word " * 20)))], 60).splitlines()
    assert lines[1].startswith(" " * 18 + "first: word")
    assert all(line.startswith(" " * 20 + "word") for line in lines[2:])
    assert len(lines) > 3


def test_there_is_never_more_than_one_blank_line() -> None:
    table = Table(columns=(Column("a"),), rows=(("1",),))
    assert to_text([table, Line(""), table, Line("")], 60) == "a\n1\n\na\n1\n"


def test_markdown_continues_a_fact_as_a_list_below_it() -> None:
    text = to_markdown([Line("title", is_heading=True), Facts((("why", "one"), ("", "two")))])
    assert text == "# title\n\n- **why**: one\n  - two\n"
    assert to_markdown([Facts((("recommended", "mlp"), ("", "  first: a")))]) == (
        "- **recommended**: mlp\n    - first: a\n"
    )
