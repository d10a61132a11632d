"""How far a score goes: the labels that it saves, and the steps until training reaches the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from tlbench.boards.facts import Reach, Saved
from tlbench.boards.values import Row, Table
from tlbench.records import Record
from tlbench.verdicts import REPLICATES

Question = tuple[object, ...]
_PRINTS = ("train", "validation", "test")


def with_saved(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Return the tables with what each row saves in labels, where its question was asked at several budgets.

    A row is measured by the best baseline that used no more unlabelled text than it did; both have three replicates.
    """
    asked: dict[Question, list[Table]] = {}
    for table in tables:
        if (key := question(table)) is not None:
            asked.setdefault(key, []).append(table)
    return tuple(_with_saved(table, asked[key]) if (key := question(table)) is not None else table for table in tables)


def question(table: Table) -> Question | None:
    """Return what must be equal for two budgets to lie on one curve; `None` where the data are not pinned.

    Name and version of the task, its rows, metric and protocol. Labels made wrong on purpose ask another question.
    """
    task = table.task
    prints = [task.get("fingerprints", {}).get(part) for part in _PRINTS]
    if table.label_noise or not prints[0] or not prints[-1]:
        return None
    return table.name, task.get("version"), *prints, task.get("signature"), table.metric, task.get("protocol")


def saved(score: float, labels: int, baseline: Mapping[int, float]) -> Saved:
    """Return how many labels the baseline needs for a score; nothing is interpolated or extrapolated.

    Args:
        score: A mean test score.
        labels: Training and validation labels behind it.
        baseline: Mean test scores of the best baseline without transfer, by its labels; at least one.
    """
    tried = sorted(baseline)
    first = next((place for place, given in enumerate(tried) if baseline[given] >= score), len(tried))
    return Saved(labels, tried[first - 1] if first else None, tried[first] if first < len(tried) else None)


def reach(records: Sequence[Record], baseline: Sequence[Record]) -> Reach | None:
    """Return when training reached the final validation score of a baseline.

    Args:
        records: Records of a condition that can be paired with the baseline.
        baseline: Their partners, in the same order.

    Returns:
        Steps over the pairs, or `None` where no validation score was taken while training (budgets of at most 100
        labels, numbers, generated text, learners without steps).
    """
    found = [_first(scores, goal) for one, other in zip(records, baseline, strict=True)
             if (scores := _scores(one)) and (goal := _validation(other)) is not None]
    if not found:
        return None
    middle = median(found)
    return Reach(None if math.isinf(middle) else middle, sum(not math.isinf(step) for step in found), len(found))


def _with_saved(table: Table, curve: Sequence[Table]) -> Table:
    rows = [replace(row, saved=_saved(row, table, curve)) if row.transfers and row.n >= REPLICATES else row
            for row in table.rows]
    return replace(table, rows=tuple(rows))


def _saved(row: Row, table: Table, curve: Sequence[Table]) -> Saved | None:
    baseline: dict[int, float] = {}
    for other in curve:
        found = [one for one in other.rows if not one.transfers and one.n >= REPLICATES
                 and one.score.validation is not None and one.outside.unlabeled <= row.outside.unlabeled]
        if found and _labels(other):
            best = max(found, key=lambda one: (one.score.validation or 0.0, one.label))
            assert best.score.mean is not None
            baseline.setdefault(_labels(other), best.score.mean)
    if len(baseline) < 2 or not _labels(table) or row.score.mean is None:
        return None
    return saved(row.score.mean, _labels(table), baseline)


def _labels(table: Table) -> int:
    return int(table.task.get("train_labels") or 0) + int(table.task.get("validation_labels") or 0)


def _scores(record: Record) -> list[tuple[float, float]]:
    """Return the steps at which a validation score was taken, with the score."""
    return [(float(point["step"]), float(point["validation_score"])) for point in record.training.get("curve") or ()
            if point.get("validation_score") is not None and "step" in point]


def _first(scores: Sequence[tuple[float, float]], goal: float) -> float:
    return next((step for step, score in scores if score >= goal), math.inf)


def _validation(record: Record) -> float | None:
    return None if record.evaluation is None else record.evaluation.validation.get(record.evaluation.primary)
