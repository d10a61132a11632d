"""The values of a board: frozen, plain, in printing order, so that equal records render to equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tlbench.task import Budget

Leak = Literal["yes", "no", "unknown"]


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
        kind: `best` (the best no-transfer baseline) or `scratch` (the same architecture at random).
        baseline: Label of the baseline, or `None`.
        value: Mean over replicates and examples; `None` if there is no pair.
        lo: Lower end of the 95 % interval; `None` below three replicates.
        hi: Upper end.
        p: Raw two-sided p.
        p_adjusted: Holm-adjusted over the family.
        verdict: HELPS, HARMS, EQUAL or UNCLEAR; `None` below three replicates.
        mde: Smallest effect this comparison could have found (two-sided 5 %, power 80 %).
        n: Replicates paired.
        improve: Share of replicates above the baseline, ties one half.
        rer: Relative error reduction; `None` if the baseline scores above 0.98.
        small: The effect is below the equality margin.
        unstable: More than a fifth of the condition's replicates collapsed.
        too_small: The test is too small to ever say EQUAL.
        capped: How many of the baseline's paired replicates stopped at the step cap.
        reason: Why there is no value or no verdict, or what to know about it.
    """

    kind: Literal["best", "scratch"]
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
    rer: float | None = None
    small: bool = False
    unstable: bool = False
    too_small: bool = False
    capped: int = 0
    reason: str | None = None


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
        leak: Whether the pre-trained weights declare to have seen a source of the task.
        leaked: Those sources.
        unlabeled: Unlabeled target texts used.
    """

    strategy: str = "none"
    pretrained: bool = False
    sources: tuple[str, ...] = ()
    leak: Leak = "no"
    leaked: tuple[str, ...] = ()
    unlabeled: int = 0


@dataclass(frozen=True)
class Cost:
    """What a condition costs, as means over its evaluated replicates (peak memory: the largest).

    Attributes:
        train_seconds: Wall time of training.
        total_seconds: Wall time of the whole cell.
        flops: Floating-point operations, by `flops_method`.
        flops_method: How they were counted.
        peak_memory_bytes: Largest peak over the replicates, by `memory_method`.
        memory_method: How it was measured.
        contended: Something else used the machine, so times are upper bounds.
        hardware: Hardware classes; times and memory compare only inside one.
        steps: Optimizer steps.
        examples_seen: Training examples seen, repeats included.
        tokens_seen: Training tokens seen, repeats included.
    """

    train_seconds: float | None = None
    total_seconds: float | None = None
    flops: float | None = None
    flops_method: str = ""
    peak_memory_bytes: int | None = None
    memory_method: str = ""
    contended: bool = False
    hardware: tuple[str, ...] = ()
    steps: float | None = None
    examples_seen: float | None = None
    tokens_seen: float | None = None


@dataclass(frozen=True)
class Row:
    """One condition: model x strategy on a task at a budget.

    Attributes:
        table: Id of its table.
        condition: Digest of the condition.
        model: Name, or `-` for strategies that use no model.
        strategy: Label of the strategy, hyperparameters that differ from its defaults included.
        n: Evaluated replicates.
        transfers: Whether knowledge from outside comes in; else it is a baseline.
        classical: Uses no neural model.
        tier: Tier it ran at.
        best_baseline: It is the best no-transfer baseline of its table.
        rank: One plus the number of rows of its table that are distinguishably better; `None` if unranked.
        below_floor: Its mean score is below the floor strategy's.
        capped: How many of its own replicates stopped at the step cap.
        keys: Keys of its cells, by replicate.
        reasons: One line for each state that is not `ok`.
        note: The model's caveat.
        further: Further finished records of the same cells (reproducibility checks), as `replicate: score`.
    """

    table: str
    condition: str
    model: str
    strategy: str
    task: str
    budget: Budget
    n: int
    score: Score
    best: Delta
    scratch: Delta
    states: States
    outside: Outside
    cost: Cost
    transfers: bool
    classical: bool
    tier: str
    params_total: int | None = None
    params_trainable: int | None = None
    best_baseline: bool = False
    rank: int | None = None
    below_floor: bool = False
    capped: int = 0
    keys: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    note: str = ""
    further: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name the row inside its table."""
        return self.strategy if self.model == "-" else f"{self.strategy} ({self.model})"


@dataclass(frozen=True)
class Table:
    """All conditions that may be compared: one comparability key, that is one task, its rows, one budget.

    Attributes:
        id: Short, unique, for example `sst2@full` (with a letter where a task has several keys).
        corpus_metric: Whether the metric is not a mean over examples, so that its interval is bootstrapped.
        n_test: Test examples.
        units: Groups of test examples that the interval resamples, or `None` for single examples.
        margin: Equality margin e.
        test_reads: How often the test split was read in any one cell.
        same_subsets: At every replicate all rows trained on the same examples, checked by fingerprint.
        task: Facts of the task, as records hold them.
        baseline: Label and validation score of the best no-transfer baseline, also where a view hides its row.
        rows: In printing order.
    """

    id: str
    name: str
    budget: Budget
    kind: str
    metric: str
    comparability: str
    corpus_metric: bool
    n_test: int
    units: int | None
    margin: float
    test_reads: int
    same_subsets: bool
    task: Mapping[str, Any]
    baseline: tuple[str, float] | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Aggregate:
    """A model x strategy over tables: deltas are averaged (budgets of one task first), raw scores never.

    Attributes:
        scope: `common` or the kind whose tables are averaged.
        tables: Tables averaged.
        offered: Tables of the scope.
        delta_best: Macro-mean, or `None`.
        delta_scratch: Macro-mean, or `None`.
        harmed: Tables with the verdict HARMS.
        judged: Tables with any verdict.
        worst: Table and value of the lowest delta against the best baseline.
    """

    model: str
    strategy: str
    scope: str
    tables: tuple[str, ...]
    offered: int
    delta_best: float | None
    delta_scratch: float | None
    harmed: int
    judged: int
    worst: tuple[str, float] | None


@dataclass(frozen=True)
class Family:
    """The comparisons that one Holm correction covers."""

    kind: str
    tier: str
    size: int


@dataclass(frozen=True)
class Header:
    """How the board's records were made; every value is sorted and holds each distinct entry once."""

    protocols: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    systems: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    numerics: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    n_records: int = 0
    retried: int = 0
    resamples: int = 0


@dataclass(frozen=True)
class Board:
    """Everything that markdown, JSON and plots print."""

    header: Header
    tables: tuple[Table, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    families: tuple[Family, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return all rows, table by table."""
        return tuple(row for table in self.tables for row in table.rows)
