"""Which cell a free worker takes: none that would wait for another one, while there are others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tlbench.executors.workers import _taken, stages_of
from tlbench.grid import Cell
from tlbench.planning import Request, make_plan
from tlbench.registry import Registry
from tlbench.sources import DataSource

Cells = Callable[..., list[Cell]]


@pytest.fixture
def cells(registry: Registry, source: DataSource, zoo: Callable[..., Path]) -> Cells:
    """Return a function from strategies to the cells of two replicates on a task or two."""

    def planned(*strategies: str, tasks: Sequence[str] = ("toy-topic",), models: Sequence[str] = ()) -> list[Cell]:
        models = models or (str(zoo("encoder")),)
        return list(make_plan(Request(tuple(tasks), strategies, tuple(models), replicates=2), registry, source).cells)

    return planned


def test_cells_that_share_a_source_model_are_kept_apart(cells: Cells) -> None:
    queue = cells("intermediate(source=toy-names)", "finetune")
    first = _taken(queue, [])
    second = _taken(queue, [first])
    third = _taken(queue, [first, second])
    names = [cell.condition.strategy.name.partition("(")[0] for cell in (first, second, third)]
    assert names == ["intermediate", "finetune", "finetune"]
    assert stages_of(_taken(queue, [second])) == stages_of(first)  # the source model is there by now
    assert queue == []


def test_who_must_wait_does_so_where_nothing_else_is_left(cells: Cells) -> None:
    queue = cells("intermediate(source=toy-names)")
    first = _taken(queue, [])
    assert stages_of(queue[0]) == stages_of(first)
    assert _taken(queue, [first]).replicate == 1


@pytest.mark.parametrize(("strategy", "stages"), [
    ("finetune", 0),
    ("scratch", 0),
    ("word2vec", 0),
    ("distill", 4),  # a task and a replicate each
    ("intermediate(source=toy-score)", 1),
    ("intermediate(source=toy-score,redraw=True)", 2),
    ("intermediate(source=toy-score)+distill", 5),
    ("tapt(tokens=800)", 2),
    ("tapt(tokens=800,redraw=True)", 4),
])
def test_a_stage_has_a_name_for_each_content(strategy: str, stages: int, cells: Cells) -> None:
    found = [stages_of(cell) for cell in cells(strategy, tasks=("toy-topic", "toy-names"))]
    assert len(frozenset[str]().union(*found)) == stages


@pytest.mark.parametrize(("one", "other", "shared"), [
    ("intermediate(source=toy-names)", "intermediate(source=toy-names)+lora", True),
    ("intermediate(source=toy-names)", "intermediate(source=toy-names,redraw=True)", True),  # at replicate 0
    ("intermediate(source=toy-names)", "intermediate(source=toy-score)", False),
    ("distill", "distill(members=2)", True),
    ("distill", "distill(weight=0.1)+lora", True),
    ("distill", "distill(temperature=5.0)", False),
    ("tapt(tokens=800)", "tapt(tokens=900)", False),
])
def test_strategies_share_what_the_store_shares(one: str, other: str, shared: bool, cells: Cells) -> None:
    first, second = (next(cell for cell in cells(strategy) if cell.replicate == 0) for strategy in (one, other))
    assert bool(stages_of(first) & stages_of(second)) is shared


def test_models_do_not_share_a_stage(cells: Cells, zoo: Callable[..., Path]) -> None:
    models = [str(zoo("encoder")), str(zoo("encoder-decoder"))]
    assert len({stages_of(cell) for cell in cells("intermediate(source=toy-score)", models=models)}) == 2


def test_vectors_of_a_domain_are_shared_by_all_cells(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlbench.offers.Corpora", lambda suite, source: {"toy": {}})
    (found,) = {stages_of(cell) for cell in cells("word2vec-domain", tasks=("toy-topic", "toy-names"))}
    assert len(found) == 1
    redrawn = cells("word2vec-domain(redraw=True)", tasks=("toy-topic", "toy-names"))
    assert [stages_of(cell) == found for cell in redrawn] == [cell.replicate == 0 for cell in redrawn]
    assert len({stages_of(cell) for cell in redrawn}) == 2
