"""What metrics share: checked input, weighted sums of statistics, ratios that are always defined."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench.kinds.base import Array, Metric


def require_pairs(examples: Sequence[Any], predictions: Sequence[Any]) -> None:
    """Refuse what cannot be scored.

    Raises:
        ValueError: there is no example, or not one prediction per example.
    """
    if not len(examples):
        raise ValueError("there is no example to score: give at least one")
    if len(examples) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(examples)} examples: give one for each")


def require_rows(statistics: Array) -> None:
    """Refuse statistics without a row.

    Raises:
        ValueError: there is no row.
    """
    if not len(statistics):
        raise ValueError("there are no statistics to reduce: score at least one example")


def totals(statistics: Array, weights: Array | None) -> Array:
    """Return weighted column sums, float64 of shape (resamples, columns), (1, columns) without weights.

    Raises:
        ValueError: there is no row.
    """
    require_rows(statistics)
    if weights is None:
        return np.asarray(statistics.sum(axis=0, keepdims=True), dtype=np.float64)
    return np.asarray(weights @ statistics, dtype=np.float64)


def ratio(numerator: Array, denominator: Array, undefined: float = 0.0) -> Array:
    """Divide elementwise; where the denominator is 0, return `undefined`."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, undefined, numerator / safe)


def f1(tp: Array, fp: Array, fn: Array) -> Array:
    """Return F1 elementwise: 1 without gold and prediction, 0 with only one of them."""
    return ratio(2 * tp, 2 * tp + fp + fn, undefined=1.0)


def rates(tp: float, fp: float, fn: float) -> dict[str, float]:
    """Return precision, recall (0 where undefined), F1 and support of one class as JSON types."""
    score = float(f1(np.array([tp]), np.array([fp]), np.array([fn]))[0])
    return {
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn) if tp + fn else 0.0,
        "f1": score,
        "support": int(tp + fn),
    }


def mean_rates(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the unweighted mean of precision, recall and F1; all 0 without a row."""
    names = ("precision", "recall", "f1")
    return {name: sum(row[name] for row in rows) / len(rows) if rows else 0.0 for name in names}


def one_hot(codes: NDArray[np.int64], size: int) -> Array:
    """Return float64 of shape (n, size): 1 where the column is the code; a code out of range has no 1."""
    return np.asarray(codes[:, None] == np.arange(size)[None, :], dtype=np.float64)


class MeanMetric(Metric):
    """A metric that is the plain mean of one value per example."""

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the one statistic: the example's own score."""
        return (self.name,)

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return the score of each example, float64 of shape (examples, 1)."""
        require_pairs(examples, predictions)
        return np.array(self.values(examples, predictions), dtype=np.float64).reshape(-1, 1)

    @abstractmethod
    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return one score per example."""

    def each(self, statistics: Array) -> Array:
        """Return one score per example, shape (n,), from the statistics."""
        return statistics[:, 0]

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return the (weighted) mean over examples, shape (resamples,)."""
        require_rows(statistics)
        each = self.each(statistics)
        if weights is None:
            return np.array([each.mean()])
        return ratio(weights @ each, weights.sum(axis=1))

    def per_example(self, statistics: Array) -> Array | None:
        """Return one score per example, shape (n,)."""
        return self.each(statistics)
