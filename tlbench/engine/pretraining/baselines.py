"""What a held-out loss is worth: the unigram and the trigram loss of the same targets.

The trigram interpolates with Dirichlet priors (MacKay and Peto 1995): p(c | a b) = (n(abc) + k3 p(c | b)) / (n(ab) +
k3), p(c | b) likewise with k2, and unigram counts plus one. It sees the true two tokens on the left, even where the
model's are masked, and nothing on the right. k2 and k3 are the best of eight powers of four on the last tenth of the
training documents, counted on the first nine tenths; then all training documents are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlbench.engine.pretraining.packing import Ints, Tokens

Floats = NDArray[np.float64]
STRENGTHS = tuple(float(4**i) for i in range(8))


@dataclass(frozen=True)
class Baselines:
    """Mean losses of the held-out targets in nats, and the trigram's constants.

    Attributes:
        unigram: Cross-entropy under the training frequencies.
        trigram: Cross-entropy under the interpolated trigram.
        strengths: k2 and k3.
    """

    unigram: float
    trigram: float
    strengths: tuple[float, float]


class Counts:
    """How often n-grams of up to three tokens occur in documents that lie end to end."""

    def __init__(self, flat: NDArray[np.int32], size: int) -> None:
        """Count; `size` is the vocabulary."""
        ids = flat.astype(np.int64)
        self.size = size
        self.single = np.bincount(ids, minlength=size).astype(np.float64)
        self.pairs = np.unique(ids[:-1] * size + ids[1:], return_counts=True)
        self.triples = np.unique((ids[:-2] * size + ids[1:-1]) * size + ids[2:], return_counts=True)

    def probabilities(self, contexts: Ints, tokens: Ints, strengths: Sequence[float]) -> tuple[Floats, Floats]:
        """Return unigram and smoothed probabilities of tokens.

        Args:
            contexts: The two tokens on the left, -1 where there is none; shape (n, 2).
            tokens: Shape (n,).
            strengths: k2, or k2 and k3.
        """
        a, b = contexts[:, 0], contexts[:, 1]
        unigram = (self.single[tokens] + 1) / (self.single.sum() + self.size)
        known = np.where(b >= 0, self.single[b], 0)
        found = _lookup(self.pairs, b * self.size + tokens) * (b >= 0)
        smoothed = (found + strengths[0] * unigram) / (known + strengths[0])
        if len(strengths) > 1:
            both = (a >= 0) & (b >= 0)
            known = _lookup(self.pairs, a * self.size + b) * both
            found = _lookup(self.triples, (a * self.size + b) * self.size + tokens) * both
            smoothed = (found + strengths[1] * smoothed) / (known + strengths[1])
        return unigram, smoothed


def _lookup(table: tuple[Ints, Ints], keys: Ints) -> Floats:
    names, counts = table
    if not len(names):
        return np.zeros(len(keys))
    at = np.minimum(np.searchsorted(names, keys), len(names) - 1)
    return np.where(names[at] == keys, counts[at], 0).astype(np.float64)


def contexts_of(rows: NDArray[np.int32]) -> Ints:
    """Return the two tokens on the left of every token, -1 before the first; shape (rows, length, 2)."""
    padded = np.pad(rows.astype(np.int64), ((0, 0), (2, 0)), constant_values=-1)
    return np.stack([padded[:, :-2], padded[:, 1:-1]], axis=2)


def measure(tokens: Tokens, size: int, contexts: Ints, targets: Ints) -> Baselines:
    """Return both losses of held-out targets.

    Args:
        tokens: The training documents; each counts once, however often it is read.
        size: The vocabulary.
        contexts: The two tokens on the left of each target, shape (n, 2).
        targets: Shape (n,).
    """
    strengths = _best_strengths(tokens, size)
    unigram, trigram = Counts(tokens.flat, size).probabilities(contexts, targets, strengths)
    return Baselines(_loss(unigram), _loss(trigram), strengths)


def _best_strengths(tokens: Tokens, size: int) -> tuple[float, float]:
    cut = int(tokens.starts[max(1, (len(tokens.starts) - 1) * 9 // 10)])
    counts, rest = Counts(tokens.flat[:cut], size), tokens.flat[cut:][None]
    if rest.size == 0:
        return STRENGTHS[-1], STRENGTHS[-1]
    contexts, targets = contexts_of(rest)[0], rest[0].astype(np.int64)

    def loss(*strengths: float) -> float:
        return _loss(counts.probabilities(contexts, targets, strengths)[1])

    second = min(STRENGTHS, key=loss)
    return second, min(STRENGTHS, key=lambda third: loss(second, third))


def _loss(probabilities: Floats) -> float:
    return float(-np.log(probabilities).mean())
