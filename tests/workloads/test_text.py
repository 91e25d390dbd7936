"""Texts become ids by a rule that can be followed by hand."""

from __future__ import annotations

import gzip
from importlib.resources import files

import pytest

from fwprof.workloads import text


def test_the_commonest_words_have_the_lowest_ids_and_rare_ones_none() -> None:
    ids = text.number_words([["b", "a", "c"], ["b", "c", "d"]], 5)
    assert ids == {"b": 2, "c": 3, "a": 4}


def test_an_entry_is_cut_into_passages_and_the_last_one_padded_in_front() -> None:
    ids = {f"w{number}": number for number in range(2, 40)}
    words = [f"w{number}" for number in range(2, 36)]
    passages = list(text.passages(words, ids, 20))
    assert passages == [list(range(2, 22)), [0] * 6 + list(range(22, 36))]


def test_a_passage_too_short_to_tell_is_left_out() -> None:
    words = ["a"] * 29
    assert [len(passage) for passage in text.passages(words, {"a": 2}, 20)] == [20]


def test_words_outside_the_vocabulary_share_an_id() -> None:
    assert list(text.passages(["a", "x", "y"], {"a": 2}, 3)) == [[2, 1, 1]]


@pytest.mark.parametrize("name", text.BOOKS)
def test_a_book_is_lower_case_words_entry_by_entry(name: str) -> None:
    entries = text.read_book(name)
    assert len(entries) > 600
    assert 50_000 < sum(map(len, entries)) < 60_000
    assert all(word == word.lower() for words in entries for word in words)


def test_the_texts_are_small_and_say_where_they_are_from() -> None:
    folder = files("fwprof.workloads") / "texts"
    provenance = (folder / "README.md").read_text(encoding="utf-8")
    assert "public domain" in provenance
    sizes = 0
    for name in text.BOOKS:
        assert f"`{name}.txt.gz`" in provenance
        packed = (folder / f"{name}.txt.gz").read_bytes()
        assert gzip.decompress(packed).isascii()
        sizes += len(packed)
    assert sizes < 500_000
