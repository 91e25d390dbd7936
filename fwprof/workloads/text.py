"""Turns shipped texts into ids: words, a vocabulary, passages of one length.

Owns the texts and the tokenizer. Knows no workload, no split and no framework.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files

BOOKS = ("devils-dictionary", "jargon-file")
PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
"""Ids: in front of a short passage, of a word outside the vocabulary, of the commonest word."""
MIN_WORDS = 10
"""A shorter passage says too little to be told from another."""

_TEXTS = files("fwprof.workloads") / "texts"
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def read_book(name: str) -> list[list[str]]:
    """Return the entries of one of `BOOKS`, each as its words in lower case."""
    packed = (_TEXTS / f"{name}.txt.gz").read_bytes()
    return [_WORD.findall(line.lower()) for line in gzip.decompress(packed).decode().splitlines()]


def number_words(entries: Iterable[Sequence[str]], vocabulary: int) -> Mapping[str, int]:
    """Return ids for the commonest words, the commonest first; ties in alphabetical order."""
    counts = Counter(word for words in entries for word in words)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: FIRST_WORD + rank for rank, word in enumerate(ranked[: vocabulary - FIRST_WORD])}


def passages(words: Sequence[str], ids: Mapping[str, int], length: int) -> Iterator[list[int]]:
    """Yield the entry in passages of `length` ids that do not overlap, the last one padded in front.

    Padded in front, a recurrent layer ends on the last word, and nothing has to mask the padding.
    """
    for start in range(0, len(words), length):
        passage = [ids.get(word, UNKNOWN) for word in words[start : start + length]]
        if len(passage) >= min(MIN_WORDS, length):
            yield [PADDING] * (length - len(passage)) + passage
