"""Signatures find what a corpus shares with other texts, and are the same everywhere."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tlbench.corpora.signatures import RATE, Leak, leak, signatures


def texts(count: int, words: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(f"w{draw.randrange(5000)}" for _ in range(words)) for _ in range(count)]


def test_leaked_texts_are_counted() -> None:
    corpus, fresh = texts(300, 100, 0), texts(100, 100, 1)
    copied = [f"before {text.upper()!r}, after" for text in corpus[:40]]
    known = signatures(corpus)
    found = leak([*fresh, *copied, "too short"], known)
    assert found.texts == 141
    assert 130 <= found.checkable <= 140
    assert 38 <= found.shared <= 40
    assert leak(fresh, known).shared == 0


def test_one_hash_in_sixteen_is_kept() -> None:
    corpus = texts(1000, 107, 0)
    known = signatures(corpus)
    assert known.dtype == np.uint64
    assert len(known) == pytest.approx(1000 * 100 / RATE, rel=0.05)
    assert (np.diff(known.astype(object)) > 0).all()
    assert len(set((known >> np.uint64(60)).tolist())) == 16


def test_order_of_words_counts() -> None:
    corpus = texts(200, 60, 0)
    turned = [" ".join(reversed(text.split())) for text in corpus]
    assert leak(turned, signatures(corpus)).shared == 0


def test_signatures_do_not_depend_on_the_process() -> None:
    found = signatures([" ".join(f"word{number}" for number in range(100))])
    assert [int(number) for number in found] == [7344635284989749728, 9707882118108636496]
    assert leak([], found) == Leak(0, 0, 0)
    assert len(signatures([])) == 0
