"""Entity tags: what may follow what, and how broken ones are mended."""

from __future__ import annotations

from itertools import product

import pytest

from tlbench.iob2 import entities, legal, may_follow, mention

ALL = [list(tags) for size in (1, 2, 3, 4) for tags in product(["O", "B-A", "I-A", "B-B", "I-B"], repeat=size)]


def test_legal_tags_stay_and_others_lose_no_word() -> None:
    for tags in ALL:
        mended = legal(tags)
        assert all(may_follow(tag, before) for before, tag in zip(("O", *mended), mended, strict=False))
        assert [tag[1:] for tag in mended] == [tag[1:] for tag in tags]
        fine = all(may_follow(tag, before) for before, tag in zip(("O", *tags), tags, strict=False))
        assert (list(mended) == tags) == fine


@pytest.mark.parametrize(("tag", "before", "fine"), [
    ("I-A", "B-A", True), ("I-A", "I-A", True), ("I-A", "B-B", False), ("I-A", "O", False), ("I-A", None, False),
    ("B-A", "I-B", True), ("O", "I-B", True), (None, "I-B", True),
])
def test_what_may_follow(tag: str | None, before: str | None, fine: bool) -> None:
    assert may_follow(tag, before) is fine


def test_a_mention_is_one_entity() -> None:
    assert mention("A", 3) == ["B-A", "I-A", "I-A"]
    assert mention("A", 0) == []
    for size in (1, 2, 5):
        assert entities([*mention("A", size), *mention("A", 1)]) == {("A", 0, size), ("A", size, size + 1)}
