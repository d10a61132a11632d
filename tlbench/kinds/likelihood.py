"""How likely a model finds what people wrote: perplexity and bits per byte, from counts.

A predicted text cannot say it, so these metrics read what a model states about the reference itself.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tlbench.kinds.base import Array, Metric
from tlbench.kinds.reduction import ratio, require_pairs, totals

_MOST = 700.0
"""Nats per token above which a perplexity is not told apart."""


@dataclass(frozen=True)
class Likelihood:
    """What a model states about the first reference of an example.

    Attributes:
        nats: Negative log-likelihood of its tokens, the end of the text among them.
        tokens: How many tokens these are, in the model's own vocabulary.
        size: UTF-8 bytes of the text; of a reference that is longer than the model's targets may be, of the part that
            fits.
    """

    nats: float
    tokens: int
    size: int


class _OfReferences(Metric):
    """A quotient of sums over all references; lower is better."""

    higher_is_better = False
    unit: ClassVar[str]

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics: nats, and what they are divided by."""
        return ("nats", self.unit)

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return the counts of each example, float64 of shape (examples, 2).

        Args:
            examples: The examples.
            predictions: One `Likelihood` for each.
            labels: Not read.

        Raises:
            ValueError: no example, or not one likelihood per example.
        """
        require_pairs(examples, predictions)
        return np.array([[one.nats, self.count(one)] for one in predictions], dtype=np.float64)

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return the score, shape (resamples,)."""
        sums = totals(statistics, weights)
        return self.scale(ratio(sums[:, 0], sums[:, 1]))

    @abstractmethod
    def count(self, likelihood: Likelihood) -> int:
        """Return how many units an example has."""

    @abstractmethod
    def scale(self, nats: Array) -> Array:
        """Return the score from nats per unit."""


class Perplexity(_OfReferences):
    """Exponential of the mean negative log-likelihood per token (Jelinek et al. 1977).

    It depends on the vocabulary: compare models that share one, or take bits per byte. It is e^700 at most, so that
    means of it are numbers too.
    """

    name = "perplexity"
    signature = "perplexity|per:token of the model|end:counted|refs:first"
    unit = "tokens"

    def count(self, likelihood: Likelihood) -> int:
        """Return its tokens."""
        return likelihood.tokens

    def scale(self, nats: Array) -> Array:
        """Return e to the nats per token."""
        return np.exp(np.minimum(nats, _MOST))


class BitsPerByte(_OfReferences):
    """Negative log-likelihood in bits per UTF-8 byte of text (Gao et al. 2020, arXiv:2101.00027).

    Comparable between vocabularies where no reference is cut, except that a character which a vocabulary lacks is one
    cheap unknown token.
    """

    name = "bits_per_byte"
    signature = "bits per byte|UTF-8|end:counted|refs:first"
    unit = "bytes"

    def count(self, likelihood: Likelihood) -> int:
        """Return its bytes."""
        return likelihood.size

    def scale(self, nats: Array) -> Array:
        """Return nats per byte in bits."""
        return nats / math.log(2)
