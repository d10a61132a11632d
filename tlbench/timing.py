"""How long a cell will take, from a few of its own training steps and prediction batches."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from tlbench.cells import Shop, bench_for
from tlbench.data import CellData
from tlbench.engine.encoding import Encoded, evaluation_batches
from tlbench.engine.families import Source
from tlbench.engine.fit import Job, Side, fit, planned_steps
from tlbench.engine.machine import Machine, build
from tlbench.engine.measure import Clock
from tlbench.engine.precision import autocast
from tlbench.engine.streams import Streams, without_idle_text
from tlbench.grid import Cell
from tlbench.setups import FixedSteps, Random

_STEPS = 6


def cell_seconds(cell: Cell, data: CellData, source: Source, shop: Shop, seeds: dict[str, int], share: float) -> float:
    """Return the expected seconds of a neural cell.

    Args:
        cell: The cell.
        data: Its examples.
        source: Its model.
        shop: Device and precision.
        seeds: Seeds of the cell's streams.
        share: Expected training steps in multiples of the recipe's.
    """
    start = time.perf_counter()
    machine = build(source, cell.condition.setup, cell.condition.task.kind, data.task.labels, seeds)
    train, test = machine.form.encode(data.train), machine.form.encode(data.test)
    prepared = time.perf_counter() - start
    phase = cell.condition.setup.phases[0]
    frozen = phase.trainable == "head" and not isinstance(cell.condition.setup.weights, Random)
    evaluated = _prediction_seconds(machine, test, shop)
    if frozen and not machine.form.generates:
        return (
            prepared
            + evaluated * (1 + len(train) / max(1, len(test)))
            + 0.003 * planned_steps(phase.recipe, len(train))
        )
    steps = planned_steps(phase.recipe, len(train)) * share
    streams = Streams(cell, data, source, bench_for(shop, Clock()), machine)
    each = _step_seconds(machine, train, shop, cell, seeds, streams.sides(without_idle_text(phase, source.generates)))
    return prepared + steps * each + evaluated


def token_seconds(cell: Cell, data: CellData, source: Source, shop: Shop, seeds: dict[str, int]) -> float:
    """Return the seconds that training takes per real token of the cell's own training examples."""
    machine = build(source, cell.condition.setup, cell.condition.task.kind, data.task.labels, seeds)
    train = machine.form.encode(data.train)
    machine.release("all")
    rows = min(cell.condition.setup.phases[0].recipe.batch_size, len(train))
    return _step_seconds(machine, train, shop, cell, seeds) / (rows * float(train.tokens.lengths.mean()))


def _step_seconds(
    machine: Machine, train: Encoded, shop: Shop, cell: Cell, seeds: dict[str, int], sides: tuple[Side, ...] = ()
) -> float:
    """Return the seconds of one training step with what is learned beside it, the first ones left out."""
    phase = cell.condition.setup.phases[0]
    recipe = replace(phase.recipe, epochs=1e-9, min_steps=2)
    job = Job(
        train,
        replace(train, examples=0),
        replace(phase, recipe=recipe, stop=FixedSteps(), mixture=phase.mixture if sides else None),
        True,
        seeds,
        shop.precision,
        recipe.batch_size,
        sides=sides,
    )
    fit(machine, job, shop.place)
    recipe = replace(recipe, min_steps=_STEPS)
    return fit(machine, replace(job, phase=replace(job.phase, recipe=recipe)), shop.place).seconds / _STEPS


@torch.no_grad()
def _prediction_seconds(machine: Machine, test: Encoded, shop: Shop) -> float:
    """Return the seconds of predicting the test split, from two of its batches."""
    machine.to(shop.place.device).eval()
    plan = evaluation_batches(test.tokens.lengths)
    lengths = test.tokens.lengths
    chosen = [plan[len(plan) // 3], plan[2 * len(plan) // 3]]
    start = time.perf_counter()
    for rows in chosen:
        with autocast(shop.precision, shop.place.device):
            machine.form.raw(machine, test.batch(rows, shop.place.device))
    spent = time.perf_counter() - start
    padded = [len(rows) * int(lengths[rows].max()) for rows in plan]
    measured = sum(len(rows) * int(lengths[rows].max()) for rows in chosen)
    return float(spent * np.sum(padded) / max(1, measured))
