"""Verdicts: what a board may say about a delta once all its comparisons are counted (`docs/protocol.md`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tlbench.stats import Delta

ALPHA = 0.05
REPLICATES = 3
"""Fewer replicates give no verdict."""
UNSTABLE = 0.2
"""Above this share of collapsed replicates a verdict is marked unstable."""

Label = Literal["HELPS", "HARMS", "EQUAL", "UNCLEAR"]


@dataclass(frozen=True)
class Verdict:
    """What may be said about a condition.

    Attributes:
        label: HELPS, HARMS, EQUAL or UNCLEAR.
        small: A significant delta below the margin of equivalence.
        unstable: More than 20 % of the replicates collapsed.
        too_small_for_equal: UNCLEAR, and with this test not even a delta of 0 in all replicates would be EQUAL.
        too_few_for_equal: UNCLEAR, and not even a delta of 0 would be EQUAL, because the replicates vary as they do.
        mde: Minimum detectable effect of one comparison, in the metric's unit.
    """

    label: Label
    small: bool
    unstable: bool
    too_small_for_equal: bool
    too_few_for_equal: bool
    mde: float

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the qualifications in words."""
        words = (("small", self.small), ("unstable", self.unstable),
                 ("test too small for EQUAL", self.too_small_for_equal),
                 ("too few replicates for EQUAL", self.too_few_for_equal))
        return tuple(word for word, holds in words if holds)


def margin(m: int) -> float:
    """Return the margin of equivalence e for m independent test units: 0.01 from 5,000 on, else 1/sqrt(m)."""
    return 0.01 if m >= 5000 else max(0.01, 1 / m**0.5)


def verdict(delta: Delta, e: float, p_adjusted: float, collapsed: float = 0.0) -> Verdict | None:
    """Judge a delta.

    Args:
        delta: A delta of a metric for which higher is better.
        e: Margin of equivalence, in the metric's unit.
        p_adjusted: Its p, steadied, after `holm` over the whole family.
        collapsed: Share of the condition's replicates that collapsed, 0..1.

    Returns:
        The verdict, or `None` below 3 replicates or without an interval.
    """
    if delta.n < REPLICATES or delta.lo90 is None or delta.hi90 is None or delta.mde is None or delta.test90 is None:
        return None
    label: Label = "UNCLEAR"
    if p_adjusted < ALPHA and delta.value != 0:
        label = "HELPS" if delta.value > 0 else "HARMS"
    elif delta.lo90 >= -e and delta.hi90 <= e:
        label = "EQUAL"
    wide = label == "UNCLEAR" and (delta.hi90 - delta.lo90) / 2 > e
    return Verdict(
        label=label,
        small=label in ("HELPS", "HARMS") and abs(delta.value) < e,
        unstable=collapsed > UNSTABLE,
        too_small_for_equal=wide and delta.test90 > e,
        too_few_for_equal=wide and delta.test90 <= e,
        mde=delta.mde,
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values adjusted for the family they form (Holm 1979), in the given order.

    Raises:
        ValueError: a p is not in 0..1.
    """
    values = np.asarray(ps, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a p value is not in 0..1: leave conditions without an interval out of the family")
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def shared_ranks(scores: Sequence[float], apart: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the best and the worst rank that each row may have.

    1 + the number of rows that are better and can be told apart from it, and the number of rows less those that are
    worse and can be. A row with a wide interval has a wide range. The order of the rows does not matter.

    Args:
        scores: Score of each row, higher is better, shape (k,).
        apart: Whether two rows can be told apart (adjusted p of their delta below 0.05), symmetric (k, k).

    Raises:
        ValueError: `apart` is not symmetric of shape (k, k).
    """
    values, told = np.asarray(scores, dtype=np.float64), np.asarray(apart, dtype=bool)
    if told.shape != (len(values), len(values)) or (told != told.T).any():
        raise ValueError(f"apart {told.shape} for {len(values)} rows: give a symmetric square matrix")
    better = (told & (values[:, None] > values[None, :])).sum(axis=0)
    worse = (told & (values[:, None] < values[None, :])).sum(axis=0)
    return [(1 + int(b), len(values) - int(w)) for b, w in zip(better, worse, strict=True)]
