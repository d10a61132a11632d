"""Which cell a free worker takes: none that would wait for another one, while there are others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tlbench.executors.workers import _taken, upstream_of
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
    assert upstream_of(_taken(queue, [second])) == upstream_of(first)  # the source model is there by now
    assert queue == []


def test_who_must_wait_does_so_where_nothing_else_is_left(cells: Cells) -> None:
    queue = cells("intermediate(source=toy-names)")
    first = _taken(queue, [])
    assert upstream_of(queue[0]) == upstream_of(first)
    assert _taken(queue, [first]).replicate == 1


@pytest.mark.parametrize(("strategy", "tasks", "stages"), [
    ("finetune", ("toy-topic", "toy-names"), {None}),
    ("scratch", ("toy-topic", "toy-names"), {None}),
    ("distill", ("toy-topic", "toy-names"), {None}),
    ("intermediate(source=toy-score)", ("toy-topic", "toy-names"), 1),
    ("intermediate(source=toy-score,redraw=True)", ("toy-topic", "toy-names"), 2),
    ("tapt(tokens=800)", ("toy-topic", "toy-names"), 2),
    ("tapt(tokens=800,redraw=True)", ("toy-topic", "toy-names"), 4),
    ("word2vec", ("toy-topic", "toy-names"), {None}),
])
def test_a_stage_has_a_name_for_each_content(
    strategy: str, tasks: tuple[str, ...], stages: set[None] | int, cells: Cells
) -> None:
    found = {upstream_of(cell) for cell in cells(strategy, tasks=tasks)}
    assert (found if isinstance(stages, set) else len(found - {None})) == stages


def test_models_do_not_share_a_stage(cells: Cells, zoo: Callable[..., Path]) -> None:
    models = [str(zoo("encoder")), str(zoo("encoder-decoder"))]
    assert len({upstream_of(cell) for cell in cells("intermediate(source=toy-score)", models=models)}) == 2


def test_vectors_of_a_domain_are_shared_by_all_cells(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlbench.offers.Corpora", lambda suite, source: {"toy": {}})
    found = {upstream_of(cell) for cell in cells("word2vec-domain", tasks=("toy-topic", "toy-names"))}
    assert len(found) == 1
    assert found != {None}
