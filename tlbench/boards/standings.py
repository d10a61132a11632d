"""Where the rows of a table stand beside the one with the highest mean."""

from __future__ import annotations

from collections.abc import Sequence

from tlbench.boards.conditions import Condition
from tlbench.boards.deltas import Comparison, Comparisons, collapsed, mean, variances_of_like
from tlbench.boards.facts import Standing
from tlbench.boards.values import seeds_only
from tlbench.stats import inferiority_p
from tlbench.verdicts import ALPHA, REPLICATES, holm, margin


def standings(comparisons: Comparisons) -> dict[str, Standing]:
    """Return where every condition stands that can be paired with the best one, by its id.

    The best one is the sound condition (three replicates, none collapsed) with the highest mean test score. That is
    above its true score by luck more often than below, which makes it harder to be as good. Rows that only measure the
    noise floor, `finetune` with another seed, are no setups of their own and have no standing.
    """
    known = [c for c in comparisons.conditions if len(c.evaluated) >= REPLICATES and not seeds_only(c.strategy)]
    best = max((c for c in known if not collapsed(c)), key=lambda c: (mean(c), c.label), default=None)
    if best is None:
        return {}
    found = {c.id: made for c in known if c.id != best.id and (made := comparisons.between(c, best)) is not None}
    sound = [c for c in known if c.id in found and not collapsed(c)]
    passed = dict(zip([c.id for c in sound], _not_worse([found[c.id] for c in sound]), strict=True))
    first = _first_rank(comparisons, best)
    standings = {best.id: Standing(best.label, 0.0, 0.0, as_good=True)}
    for one in (c for c in known if c.id in found):
        estimate = found[one.id].estimate
        assert estimate is not None
        assert estimate.lo90 is not None
        as_good = passed.get(one.id, False) and _first_rank(comparisons, one) <= first
        standings[one.id] = Standing(best.label, estimate.value, estimate.lo90, as_good)
    return standings


def _not_worse(found: Sequence[Comparison]) -> list[bool]:
    """Return which are shown not to be worse by the margin e or more, corrected for their number."""
    ps = [inferiority_p(one.estimate, margin(one.estimate.m), like) if one.estimate else None
          for one, like in zip(found, variances_of_like(found), strict=True)]
    return [p < ALPHA for p in holm([1.0 if p is None else p for p in ps])]


def _first_rank(comparisons: Comparisons, condition: Condition) -> int:
    """Return one plus the number of better rows that a condition can be told apart from."""
    ranks = comparisons.ranks(condition)
    assert ranks is not None
    return ranks[0]
