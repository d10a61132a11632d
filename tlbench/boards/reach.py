"""How far a score goes: the labels that it saves, and the steps until training reaches the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from tlbench.boards.conditions import Condition
from tlbench.boards.facts import Reach, Saved
from tlbench.boards.values import Table
from tlbench.records import Record

Question = tuple[str, ...]


def with_saved(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Return the tables with what each row saves in labels, where its task was run at several budgets.

    Only tables of one task version, one test set and one metric, with right labels, stand on one curve.
    """
    curves: dict[Question, dict[int, float]] = {}
    for table in tables:
        labels, score = _labels(table), next((row.score.mean for row in table.rows if row.best_baseline), None)
        if labels and score is not None and not table.label_noise:
            curves.setdefault(_question(table), {}).setdefault(labels, score)
    return tuple(_with_saved(table, curves.get(_question(table), {})) for table in tables)


def saved(score: float, labels: int, baseline: Mapping[int, float]) -> Saved:
    """Return how many labels the baseline needs for a score, in multiples of the labels that it was reached with.

    Args:
        score: A mean test score.
        labels: Training and validation labels behind it, at least 1.
        baseline: Mean test scores of the best baseline without transfer, by its labels; at least one.

    Returns:
        A range: the baseline is below the score at the lower end, which is missing where its fewest labels reach it,
        and not below at the upper end, which is missing where its most labels do not. Nothing is extrapolated.
    """
    tried = sorted(baseline)
    first = next((place for place, given in enumerate(tried) if baseline[given] >= score), len(tried))
    return Saved(tried[first - 1] / labels if first else None, tried[first] / labels if first < len(tried) else None)


def reach(condition: Condition, baseline: Condition | None) -> Reach | None:
    """Return when training reached the final validation score of a baseline, over the replicates that both have.

    `None` where nothing can be said: for the baseline itself, and where no validation score was taken while training
    (budgets of at most 100 labels, numbers, generated text, learners without steps).
    """
    if baseline is None or baseline.id == condition.id:
        return None
    found = [
        _first(record, goal)
        for replicate, record in condition.evaluated.items()
        if replicate in baseline.evaluated and _watched(record)
        and (goal := _validation(baseline.evaluated[replicate])) is not None
    ]
    steps = [step for step in found if step is not None]
    return Reach(median(steps) if steps else None, len(steps), len(found)) if found else None


def _with_saved(table: Table, baseline: Mapping[int, float]) -> Table:
    labels = _labels(table)
    if len(baseline) < 2 or not labels or table.label_noise:
        return table
    return replace(table, rows=tuple(
        replace(row, saved=saved(row.score.mean, labels, baseline))
        if row.transfers and row.score.mean is not None else row
        for row in table.rows
    ))


def _labels(table: Table) -> int:
    return int(table.task.get("train_labels") or 0) + int(table.task.get("validation_labels") or 0)


def _question(table: Table) -> Question:
    task = table.task
    test = str(task.get("fingerprints", {}).get("test"))
    return table.name, str(task.get("version")), test, str(task.get("signature")), table.metric


def _watched(record: Record) -> bool:
    return any("validation_score" in point for point in record.training.get("curve", ()))


def _first(record: Record, goal: float) -> float | None:
    seen = (point for point in record.training["curve"] if "validation_score" in point)
    return next((float(point["step"]) for point in seen if point["validation_score"] >= goal), None)


def _validation(record: Record) -> float | None:
    assert record.evaluation is not None
    return record.evaluation.validation.get(record.evaluation.primary)
