"""Perplexity and bits per byte: hand-computed, from counts, defined everywhere."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest

from tlbench.kinds.generation import ChineseGeneration, Generation
from tlbench.kinds.likelihood import BitsPerByte, Likelihood, Perplexity

STATED = [Likelihood(2.0, 1, 4), Likelihood(4.0, 5, 8)]


def test_scores_are_quotients_of_sums_and_no_means_of_quotients() -> None:
    perplexity, bits = Perplexity(), BitsPerByte()
    tokens = perplexity.statistics([0, 1], STATED, ())
    assert tokens.tolist() == [[2.0, 1.0], [4.0, 5.0]]
    assert perplexity.score(tokens)[0] == pytest.approx(math.e)  # 6 nats over 6 tokens
    assert perplexity.per_example(tokens) is None
    size = bits.statistics([0, 1], STATED, ())
    assert bits.score(size)[0] == pytest.approx(6 / 12 / math.log(2))
    weights = np.array([[0.0, 2.0], [1.0, 0.0]])
    assert bits.score(size, weights) == pytest.approx([8 / 16 / math.log(2), 2 / 4 / math.log(2)])
    assert perplexity.score(tokens, weights) == pytest.approx([math.exp(0.8), math.exp(2.0)])


def test_a_hopeless_model_has_a_finite_perplexity() -> None:
    hopeless = Perplexity().value([0], [Likelihood(1e9, 1, 1)], ())  # type: ignore[list-item]
    assert hopeless > 1e300
    assert math.isfinite(fmean([hopeless] * 10))


def test_one_likelihood_for_each_example_is_asked_for() -> None:
    with pytest.raises(ValueError, match="give one for each"):
        Perplexity().statistics([0], STATED, ())


def test_lower_is_better_and_neither_is_ever_primary() -> None:
    for kind in (Generation(), ChineseGeneration()):
        names = [metric.name for metric in kind.likelihoods]
        assert names == ["perplexity", "bits_per_byte"]
        assert not any(metric.higher_is_better for metric in kind.likelihoods)
        assert not {*names} & {metric.name for metric in kind.metrics}
