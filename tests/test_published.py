"""A run says so when its corpus is not the published one."""

from __future__ import annotations

from tlbench.grid import Cell, Condition, StrategyRef, TaskRef
from tlbench.published import FINGERPRINTS, differences
from tlbench.setups import Setup


def cell(**identity: str) -> Cell:
    task = TaskRef("api-topic", 1, "text-classification", "accuracy", 500, identity)
    return Cell(Condition(task, None, StrategyRef("floor", (), False, "none"), Setup(), 300), 0)


def test_differences_are_none_for_the_published_corpus() -> None:
    assert differences([cell(**FINGERPRINTS)]) == []


def test_differences_name_a_corpus_made_of_other_versions_once() -> None:
    found = differences([cell(apidoc="0" * 64), cell(apidoc="0" * 64)])
    assert len(found) == 1
    assert "'apidoc'" in found[0]


def test_differences_ignore_tasks_without_a_corpus() -> None:
    assert differences([cell(files="abc")]) == []
