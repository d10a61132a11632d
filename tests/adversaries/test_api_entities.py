"""Can the shape of words, with a memory of all training names, beat api-entities?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

IDENTIFIER = re.compile(r"_|\w\.\w|[a-z][A-Z]|[A-Z]{2}[a-z]|[A-Za-z]\d")
CALLED = {"see", "use", "to", "by", "using", "with", "calling", "call", "method", "function", "and"}


def shapes(train: Sequence[Any], test: Sequence[Any]) -> list[tuple[str, ...]]:
    """the most frequent tag of a known word, and shape and neighbours of an unknown one"""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for word, tag in zip(example.words, example.tags, strict=True):
            if tag is not None:
                counts[word][tag] += 1

    def tag_of(words: Sequence[str], at: int) -> str:
        word, before, after = words[at], words[at - 1].lower() if at else "", [*words, ""][at + 1]
        if word in counts:
            return counts[word].most_common(1)[0][0]
        if re.fullmatch(r"[A-Z]\w*[a-z]\w*", word) and (at or IDENTIFIER.search(word)):
            return "B-class"
        if IDENTIFIER.search(word):
            return "B-function" if before in CALLED or after in ("method", "function") else "B-parameter"
        if before in ("if", "of", "than", "in", "when", "where") and after in ("is", "are", ",", ".", "must"):
            return "B-parameter"
        return "O"

    return [tuple(tag_of(example.words, at) for at in range(len(example.words))) for example in test]


@pytest.mark.slow
def test_shapes_do_not_solve_api_entities(beaten: Callable[..., float]) -> None:
    assert beaten("api-entities", shapes) > 0.2
