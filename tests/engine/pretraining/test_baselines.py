"""The baselines are proper probabilities and equal hand-computed ones."""

from __future__ import annotations

import numpy as np
import pytest

from tlbench.engine.pretraining.baselines import STRENGTHS, Counts, contexts_of, measure
from tlbench.engine.pretraining.packing import Tokens

FLAT = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3], dtype=np.int32)


def test_trigram_by_hand() -> None:
    unigram, trigram = Counts(FLAT, 5).probabilities(np.array([[0, 1]]), np.array([2]), (4.0, 2.0))
    single = (2 + 1) / (9 + 5)
    pair = (2 + 4.0 * single) / (3 + 4.0)
    assert unigram[0] == pytest.approx(single)
    assert trigram[0] == pytest.approx((2 + 2.0 * pair) / (3 + 2.0))


@pytest.mark.parametrize("context", [[0, 1], [4, 1], [4, 4], [-1, 2], [-1, -1], [3, -1]])
def test_probabilities_sum_to_one(context: list[int]) -> None:
    flat = np.concatenate([FLAT, [0]]).astype(np.int32)  # the last token is no context of anything
    for strengths in ((4.0,), (4.0, 2.0)):
        unigram, smoothed = Counts(flat, 5).probabilities(np.array([context] * 5), np.arange(5), strengths)
        assert unigram.sum() == pytest.approx(1.0)
        assert smoothed.sum() == pytest.approx(1.0, abs=0.05)


def test_unknown_contexts_fall_back_to_the_unigram() -> None:
    unigram, trigram = Counts(FLAT, 5).probabilities(np.array([[-1, -1], [4, 4]]), np.array([2, 0]), (4.0, 2.0))
    assert trigram == pytest.approx(unigram)


def test_contexts_are_the_two_tokens_on_the_left() -> None:
    assert contexts_of(np.array([[5, 6, 7]], dtype=np.int32)).tolist() == [[[-1, -1], [-1, 5], [5, 6]]]


def test_measure_beats_the_unigram_on_a_language_with_order() -> None:
    flat = np.tile(np.arange(10, dtype=np.int32), 100)
    tokens = Tokens(flat, np.arange(0, 1001, 10), np.arange(100), 1)
    rows = np.tile(np.arange(10, dtype=np.int32), 3)[None]
    found = measure(tokens, 12, contexts_of(rows)[0], rows[0].astype(np.int64))
    assert found.unigram == pytest.approx(np.log(10), abs=0.02)
    assert found.trigram < 0.5
    assert found.strengths[0] == STRENGTHS[0]
    again = measure(tokens, 12, contexts_of(rows)[0], rows[0].astype(np.int64))
    assert again == found
