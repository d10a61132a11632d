"""Text regression: one number for a text or a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlbench.kinds import degeneracy
from tlbench.kinds.base import Array, Kind, Metric
from tlbench.kinds.classification import text_of, wrong_text
from tlbench.kinds.reduction import MeanMetric, ratio, require_pairs, require_rows
from tlbench.task import TextExample

LARGEST = 1e100
"""Numbers are clipped to this size, so that no sum of squares overflows."""
_FLAT = 1e-12
"""Variance below this share of the mean square is rounding: the values are one constant."""
_SAME = 1e-6
"""Predictions closer than this share of the largest one are one number (float32 rounding is 6e-8)."""

_COLUMNS = ("prediction", "reference")


def _pairs(examples: Sequence[Any], predictions: Sequence[Any]) -> Array:
    """Return predictions and references, float64 of shape (examples, 2).

    A prediction that is not finite counts as 0: a diverged model has a score too.
    """
    require_pairs(examples, predictions)
    pairs = np.array([[float(p), float(e.label)] for e, p in zip(examples, predictions, strict=True)])
    return np.clip(np.where(np.isfinite(pairs), pairs, 0.0), -LARGEST, LARGEST)


class _Correlation(Metric):
    """A correlation of predictions with references, -1 to 1; 0 where one of them is constant."""

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics."""
        return _COLUMNS

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return predictions and references, float64 of shape (examples, 2), in the task's unit."""
        return _pairs(examples, predictions)


class Pearson(_Correlation):
    """Pearson's r."""

    name = "pearson"
    signature = "pearson|constant:0|tlbench:1"

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return r, shape (resamples,)."""
        require_rows(statistics)
        weights = np.ones((1, len(statistics))) if weights is None else weights
        return _weighted_correlation(_standard(statistics[:, 0]), _standard(statistics[:, 1]), weights)


class Spearman(_Correlation):
    """Spearman's rho: Pearson's r of the ranks, ties sharing their mean rank."""

    name = "spearman"
    signature = "spearman|ties:mean rank|constant:0|tlbench:1"

    def score(self, statistics: Array, weights: Array | None = None) -> Array:
        """Return rho, shape (resamples,); each resample is ranked by itself."""
        require_rows(statistics)
        weights = np.ones((1, len(statistics))) if weights is None else weights
        given, gold = (_ranks(column, weights) for column in statistics.T)
        return _weighted_correlation(given, gold, weights)


class _Error(MeanMetric):
    """A mean error, in the task's unit (or its square); lower is better, so it is never primary."""

    higher_is_better = False

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name the statistics."""
        return _COLUMNS

    def statistics(self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Array:
        """Return predictions and references, float64 of shape (examples, 2), in the task's unit."""
        return _pairs(examples, predictions)

    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return the error of each example."""
        return [float(value) for value in self.each(_pairs(examples, predictions))]


class MeanSquaredError(_Error):
    """The mean of squared differences."""

    name = "mse"
    signature = "mse|tlbench:1"

    def each(self, statistics: Array) -> Array:
        """Return squared differences, shape (n,)."""
        return np.square(statistics[:, 0] - statistics[:, 1])


class MeanAbsoluteError(_Error):
    """The mean of absolute differences."""

    name = "mae"
    signature = "mae|tlbench:1"

    def each(self, statistics: Array) -> Array:
        """Return absolute differences, shape (n,)."""
        return np.abs(statistics[:, 0] - statistics[:, 1])


def _standard(values: Array) -> Array:
    """Return values moved to mean 0 and scaled to at most 1, so that sums of squares lose no digits."""
    moved = values - values.mean()
    size = np.abs(moved).max()
    if size <= _FLAT * np.abs(values).max():  # a constant differs from its own mean by rounding
        return np.zeros_like(moved)
    return np.asarray(moved / size)


def _weighted_correlation(x: Array, y: Array, weights: Array) -> Array:
    """Return r for each row of weights; x and y have shape (n,) or (resamples, n)."""
    total = weights.sum(axis=1)

    def mean(values: Array) -> Array:
        return ratio((weights * values).sum(axis=1) if values.ndim == 2 else weights @ values, total)

    mean_x, mean_y, square_x, square_y = mean(x), mean(y), mean(x * x), mean(y * y)
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    constant = (variance_x <= _FLAT * square_x) | (variance_y <= _FLAT * square_y)
    spread = np.sqrt(np.where(constant, 1.0, variance_x) * np.where(constant, 1.0, variance_y))
    return np.where(constant, 0.0, np.clip((mean(x * y) - mean_x * mean_y) / spread, -1.0, 1.0))


def _ranks(values: Array, weights: Array) -> Array:
    """Return the mean rank of each value within each resample, centred, shape (resamples, n)."""
    distinct, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    centred: Array = ranks[:, place] - (weights.sum(axis=1, keepdims=True) + 1) / 2
    return centred


class Regression(Kind):
    """One number for a text or a pair of texts. Predictions are numbers in the task's unit."""

    name = "text-regression"
    example = TextExample
    metrics = (Pearson(), Spearman(), MeanSquaredError(), MeanAbsoluteError())

    def check(self, example: Any) -> str | None:
        """Return what is wrong with an example: texts may be empty, the label must be a finite number."""
        wrong = wrong_text(example)
        if wrong:
            return wrong
        if isinstance(example.label, bool) or not isinstance(example.label, int | float):
            return f"its label is a {type(example.label).__name__}, not a number"
        return None if math.isfinite(example.label) else f"its label {example.label!r} is no finite number"

    def text(self, example: Any) -> str:
        """Return the text, and its pair on a second line."""
        return text_of(example)

    def gold(self, example: Any) -> float:
        """Return the number."""
        return float(example.label)

    def degenerate(self, predictions: Sequence[Any]) -> str | None:
        """Return whether a prediction is not finite, or nearly all are one number up to rounding."""
        values = np.sort(np.array([float(p) for p in predictions]))
        broken = int((~np.isfinite(values)).sum())
        if broken:
            return f"no finite number for {broken} of {len(values)} predictions"
        most = math.ceil(degeneracy.SHARE * len(values))
        if len(values) < 2:
            return None
        width = (values[most - 1 :] - values[: len(values) - most + 1]).min()
        if width > _SAME * np.abs(values).max():
            return None
        return f"one number for {most} or more of {len(values)} predictions"

    def to_json(self, prediction: Any) -> float | None:
        """Return the number, or `None` if it is not finite (JSON has no such number)."""
        value = float(prediction)
        return value if math.isfinite(value) else None

    def from_json(self, value: Any) -> float:
        """Return the number; NaN for `None`."""
        return math.nan if value is None else float(value)

    def report(
        self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return all metrics, and mean and standard deviation of predictions and references."""
        pairs = _pairs(examples, predictions)
        scores = {metric.name: float(metric.score(pairs)[0]) for metric in self.metrics}
        spread = {name: {"mean": float(column.mean()), "sd": float(column.std())}
                  for name, column in zip(_COLUMNS, pairs.T, strict=True)}
        return {"scores": scores, **spread, "examples": len(pairs)}
