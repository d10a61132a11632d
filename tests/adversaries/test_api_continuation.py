"""Can a training continuation, or the source said again, beat api-continuation?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest


def words(text: str) -> set[str]:
    return {*re.findall(r"\w+", text.lower())}


def neighbour(train: Sequence[Any], test: Sequence[Any]) -> list[str]:
    """the continuation of the training text that shares the rarest words with the source"""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for at, example in enumerate(train):
        for word in words(example.source):
            holders[word].append(at)
    found = []
    for example in test:
        votes: Counter[int] = Counter()
        for word in words(example.source):
            if len(holders[word]) <= 500:  # more frequent words say nothing
                for at in holders[word]:
                    votes[at] += 1000 // len(holders[word])
        found.append(train[votes.most_common(1)[0][0]].targets[0] if votes else example.source)
    return found


def again(train: Sequence[Any], test: Sequence[Any]) -> list[str]:
    """the source once more"""
    return [example.source for example in test]


@pytest.mark.slow
def test_copying_does_not_solve_api_continuation(beaten: Callable[..., float]) -> None:
    for rule in (neighbour, again):  # one test, since reading the task takes longer than both rules
        assert beaten("api-continuation", rule) > 0.1
