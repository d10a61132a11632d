"""Records grouped into conditions, and conditions into tables that may be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from tlbench.canonical import digest
from tlbench.kinds import KINDS
from tlbench.records import Record, current
from tlbench.task import Budget


@dataclass(frozen=True)
class Condition:
    """The records of one condition inside one table.

    Attributes:
        label: Strategy and, in brackets, model; unique in the table.
        strategy: Label of the strategy, made unique by a digest if another condition has the same.
        records: One per replicate, in order.
        further: Further finished records of the same cells.
    """

    id: str
    model: str
    strategy: str
    records: tuple[Record, ...]
    further: tuple[Record, ...] = ()

    @cached_property
    def evaluated(self) -> Mapping[int, Record]:
        """Return the records that have a score, by replicate; collapsed ones count."""
        return {record.replicate: record for record in self.records
                if record.evaluation is not None and record.predictions is not None
                and record.status in ("ok", "collapsed")}

    @property
    def facts(self) -> Record:
        """Return the record that speaks for the condition: the first evaluated one, else the first."""
        return next(iter(self.evaluated.values()), self.records[0])

    @property
    def label(self) -> str:
        """Name the condition inside its table."""
        return self.strategy if self.model == "-" else f"{self.strategy} ({self.model})"

    @property
    def transfers(self) -> bool:
        """Return whether knowledge from outside the labels comes in."""
        return bool(self.facts.strategy["transfers"])

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names of the composed strategies."""
        return tuple(part["name"] for part in self.facts.strategy["parts"])

    @property
    def tier(self) -> str:
        """Return the tier it ran at; cells of one condition may come from several runs."""
        return "+".join(sorted({str(record.protocol.get("tier", "")) for record in self.records}))

    @property
    def architecture(self) -> str | None:
        """Return what identifies the model, the same for a scratch twin, or `None` without a model."""
        model = self.facts.model
        return None if model is None else digest([model["name"], model["identity"]])

    @property
    def unlabeled(self) -> int:
        """Return how many unlabeled target texts it used."""
        return max(int(record.budget.get("unlabeled", 0)) for record in self.records)

    @property
    def validation(self) -> float | None:
        """Return the mean validation score on the primary metric, or `None`."""
        values = [
            record.evaluation.validation[record.evaluation.primary]
            for record in self.evaluated.values()
            if record.evaluation is not None and record.evaluation.primary in record.evaluation.validation
        ]
        return fmean(values) if values else None


@dataclass(frozen=True)
class Comparable:
    """All conditions of one comparability key."""

    id: str
    comparability: str
    conditions: tuple[Condition, ...]

    @property
    def facts(self) -> Record:
        """Return the record that speaks for the task: the first evaluated one, else the first."""
        found = [c.facts for c in self.conditions if c.evaluated]
        return found[0] if found else self.conditions[0].facts

    @property
    def budget(self) -> Budget:
        """Return the label budget that all conditions have."""
        budget: Budget = self.facts.budget["k"]
        return budget

    @property
    def label_noise(self) -> float:
        """Return the share of labels that was made wrong for all conditions."""
        return float(self.facts.budget.get("label_noise", 0.0))

    @property
    def evaluated(self) -> list[Record]:
        """Return all records with a score."""
        return [record for condition in self.conditions for record in condition.evaluated.values()]


def comparables(records: Sequence[Record]) -> list[Comparable]:
    """Group records so that only comparable ones stand together, in printing order.

    A cell that never saw its data (failed early, unsupported) has no fingerprints; it joins the largest
    table of its task, version and budget.
    """
    kept, further = _current(records)
    homes = _homes(kept)
    tables: dict[str, list[Record]] = {}
    for record in kept:
        tables.setdefault(homes[record.key, record.comparability], []).append(record)
    extra: dict[tuple[str, str], list[Record]] = {}
    for record in further:
        extra.setdefault((record.comparability, record.condition), []).append(record)
    found = [Comparable("", key, _conditions(key, members, extra)) for key, members in tables.items()]
    return _named(sorted(found, key=_printing_order))


def budget_order(budget: Budget) -> float:
    """Return a number that sorts budgets, `full` last."""
    return float("inf") if budget == "full" else float(budget)


def _current(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Choose one record per cell and comparability key; a failed attempt does not count beside a result."""
    finished = {record.key for record in records if record.status != "failed"}
    groups: dict[str, list[Record]] = {}
    for record in _common_numerics_first(records):
        if record.status != "failed" or record.key not in finished:
            groups.setdefault(record.comparability, []).append(record)
    chosen = [current(groups[key]) for key in sorted(groups)]
    return [r for kept, _ in chosen for r in kept], [r for _, further in chosen for r in further]


def _common_numerics_first(records: Iterable[Record]) -> list[Record]:
    """Of two results of one cell, prefer the one that most others can be paired with."""
    listed = list(records)
    counts = Counter((record.comparability, record.numerics["class"]) for record in listed)
    return sorted(listed, key=lambda r: -counts[r.comparability, r.numerics["class"]])


def _homes(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """Return the comparability key of the table that each record, by key and own comparability, stands in."""
    sizes = Counter(r.comparability for r in records if r.evaluation is not None)
    tables: dict[tuple[str, ...], dict[str, int]] = {}
    for record in records:
        if record.comparability in sizes:
            tables.setdefault(_question(record), {})[record.comparability] = sizes[record.comparability]
    homes = {}
    for record in records:
        choices = tables.get(_question(record), {})
        lost = record.comparability not in sizes and choices
        homes[record.key, record.comparability] = (
            min(choices, key=lambda c: (-choices[c], c)) if lost else record.comparability
        )
    return homes


def _question(record: Record) -> tuple[str, ...]:
    return str(record.task["name"]), str(record.task["version"]), record.labels


def _conditions(key: str, members: Sequence[Record],
                extra: Mapping[tuple[str, str], Sequence[Record]]) -> tuple[Condition, ...]:
    groups: dict[str, list[Record]] = {}
    for record in members:
        groups.setdefault(record.condition, []).append(record)
    found = [Condition(id, _model_name(group[0]), group[0].strategy["name"],
                       tuple(sorted(group, key=lambda r: r.replicate)),
                       tuple(sorted(extra.get((key, id), ()), key=lambda r: r.replicate)))
             for id, group in groups.items()]
    shared = Counter((c.model, c.strategy) for c in found)
    found = [
        replace(c, strategy=f"{c.strategy} #{c.id[:4]}") if shared[c.model, c.strategy] > 1 else c
        for c in found
    ]
    return tuple(sorted(found, key=lambda c: (c.model, c.strategy, c.id)))


def _model_name(record: Record) -> str:
    return "-" if record.model is None else str(record.model["name"])


def _printing_order(table: Comparable) -> tuple[int, str, float, float, int, str]:
    task = table.facts.task
    kind = KINDS.index(task["kind"]) if task["kind"] in KINDS else len(KINDS)
    return kind, task["name"], budget_order(table.budget), table.label_noise, -len(table.evaluated), table.comparability


def _named(tables: Sequence[Comparable]) -> list[Comparable]:
    names = [f"{table.facts.task['name']}@{table.facts.labels}" for table in tables]
    counts, seen = Counter(names), Counter[str]()
    named = []
    for table, name in zip(tables, names, strict=True):
        letter = "" if counts[name] == 1 else f" ({chr(ord('A') + seen[name])})"
        seen[name] += 1
        named.append(replace(table, id=name + letter))
    return named
