"""The values of a board: frozen, plain, in printing order, so that equal records render to equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlbench.boards.facts import Cost, Delta, Outside, Reach, Saved, Score, Standing, States
from tlbench.task import Budget


def seeds_only(strategy: str) -> bool:
    """Return whether a strategy, by its label, is plain fine-tuning with another seed: a row for the noise floor."""
    return strategy.startswith("finetune(seed=") and "," not in strategy


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
        ranks: Best and worst rank it may have in its table, by what can be told apart; `None` if unranked.
        below_floor: Its mean score is below the floor strategy's.
        capped: How many of its own replicates stopped at the step cap.
        reach: When training reached the baseline, where that was watched.
        saved: Labels that it saves, where the task was run at several budgets.
        standing: Where it stands beside the row with the highest mean; `None` below three replicates, unpaired, or if
            it only measures the noise floor.
        shared_stage: Its replicates start from one and the same stage, whose own spread theirs does not hold.
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
    ranks: tuple[int, int] | None = None
    below_floor: bool = False
    capped: int = 0
    reach: Reach | None = None
    saved: Saved | None = None
    standing: Standing | None = None
    shared_stage: bool = False
    keys: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    note: str = ""
    further: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name the row inside its table."""
        return self.strategy if self.model == "-" else f"{self.strategy} ({self.model})"


@dataclass(frozen=True)
class Contribution:
    """What one strategy adds to a row: the row against the one without it.

    Attributes:
        row: Label of the row.
        model: Its model.
        part: Label of the strategy that is taken out.
        source: The source task that this strategy names, or `None`.
        delta: The row minus the row without it.
        family: The part's label without its source; parts of one family differ in their sources alone.
        rest: Label of the row without the part; empty for plain fine-tuning.
        predictors: What could be known of the gain before training on the target, as means over replicates.
    """

    row: str
    model: str
    part: str
    source: str | None
    delta: Delta
    family: str = ""
    rest: str = ""
    predictors: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name what adds, without its source: the part, and what it is composed with."""
        return f"{self.family} on {self.rest}" if self.rest else self.family

    @property
    def seeds_only(self) -> bool:
        """Return whether the two rows are plain fine-tuning and differ in nothing but their seeds."""
        return seeds_only(self.part) and not self.rest


@dataclass(frozen=True)
class Advice:
    """Which setup to take.

    Attributes:
        best: Label of the sound row with the highest mean.
        choice: Label of the cheapest row that is as good; `None` where that cannot be said.
        reason: Why it cannot.
        unpaired: Rows that cannot be compared with the best one.
        elsewhere: Rows whose time cannot be compared with its own: another hardware, or no time.
    """

    best: str
    choice: str | None = None
    reason: str = ""
    unpaired: int = 0
    elsewhere: int = 0


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
        baseline: Label and validation score of the best no-transfer baseline, even if a view hides its row.
        rows: In printing order.
        label_noise: Share of training and validation labels that was made wrong.
        contributions: What strategies add, where the row without them is there.
        advice: Which setup to take, if any with transfer was run.
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
    label_noise: float = 0.0
    contributions: tuple[Contribution, ...] = ()
    advice: Advice | None = None


@dataclass(frozen=True)
class Aggregate:
    """A model x strategy over tables: deltas are averaged (budgets of one task first), raw scores never.

    Attributes:
        scope: Which tables are averaged, in words.
        tables: Tables averaged.
        offered: Tables of the scope, those that some setup lacks included.
        delta_best: Macro-mean, or `None`.
        delta_own: Macro-mean over all tables of the scope in which the setup has a delta, or `None`.
        delta_scratch: Macro-mean over those of `tables` in which the setup has one, or `None`.
        with_scratch: How many these are.
        harmed: Tables of the scope with the verdict HARMS, averaged or not.
        judged: Tables of the scope with any verdict.
        worst: Table and value of the lowest delta against the best baseline.
    """

    model: str
    strategy: str
    scope: str
    tables: tuple[str, ...]
    offered: int
    delta_best: float | None
    delta_own: float | None
    delta_scratch: float | None
    with_scratch: int
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
    hidden: int = 0
    """Rows of the whole board that this view of it leaves out."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return all rows, table by table."""
        return tuple(row for table in self.tables for row in table.rows)

    @property
    def right(self) -> tuple[Table, ...]:
        """Return the tables whose labels were not made wrong, which summaries are about; all, if there are none."""
        return tuple(table for table in self.tables if not table.label_noise) or self.tables
