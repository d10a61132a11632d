"""Intervals of paired deltas over replicates and test examples (`docs/protocol.md`). No torch: boards use it.

A delta has two sources of error: replicates (training subset, initialisation, order) and test examples. The
two-way t interval adds both variances; Satterthwaite's formula gives the degrees of freedom.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlbench.kinds.base import Array, Metric

RESAMPLES = 1000
"""Paired bootstraps of a corpus metric."""


@dataclass(frozen=True)
class Delta:
    """A difference of two conditions and how sure it is, in the metric's unit.

    Attributes:
        value: Mean over replicates (and examples) of strategy minus baseline.
        n: Replicates.
        m: Independent units of the test: examples, or groups where the task names them.
        lo: Lower bound of the 95 % interval; this and all that follows is `None` if n or m is 1.
        hi: Upper bound of the 95 % interval.
        p: Two-sided p, not adjusted.
        se: Standard error, the root of a + b.
        df: Degrees of freedom, not a whole number.
        a: Variance of `value` through replicates.
        b: Variance of `value` through test examples.
        lo90: Lower bound of the 90 % interval, for the verdict EQUAL.
        hi90: Upper bound of the 90 % interval.
        mde: Minimum detectable effect: true delta that 80 % of such experiments would find at p < 0.05, were it the
            only comparison.
        test90: Half-width of the 90 % interval if the test examples alone varied.
    """

    value: float
    n: int
    m: int
    lo: float | None = None
    hi: float | None = None
    p: float | None = None
    se: float | None = None
    df: float | None = None
    a: float | None = None
    b: float | None = None
    lo90: float | None = None
    hi90: float | None = None
    mde: float | None = None
    test90: float | None = None


@dataclass(frozen=True)
class CorpusScores:
    """The scores of one condition on its test set and on resamples of it.

    Attributes:
        scores: Score of each replicate, shape (n,).
        resampled: Mean over replicates of the score on each resample, shape (resamples,).
        m: Independent units of the test: examples or groups.
        design: Hash of groups, seed and number of resamples; only equal designs are paired.
    """

    scores: Array
    resampled: Array
    m: int
    design: str


Groups = Sequence[str | None] | None


def paired_delta(strategy: ArrayLike, baseline: ArrayLike, groups: Groups = None) -> Delta:
    """Return the delta of a metric that is a mean over examples.

    Args:
        strategy: Scores of each example, shape (n replicates, m examples).
        baseline: Scores of the same examples, in the same order, in paired replicates, same shape.
        groups: Group of each example (paragraph, documented object); `None` for an example of its own.

    Raises:
        ValueError: shapes differ or are not (n, m) with n, m >= 1, a score is not finite, or there is not one
            group per example.
    """
    d = _matrix(strategy) - _same_shape(strategy, baseline)
    n, m = d.shape
    value = float(d.mean())
    codes, units = _codes(groups, m)
    if n < 2 or units < 2:
        return Delta(value, n, units)
    by_example = d.mean(axis=0)
    if codes is None:
        b = float(by_example.var(ddof=1)) / m
    else:
        sums = np.bincount(codes, weights=by_example - value, minlength=units)
        b = float(np.square(sums).sum()) / m**2  # CR0: the cluster-robust variance of a mean
    return _delta(value, n, units, a=float(d.mean(axis=1).var(ddof=1)) / n, b=b)


def paired_delta_corpus(
    metric: Metric,
    strategy: Sequence[Array],
    baseline: Sequence[Array],
    groups: Groups = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Delta:
    """Return the delta of a corpus metric (entity F1, BLEU, chrF, a correlation) from its statistics.

    Args:
        metric: The metric whose `statistics` these are.
        strategy: For each replicate, statistics of shape (m examples, columns).
        baseline: The same for the baseline: same examples, same order, paired replicates.
        groups: Group of each example, as in `paired_delta`.
        resamples: Bootstraps of the examples or groups.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: the replicates do not pair, or the sizes differ.
    """
    return corpus_delta(corpus_scores(metric, strategy, groups, resamples, seed),
                        corpus_scores(metric, baseline, groups, resamples, seed))


def corpus_scores(
    metric: Metric,
    statistics: Sequence[Array],
    groups: Groups = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> CorpusScores:
    """Score one condition on its test set and on bootstraps of its examples or groups.

    The resamples depend on the number of units and the seed only, so two conditions get the same ones: call
    this once per condition and pair at will with `corpus_delta`.

    Raises:
        ValueError: there is no replicate, or replicates have different numbers of examples.
    """
    sizes = {len(rows) for rows in statistics}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"replicates have {sorted(sizes)} examples: all must score the same test examples")
    m = sizes.pop()
    codes, units = _codes(groups, m)
    weights = _bootstraps(units, resamples, seed)
    if codes is not None:
        weights = weights[:, codes]
    scores = np.array([metric.score(rows)[0] for rows in statistics])
    resampled = np.mean([metric.score(rows, weights) for rows in statistics], axis=0)
    layout = b"" if codes is None else codes.tobytes()
    design = hashlib.sha256(f"{m} {units} {resamples} {seed} ".encode() + layout).hexdigest()
    return CorpusScores(scores, resampled, units, design)


def corpus_delta(strategy: CorpusScores, baseline: CorpusScores) -> Delta:
    """Return the delta of two conditions; b is the variance of the delta over paired bootstraps.

    Raises:
        ValueError: numbers of replicates, examples, groups, seed or number of resamples differ.
    """
    if strategy.design != baseline.design or len(strategy.scores) != len(baseline.scores):
        raise ValueError("the conditions do not pair: give the same examples, groups, seed and replicates")
    d = strategy.scores - baseline.scores
    value, n = float(d.mean()), len(d)
    if n < 2 or strategy.m < 2:
        return Delta(value, n, strategy.m)
    b = float((strategy.resampled - baseline.resampled).var(ddof=1))
    return _delta(value, n, strategy.m, a=float(d.var(ddof=1)) / n, b=b)


def steadied_p(delta: Delta, like: Sequence[float]) -> float | None:
    """Return the p of a delta, or the larger one that the mean variance through replicates of like deltas gives.

    A variance estimated from three replicates is often far too small by luck. An interval bears that: it covers the
    truth in 95 % of all cases. A correction for many comparisons does not, since it looks at just the smallest p:
    simulated over 20 to 80 true nulls, Holm was wrong in 10 to 60 % of the boards on which replicates vary as much
    as test examples do, or more. With this p and three like deltas or more it is in about 5 %, and in 10 to 20 % where
    nearly all of that variance is the common baseline's, which no pooling can know better (compare moderated t
    statistics, Smyth 2004, doi:10.2202/1544-6115.1027; `tests/test_stats.py`).

    Args:
        delta: A delta.
        like: `a` of deltas of the same kind on the same test with as many replicates, the delta's own among them.
            They share a baseline, so each counts for half of its degrees of freedom.
    """
    floor = sum(like) / len(like) if like else 0.0
    if delta.p is None or delta.a is None or delta.b is None or floor <= delta.a:
        return delta.p
    pooled = _student(delta.value, floor, delta.b, max(1.0, len(like) / 2) * (delta.n - 1), delta.m - 1)[1]
    return max(delta.p, pooled)


def inferiority_p(delta: Delta, margin: float, like: Sequence[float]) -> float | None:
    """Return the one-sided p of the hypothesis that a delta is -margin or less; small means "not worse by so much".

    It is steadied as `steadied_p` is.

    Args:
        delta: A delta of a metric for which higher is better.
        margin: What still counts as no worse, in the metric's unit.
        like: `a` of like deltas, the delta's own among them.

    Returns:
        p in 0..1, or `None` without a variance.
    """
    if delta.a is None or delta.b is None:
        return None
    value = delta.value + margin
    if delta.a + delta.b == 0:
        return float(value <= 0)
    p = _student(value, delta.a, delta.b, delta.n - 1, delta.m - 1)[1]
    steady = steadied_p(replace(delta, value=value, p=p), like)
    assert steady is not None
    return steady / 2 if value > 0 else 1 - steady / 2


def _student(value: float, a: float, b: float, df_a: float, df_b: float) -> tuple[float, float]:
    """Return Satterthwaite's degrees of freedom of a + b, and the two-sided p of a value with that variance."""
    # Student's t as scipy.stats has it, without the second which that takes to import.
    from scipy.special import stdtr

    share = a / (a + b)
    df = 1 / (share**2 / df_a + (1 - share) ** 2 / df_b)
    return df, float(2 * stdtr(df, -abs(value) / (a + b) ** 0.5))


