"""Every row's deltas, against the best baseline without transfer and its scratch twin; then verdicts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from tlbench import stats
from tlbench.boards.conditions import Comparable, Condition
from tlbench.boards.evidence import Reader
from tlbench.boards.facts import Delta
from tlbench.boards.facts import DeltaKind as Kind
from tlbench.boards.pairing import Pairer, Pairs
from tlbench.boards.parts import Removed, removed
from tlbench.records import Record
from tlbench.stats import steadied_p
from tlbench.verdicts import ALPHA, REPLICATES, holm, margin, shared_ranks, verdict

_ENOUGH = 3
"""Comparisons that must be alike for their mean variance to mean something."""
_NO_ERROR_LEFT = 0.98
"""Above this baseline score a relative error reduction says nothing."""


@dataclass
class Comparison:
    """One delta on its way to a verdict: what was measured, then, with its whole family known, what it means.

    Attributes:
        delta: What the board prints.
        tier: Tier of the condition; verdicts are corrected within kind and tier.
        estimate: The interval behind it, or `None` without a pair.
        pairs: The records behind it, or `None` without a pair.
        collapsed: Largest share of collapsed replicates of the two sides.
        like: Groups that it belongs to, the most alike first; the first with three members or more steadies its p.
        p: What Holm's correction takes: the p of the estimate, steadied.
    """

    delta: Delta
    tier: str
    estimate: stats.Delta | None = None
    pairs: Pairs | None = None
    collapsed: float = 0.0
    like: tuple[Hashable, ...] = ()
    p: float | None = None


class Comparisons:
    """All comparisons of one table.

    Attributes:
        conditions: The conditions of the table.
        pairer: Pairs them.
        best: Condition id to the comparison with the best no-transfer baseline.
        scratch: Condition id to the comparison with the same architecture at random.
        parts: Each strategy whose condition without it is there, and the comparison with that one.
        best_baseline: Id of the no-transfer condition with the best validation score, or `None`.
    """

    def __init__(self, table: Comparable, reader: Reader) -> None:
        """Measure every delta of the table; `judged` adds the verdicts."""
        self.pairer = Pairer(reader)
        self._table = table
        self.conditions = table.conditions
        ordered = _baselines(table.conditions)
        self.best_baseline = ordered[0].id if ordered else None
        self.best = {c.id: self._against_best(c, ordered) for c in table.conditions}
        self.scratch = {c.id: self._against_scratch(c) for c in table.conditions}
        self.parts = [(one, self._against_rest(one)) for one in removed(table.conditions)]
        self._ranks: dict[str, tuple[int, int]] | None = None

    @property
    def all(self) -> list[Comparison]:
        """Return all comparisons, of every kind."""
        return [*self.best.values(), *self.scratch.values(), *(comparison for _, comparison in self.parts)]

    def ranks(self, condition: Condition) -> tuple[int, int] | None:
        """Return the best and the worst rank that a row may have; `None` below three replicates.

        Two rows can be told apart if their difference is significant after Holm's correction over all pairs
        of the table, or if their comparison has the verdict HELPS or HARMS.
        """
        if self._ranks is None:
            self._ranks = self._ranked([c for c in self.conditions if len(c.evaluated) >= REPLICATES])
        return self._ranks.get(condition.id)

    def _against_best(self, condition: Condition, ordered: Sequence[Condition]) -> Comparison:
        refused: list[str] = []
        for baseline in ordered:
            if baseline.id == condition.id:
                return _nothing("best", condition, "is the best no-transfer baseline"
                                + _unlike(refused, "; a better one cannot be paired"))
            if baseline.unlabeled > condition.unlabeled:
                refused.append(f"{baseline.label} used more unlabeled target text")
                continue
            pairs = self.pairer.pairs(condition, baseline)
            if pairs.left:
                return self._compare("best", condition, baseline, pairs, refused)
            refused.append(f"{baseline.label}: {pairs.reason or 'no replicate in common'}")
        reason = (
            _unlike(refused, "no baseline could be paired") or "has no no-transfer baseline to compare with"
        )
        return _nothing("best", condition, reason if condition.evaluated else "has no score")

    def _against_scratch(self, condition: Condition) -> Comparison:
        if condition.architecture is None:
            return _nothing("scratch", condition, "has no model, so no scratch twin")
        twins = [c for c in _baselines(self.conditions)
                 if c.parts == ("scratch",) and c.architecture == condition.architecture]
        if condition.id in {twin.id for twin in twins}:
            return _nothing("scratch", condition, "is the scratch baseline")
        refused: list[str] = []
        for twin in twins:
            pairs = self.pairer.pairs(condition, twin)
            if pairs.left:
                return self._compare("scratch", condition, twin, pairs, refused)
            refused.append(f"{twin.label}: {pairs.reason or 'no replicate in common'}")
        reason = _unlike(refused, "scratch could not be paired") or "has no scratch twin with a score"
        return _nothing("scratch", condition, reason if condition.evaluated else "has no score")

    def _against_rest(self, one: Removed) -> Comparison:
        refused: list[str] = []
        for rest in one.candidates:
            pairs = self.pairer.pairs(one.whole, rest)
            if pairs.left:
                return self._compare("part", one.whole, rest, pairs, refused)
            refused.append(f"{rest.label}: {pairs.reason or 'no replicate in common'}")
        return _nothing("part", one.whole, "; ".join(refused))

    def _compare(
        self,
        kind: Kind,
        condition: Condition,
        baseline: Condition,
        pairs: Pairs,
        refused: Sequence[str],
    ) -> Comparison:
        estimate = self.pairer.delta(pairs)
        scores, base = _scores(pairs.left), _scores(pairs.right)
        wins = fmean((a > b) + (a == b) / 2 for a, b in zip(scores, base, strict=True))
        error = 1 - fmean(base)
        judged = estimate.n >= REPLICATES
        reasons = [_unlike(refused, "not against the best baseline"), _unlike(pairs.reason, "some replicates "
                                                                                            "unpaired"),
                   "" if judged else f"fewer than {REPLICATES} paired replicates, so no verdict"]
        delta = Delta(
            kind,
            baseline.label,
            estimate.value,
            lo=estimate.lo if judged else None,
            hi=estimate.hi if judged else None,
            p=estimate.p if judged else None,
            n=estimate.n,
            improve=wins,
            apart=fmean(abs(a - b) for a, b in zip(scores, base, strict=True)),
            rer=estimate.value / error if error >= 1 - _NO_ERROR_LEFT else None,
            capped=sum(record.training.get("stop_reason") == "cap" for record in pairs.right),
            reason="; ".join(filter(None, reasons)) or None,
        )
        table, nature = self._table, (condition.transfers, condition.architecture)  # noise of models differs in size
        like = ((kind, table.id, nature), (kind, table.facts.task["metric"], nature), (kind, table.id, nature[0]))
        worst = max(collapsed(condition), collapsed(baseline))
        return Comparison(delta, condition.tier, estimate, pairs, worst, like)

    def _ranked(self, conditions: Sequence[Condition]) -> dict[str, tuple[int, int]]:
        apart = np.zeros((len(conditions), len(conditions)), dtype=bool)
        found: dict[tuple[int, int], Comparison] = {}
        for i, one in enumerate(conditions):
            for j, other in enumerate(conditions[:i]):
                if (made := self.between(one, other)) is not None:
                    found[i, j] = made
        _steady(list(found.values()))
        ps = [made.p for made in found.values() if made.p is not None]
        for (i, j), p in zip(found, holm(ps), strict=True):
            apart[i, j] = apart[j, i] = p < ALPHA or self._told(conditions[i], conditions[j])
        means = [mean(c) for c in conditions]
        return dict(zip([c.id for c in conditions], shared_ranks(means, apart), strict=True))

    def between(self, one: Condition, other: Condition) -> Comparison | None:
        """Return the plain comparison of two conditions; `None` below three paired replicates or without a p."""
        pairs = self.pairer.pairs(one, other)
        if len(pairs.left) < REPLICATES or (estimate := self.pairer.delta(pairs)).p is None:
            return None
        both = (one, other)
        like = (frozenset((c.transfers, c.architecture) for c in both), one.transfers + other.transfers)
        worst = max(collapsed(one), collapsed(other))
        return Comparison(Delta("best"), one.tier, estimate, pairs, worst, like)

    def _told(self, one: Condition, other: Condition) -> bool:
        """Return whether a comparison of exactly these two has a verdict that tells them apart."""
        return any(made.delta.baseline == b.label and made.delta.verdict in ("HELPS", "HARMS")
                   for a, b in ((one, other), (other, one)) for made in self._of(a))

    def _of(self, condition: Condition) -> list[Comparison]:
        parts = [comparison for removed, comparison in self.parts if removed.whole.id == condition.id]
        return [self.best[condition.id], self.scratch[condition.id], *parts]


def judged(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], int]:
    """Give every comparison its verdict, corrected for all others of its kind and tier.

    Args:
        comparisons: All comparisons of the published file; changed in place.

    Returns:
        Kind and tier to the size of the family.
    """
    _steady(comparisons)
    families: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.delta.p is not None and comparison.p is not None:
            families.setdefault((comparison.delta.kind, comparison.tier), []).append(comparison)
    for family in families.values():
        adjusted = holm([c.p for c in family if c.p is not None])
        for comparison, p in zip(family, adjusted, strict=True):
            comparison.delta = _judge(comparison, p)
    return {key: len(family) for key, family in families.items()}


def _judge(comparison: Comparison, p_adjusted: float) -> Delta:
    estimate = comparison.estimate
    assert estimate is not None
    found = verdict(estimate, margin(estimate.m), p_adjusted, comparison.collapsed)
    if found is None:
        return comparison.delta
    return replace(
        comparison.delta,
        p_adjusted=p_adjusted,
        verdict=found.label,
        mde=found.mde,
        small=found.small,
        unstable=found.unstable,
        too_small=found.too_small_for_equal,
        too_few=found.too_few_for_equal,
    )


def _steady(comparisons: Sequence[Comparison]) -> None:
    """Give comparisons their p for the family."""
    for made, like in zip(comparisons, variances_of_like(comparisons), strict=True):
        if made.estimate:
            made.p = steadied_p(made.estimate, like)


def variances_of_like(comparisons: Sequence[Comparison]) -> list[list[float]]:
    """Return for each comparison the variances through replicates of those that are like it, its own among them.

    The most alike ones that are three or more, with as many replicates; none if there are not so many. Replicates
    that collapsed say nothing of the others' variance.
    """
    pools: dict[Hashable, list[float]] = {}
    for made in comparisons:
        if made.estimate and made.estimate.a is not None and not made.collapsed:
            for group in made.like:
                pools.setdefault((group, made.estimate.n), []).append(made.estimate.a)
    found = []
    for made in comparisons:
        own = [pools.get((group, made.estimate.n), []) for group in made.like] if made.estimate else []
        found.append(next((pool for pool in own if len(pool) >= _ENOUGH), []))
    return found


def _baselines(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions without transfer that have a validation score, the best one first."""
    found = [(c.validation, c) for c in conditions if not c.transfers]
    ordered = sorted(
        ((value, c) for value, c in found if value is not None), key=lambda v: (-v[0], v[1].label)
    )
    return [c for _, c in ordered]


def _nothing(kind: Kind, condition: Condition, reason: str) -> Comparison:
    return Comparison(Delta(kind, reason=reason), condition.tier)


def _unlike(reasons: Sequence[str] | str | None, what: str) -> str:
    if not reasons:
        return ""
    return f"{what} ({reasons if isinstance(reasons, str) else '; '.join(reasons)})"


def _scores(records: Sequence[Record]) -> list[float]:
    return [record.evaluation.score for record in records if record.evaluation is not None]


def mean(condition: Condition) -> float:
    """Return the mean score of a condition that has one."""
    return fmean(_scores(list(condition.evaluated.values())))


def collapsed(condition: Condition) -> float:
    """Return the share of a condition's evaluated replicates that collapsed."""
    evaluated = condition.evaluated.values()
    return sum(record.status == "collapsed" for record in evaluated) / max(1, len(evaluated))
