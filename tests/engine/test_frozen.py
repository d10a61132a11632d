"""Frozen features as a stage: what they are, and who shares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tlbench.cells import Shop, bench_for, run_cell
from tlbench.engine.encoding import Ragged
from tlbench.engine.frozen import on_features
from tlbench.engine.machine import Machine
from tlbench.engine.measure import Clock
from tlbench.engine.place import Place
from tlbench.engine.predict import features
from tlbench.grid import Cell
from tlbench.planning import Request, make_plan
from tlbench.registry import Registry
from tlbench.sources import DataSource


def test_rows_can_be_taken_in_any_order() -> None:
    ragged = Ragged.of([[1, 2], [3], [4, 5, 6]], fill=-1)
    taken = ragged.taken([2, 0, 2])
    assert [taken.row(i).tolist() for i in range(3)] == [[4, 5, 6], [1, 2], [4, 5, 6]]
    assert taken.fill == -1
    assert len(ragged.taken([]).flat) == 0


@pytest.fixture
def cold(registry: Registry, place: Place, tmp_path: Path) -> Shop:
    """Return a shop with an empty cache."""
    return Shop(registry, DataSource(cache=tmp_path, offline=True), place, "fp32")


def _cells(shop: Shop, zoo: Callable[..., Path], budget: Any) -> list[Cell]:
    request = Request(("toy-topic",), ("feature-extraction+short",), (str(zoo("encoder")),), (budget,), 2)
    return list(make_plan(request, shop.registry, shop.source).cells)


@pytest.mark.parametrize(("budget", "stages"), [("full", 2), (40, 5)])  # train and validation are one stage at `full`
def test_replicates_share_features_where_they_share_examples(
    budget: Any, stages: int, cold: Shop, zoo: Callable[..., Path]
) -> None:
    outcomes = [run_cell(cell, cold) for cell in _cells(cold, zoo, budget)]
    assert all(outcome.facts["status"] in ("ok", "collapsed") for outcome in outcomes)
    assert len(list((cold.source.cache / "stages" / "features").glob("*/"))) == stages
    curves = [outcome.facts["training"]["curve"] for outcome in outcomes]
    assert curves[0] != curves[1]


@pytest.mark.parametrize("kind", ["text-classification", "token-classification", "question-answering",
                                  "text-generation"])
def test_kept_features_are_those_that_were_made(
    kind: str, cell_of: Callable[..., Cell], cold: Shop, without_stages: Callable[[], None]
) -> None:
    cell = cell_of(kind, "encoder-decoder", "feature-extraction+short")
    run_cell(cell, cold)
    assert list((cold.source.cache / "stages" / "features").glob("*/"))
    kept = run_cell(cell, cold)
    without_stages()
    made = run_cell(cell, cold)
    assert kept.facts["training"]["curve"] == made.facts["training"]["curve"]
    assert kept.predictions.equals(made.predictions)


def test_features_of_all_rows_together_are_those_of_the_rows(
    cold: Shop, zoo: Callable[..., Path], machine_of: Callable[..., Machine], toys: ModuleType
) -> None:
    cell = _cells(cold, zoo, "full")[0]
    machine = machine_of("text-classification", "encoder")
    examples = toys.examples("toy-topic", 30)
    parts = {name: machine.form.encode(part) for name, part in (
        ("train", examples[:20]), ("validation", examples[20:]), ("test", toys.examples("toy-topic", 9, "test")))}
    bench = bench_for(cold, Clock())
    made = on_features(machine, dict(parts), True, cell, bench)
    for name, part in parts.items():
        hidden = made[name].hidden
        assert hidden is not None
        expected = features(machine, part, "fp32", cold.place)
        assert np.array_equal(hidden.starts, expected.starts)
        assert np.allclose(hidden.flat, expected.flat, atol=1e-6)
    swapped = {**parts, "train": parts["validation"], "validation": parts["train"]}
    again = on_features(machine, swapped, True, cell, bench)
    hidden, before = again["train"].hidden, made["validation"].hidden
    assert hidden is not None
    assert before is not None
    assert np.array_equal(hidden.flat, before.flat)
    partly = on_features(machine, dict(parts), False, cell, bench)
    assert partly["test"].hidden is None