def _delta(value: float, n: int, m: int, a: float, b: float) -> Delta:
    from scipy.special import stdtrit

    total = a + b
    if total == 0:  # the same difference everywhere: nothing varies, so any difference is certain
        p, df = float(value == 0), float(n + m - 2)
        return Delta(value, n, m, value, value, p, 0.0, df, a, b, value, value, 0.0, 0.0)
    df, p = _student(value, a, b, n - 1, m - 1)
    se = total**0.5
    t80, t95, t975 = (float(stdtrit(df, q)) for q in (0.8, 0.95, 0.975))
    return Delta(value, n, m, value - t975 * se, value + t975 * se, p, se, df, a, b, value - t95 * se,
                 value + t95 * se, (t975 + t80) * se, float(stdtrit(m - 1, 0.95)) * b**0.5)


def _matrix(scores: ArrayLike) -> Array:
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"scores have shape {matrix.shape}: give (replicates, examples), none of them 0")
    if not np.isfinite(matrix).all():
        raise ValueError("a score is not a finite number: a metric must define every score")
    return matrix


def _same_shape(strategy: ArrayLike, baseline: ArrayLike) -> Array:
    expected, matrix = np.shape(strategy), _matrix(baseline)
    if matrix.shape != expected:
        raise ValueError(f"strategy {expected} and baseline {matrix.shape} do not pair: give the same "
                         "replicates and test examples, in the same order")
    return matrix


def _codes(groups: Sequence[str | None] | None, m: int) -> tuple[NDArray[np.int64] | None, int]:
    """Return the group number of each example (`None` if each stands alone) and the number of units."""
    if groups is None or all(group is None for group in groups):
        return None, m
    if len(groups) != m:
        raise ValueError(f"{len(groups)} groups for {m} examples: give one for each")
    numbers: dict[Any, int] = {}
    keys = [(i,) if group is None else group for i, group in enumerate(groups)]
    codes = [numbers.setdefault(key, len(numbers)) for key in keys]
    return np.array(codes, dtype=np.int64), len(numbers)


@functools.lru_cache(maxsize=4)
def _bootstraps(units: int, resamples: int, seed: int) -> Array:
    """Return how often each resample draws each unit, float64 of shape (resamples, units), read-only."""
    drawn = np.random.default_rng(seed).integers(units, size=(resamples, units))
    places = (drawn + np.arange(resamples)[:, None] * units).ravel()
    weights = np.bincount(places, minlength=resamples * units).reshape(resamples, units).astype(np.float64)
    weights.flags.writeable = False
    return weights
