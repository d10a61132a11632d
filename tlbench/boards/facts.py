"""What a row of a board is made of: score, deltas, states, outside data, cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Leak = Literal["yes", "no", "unknown"]
DeltaKind = Literal["best", "scratch", "part"]


@dataclass(frozen=True)
class Score:
    """The primary metric of a condition over its replicates.

    Attributes:
        mean: Mean over evaluated replicates (collapsed ones count); `None` without any.
        sd: Standard deviation (n - 1) over replicates; `None` below two.
        validation: Mean on the cells' own validation examples; baselines are chosen by it.
        others: Metric name to mean, for every metric of the kind.
    """

    mean: float | None = None
    sd: float | None = None
    validation: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Delta:
    """A paired difference to a baseline, in units of the primary metric.

    Attributes:
        kind: `best` (the best no-transfer baseline), `scratch` (the same architecture at random) or `part` (the
            same without one of its strategies).
        baseline: Label of the baseline, or `None`.
        value: Mean over replicates and examples; `None` if there is no pair.
        lo: Lower end of the 95 % interval; `None` below three replicates.
        hi: Upper end.
        p: Raw two-sided p.
        p_adjusted: Steadied (`stats.steadied_p`) and Holm-adjusted over the family.
        verdict: HELPS, HARMS, EQUAL or UNCLEAR; `None` below three replicates.
        mde: Smallest effect this comparison, were it the only one, could have found (two-sided 5 %, power 80 %).
        n: Replicates paired.
        improve: Share of replicates above the baseline, ties one half.
        apart: Mean distance between the two scores of a replicate, whatever its sign.
        rer: Relative error reduction; `None` if the baseline scores above 0.98.
        small: The effect is below the equality margin.
        unstable: More than a fifth of the condition's replicates collapsed.
        too_small: The test is too small to ever say EQUAL.
        too_few: The replicates, not the test, are too few to say EQUAL.
        capped: How many of the baseline's paired replicates stopped at the step cap.
        reason: Why there is no value or no verdict, or what to know about it.
    """

    kind: DeltaKind
    baseline: str | None = None
    value: float | None = None
    lo: float | None = None
    hi: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    verdict: str | None = None
    mde: float | None = None
    n: int = 0
    improve: float | None = None
    apart: float | None = None
    rer: float | None = None
    small: bool = False
    unstable: bool = False
    too_small: bool = False
    too_few: bool = False
    capped: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Saved:
    """Labels that the best baseline needs for a row's mean score.

    Attributes:
        own: The row's own labels, training and validation together.
        low: With so many the baseline is still below; `None` where its fewest labels reach the score.
        high: With so many it no longer is; `None` where its most labels do not reach the score.
    """

    own: int
    low: int | None
    high: int | None


@dataclass(frozen=True)
class Reach:
    """When training reached the baseline's final validation score.

    Attributes:
        steps: Median step at which it was first seen to, replicates that never did counted as later than all; `None`
            if that is never.
        reached: Replicates that did.
        n: Replicates that were watched.
    """

    steps: float | None
    reached: int
    n: int


@dataclass(frozen=True)
class Standing:
    """Where a row stands beside the row with the highest mean of its table.

    Attributes:
        best: Label of that row.
        value: Paired difference from it; 0 for itself.
        at_worst: One-sided 95 % lower bound of the difference; 0 for itself.
        as_good: It is that row, or is shown not to be worse by the equality margin and told apart from no more better
            rows than that one is.
    """

    best: str
    value: float
    at_worst: float
    as_good: bool


@dataclass(frozen=True)
class States:
    """How many cells of a condition ended in which state."""

    ok: int = 0
    collapsed: int = 0
    failed: int = 0
    unsupported: int = 0

    @property
    def total(self) -> int:
        """Return the number of cells."""
        return self.ok + self.collapsed + self.failed + self.unsupported


@dataclass(frozen=True)
class Outside:
    """Data from outside the cell's labels.

    Attributes:
        strategy: What the strategy brings in: none, unlabeled, labeled.
        pretrained: Whether the model's weights were pre-trained.
        sources: The model's declared training sources (empty: unknown, or not pre-trained).
        leak: Whether the model's declared training data include a source of the task.
        leaked: Those sources.
        unlabeled: Unlabeled target texts used.
        learned: Source tasks learned first, with their labels.
        again: Whether the model's declared training data include the unlabeled text.
    """

    strategy: str = "none"
    pretrained: bool = False
    sources: tuple[str, ...] = ()
    leak: Leak = "no"
    leaked: tuple[str, ...] = ()
    unlabeled: int = 0
    learned: tuple[tuple[str, int], ...] = ()
    again: bool = False


@dataclass(frozen=True)
class Cost:
    """What a condition costs, as means over its evaluated replicates (peak memory: the largest).

    Attributes:
        train_seconds: Wall time of training.
        total_seconds: Wall time of the whole cell.
        standalone_seconds: The same, had the cell made all stages before it by itself; `None` if one is not known.
        flops: Floating-point operations, by `flops_method`.
        flops_method: How they were counted.
        peak_memory_bytes: Largest peak over the replicates, by `memory_method`.
        memory_method: How it was measured.
        contended: Something else used the machine, so times are upper bounds.
        hardware: Hardware classes; times and memory compare only inside one.
        steps: Optimizer steps.
        examples_seen: Training examples seen, repeats included.
        tokens_seen: Training tokens seen, repeats included.
        upstream_seconds: Wall time of the stages before the cell, as if each cell had computed them (standalone).
        upstream_spent: What the cells really spent on them, since stages are shared (marginal).
        upstream_amortised: Standalone time divided by the cells of this board that start from the same stage.
    """

    train_seconds: float | None = None
    total_seconds: float | None = None
    standalone_seconds: float | None = None
    flops: float | None = None
    flops_method: str = ""
    peak_memory_bytes: int | None = None
    memory_method: str = ""
    contended: bool = False
    hardware: tuple[str, ...] = ()
    steps: float | None = None
    examples_seen: float | None = None
    tokens_seen: float | None = None
    upstream_seconds: float | None = None
    upstream_spent: float | None = None
    upstream_amortised: float | None = None
