"""Regression: the unit in which labels are given is of no matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tlbench.cells import Shop, bench_for, model_source
from tlbench.data import CellData, cell_data
from tlbench.engine.measure import Clock
from tlbench.engine.trained import train
from tlbench.grid import Cell


def in_another_unit(data: CellData, unit: float, offset: float) -> CellData:
    def changed(examples: Any) -> Any:
        return tuple(replace(example, label=offset + unit * example.label) for example in examples)

    return replace(data, train=changed(data.train), validation=changed(data.validation))


@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
@pytest.mark.parametrize("strategy", ["finetune+short", "feature-extraction+short"])
def test_predictions_follow_the_unit_of_the_labels(
    family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    cell = cell_of("text-regression", family, strategy)
    data = cell_data(cell, shop.data(cell.condition.task))
    bench = bench_for(shop, Clock())

    def predicted(unit: float, offset: float) -> Any:
        given = in_another_unit(data, unit, offset)
        done = train(cell, given, model_source(cell, shop), bench, cell.condition.setup.phases[0].recipe.batch_size)
        return np.array(done.predict("test", data.test, bench)), np.array([e.label for e in given.train])

    plain, _ = predicted(1.0, 0.0)
    prices, labels = predicted(250.0, 2000.0)
    assert prices == pytest.approx(2000 + 250 * plain, rel=1e-3)
    assert abs(prices.mean() - labels.mean()) < labels.std()
    same, labels = predicted(0.0, 0.7)
    assert len(set(labels)) == 1
    assert abs(same - 0.7).max() < 1.5


def test_a_teachers_numbers_are_in_the_tasks_unit(machine_of: Callable[..., Any], toys: Any) -> None:
    form = machine_of("text-regression", "encoder").form
    examples = [replace(e, label=100.0 + 10 * i) for i, e in enumerate(toys.examples("toy-score", 5))]
    taught = form.fitted(examples)
    assert (taught.frame.centre, taught.frame.spread) == (pytest.approx(120.0), pytest.approx(200**0.5))
    row = np.array([1.0], dtype=np.float32)
    assert float(taught.soften(row, 2.0)[0, 0]) == pytest.approx(120 + 200**0.5)
    assert taught.decode(examples[:1], taught.encode(examples[:1]), [row]) == [pytest.approx(120 + 200**0.5)]
