"""Can a dictionary counted from the training pairs beat ui-translation?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest


def dictionary(train: Sequence[Any], test: Sequence[Any]) -> list[str]:
    """each word by the French word that keeps it company most exclusively, unknown words copied"""
    english: Counter[str] = Counter()
    french: Counter[str] = Counter()
    together: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        source, target = {*example.source.lower().split()}, {*example.targets[0].lower().split()}
        english.update(source)
        french.update(target)
        for word in source:
            together[word].update(target)

    def translated(word: str) -> str:
        known = together.get(word.lower())
        if not known or re.search(r"[%<{]", word):
            return word
        return max(known, key=lambda other: 2 * known[other] / (english[word.lower()] + french[other]))

    return [" ".join(map(translated, example.source.split())) for example in test]


@pytest.mark.slow
def test_dictionary_does_not_solve_ui_translation(beaten: Callable[..., float]) -> None:
    assert beaten("ui-translation", dictionary) > 0.2
