"""Scores a rule on the test side of an embedded task, with the task's own metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import pytest

from tlbench import DataSource, Splits, registry
from tlbench.kinds import kind_named

Rule = Callable[[Sequence[Any], Sequence[Any]], list[Any]]
BOUND = 0.7


@lru_cache(maxsize=1)
def splits_of(name: str) -> Splits:
    """Return both sides of a task, for all rules that are tried on it."""
    return registry.load().task(name).load(DataSource())


@pytest.fixture
def beaten() -> Callable[[str, Rule], float]:
    """Return a function that scores a rule, which may learn from the whole training side, and prints the score."""

    def score(name: str, rule: Rule) -> float:
        task = registry.load().task(name)
        splits = splits_of(name)
        kind = kind_named(task.kind)
        test = sorted(splits.test, key=lambda example: example.id)
        labels = kind.labels(splits.train)
        metric = kind.metric(task.metric)
        value = float(metric.score(metric.statistics(test, rule(splits.train, test), labels))[0])
        print(f"{name}: {value:.3f} {metric.name} with {rule.__doc__}")
        assert value < BOUND, f"{name} can be beaten by {rule.__doc__}"
        return value

    return score
