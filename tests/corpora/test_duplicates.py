"""Near-duplicates against a plain quadratic computation."""

from __future__ import annotations

import random
import re

from tlbench.corpora.duplicates import groups, near_duplicates, normalise
from tlbench.corpora.split import apart


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at:at + 5]) for at in range(max(1, len(words) - 4))} if words else set()


def similarity(one: str, other: str) -> float:
    a, b = grams(one), grams(other)
    return len(a & b) / len(a | b) if a and b else 0.0


def variations(count: int) -> list[str]:
    draw = random.Random(0)
    texts = []
    for _ in range(count):
        words = [f"w{draw.randrange(60)}" for _ in range(draw.randrange(30))]
        for _ in range(4):
            texts.append(" ".join(words))
            words = [word if draw.random() > 0.03 else "new" for word in words]
    return texts


def test_near_duplicates_misses_no_pair_and_adds_none() -> None:
    left, right = variations(40), variations(50)
    expected = [(i, j) for i, one in enumerate(left) for j, other in enumerate(right)
                if similarity(one, other) >= 0.7]
    assert near_duplicates(left, right) == expected
    assert len(expected) > 100


def test_near_duplicates_of_nothing_are_none() -> None:
    assert near_duplicates([], ["a b c"]) == []
    assert near_duplicates(["a b c"], []) == []
    assert near_duplicates(["", "..."], ["", "..."]) == []


def test_short_texts_match_their_exact_copies_only() -> None:
    assert near_duplicates(["Fit the model.", "Fit a model"], ["fit the MODEL"]) == [(0, 0)]


def test_groups_follow_chains_over_all_views() -> None:
    english = ["a b c d e f g", "a b c d e f g", "other words are here now", "nothing in common with it at all"]
    french = ["u", "v", "v", "w"]
    assert groups([english, french]) == [0, 0, 0, 3]


def test_apart_keeps_the_test_copy_and_one_copy_of_each() -> None:
    train = ["one two three four five six", "seven eight nine", "Seven, eight, nine!", "ten"]
    test = ["one two three four five six", "eleven", "eleven"]
    kept, tested, counts = apart(train, test, lambda text: [text], known=["ten"])
    assert (kept, tested) == (["seven eight nine"], ["one two three four five six", "eleven"])
    assert counts == {"exact_duplicates": 2, "near_duplicates_of_test": 2}


def test_normalise_ignores_case_and_punctuation() -> None:
    assert normalise("The `model`,  fitted.") == "the model fitted"
