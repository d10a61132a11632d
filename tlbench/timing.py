"""How long a cell will take, from a few of its own training steps and prediction batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tlbench.cells import Shop, bench_for
from tlbench.data import CellData
from tlbench.engine.encoding import Encoded, evaluation_batches
from tlbench.engine.families import Source
from tlbench.engine.fit import Job, Side, fit, planned_steps
from tlbench.engine.frozen import frozen_phases
from tlbench.engine.machine import Machine, build
from tlbench.engine.measure import Clock
from tlbench.engine.precision import autocast
from tlbench.engine.streams import Streams, without_idle_text
from tlbench.grid import Cell
from tlbench.setups import FixedSteps, Phase

_STEPS = 6
_HEAD_STEP = 0.003
"""Seconds of a training step of a linear head on cached features."""


def cell_seconds(
    cell: Cell, data: CellData, source: Source, shop: Shop, seeds: dict[str, int], shares: Sequence[float]
) -> float:
    """Return the expected seconds of a neural cell.

    Args:
        cell: The cell.
        data: Its examples.
        source: Its model.
        shop: Device and precision.
        seeds: Seeds of the cell's streams.
        shares: For each phase, expected training steps in multiples of the recipe's.
    """
    start = time.perf_counter()
    setup = cell.condition.setup
    machine = build(source, setup, cell.condition.task.kind, data.task.labels, seeds)
    train, test = machine.form.encode(data.train), machine.form.encode(data.test)
    seconds = time.perf_counter() - start
    evaluated = _prediction_seconds(machine, test, shop)
    seconds += evaluated
    frozen = 0 if machine.form.generates else frozen_phases(setup)  # a decoder is trained on cached encoder states
    if frozen:
        seconds += evaluated * len(train) / max(1, len(test))
    streams = Streams(cell, data, source, bench_for(shop, Clock()), machine)
    for number, (phase, share) in enumerate(zip(setup.phases, shares, strict=True)):
        steps = planned_steps(phase.recipe, len(train)) * share
        if number < frozen:
            seconds += steps * _HEAD_STEP
            continue
        machine.release(phase.trainable)
        sides = streams.sides(without_idle_text(phase, source.generates))
        seconds += steps * _step_seconds(machine, train, shop, phase, seeds, sides)
    return seconds


def token_seconds(cell: Cell, data: CellData, source: Source, shop: Shop, seeds: dict[str, int]) -> float:
    """Return the seconds that training takes per real token of the cell's own training examples."""
    machine = build(source, cell.condition.setup, cell.condition.task.kind, data.task.labels, seeds)
    train = machine.form.encode(data.train)
    machine.release("all")
    rows = min(cell.condition.setup.phases[0].recipe.batch_size, len(train))
    phase = cell.condition.setup.phases[0]
    return _step_seconds(machine, train, shop, phase, seeds) / (rows * float(train.tokens.lengths.mean()))


def _step_seconds(
    machine: Machine, train: Encoded, shop: Shop, phase: Phase, seeds: dict[str, int], sides: tuple[Side, ...] = ()
) -> float:
    """Return the seconds of one training step with what is learned beside it, the first ones left out."""
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
