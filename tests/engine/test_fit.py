"""The training loop: it learns, stops for the stated reason, and survives what can go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine import trained as steps
from tlbench.engine.encoding import evaluation_batches, training_batches
from tlbench.engine.fit import Fitted, Job, fit, planned_steps, validate
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.grid import Cell
from tlbench.setups import FixedSteps, Phase, Plateau, Random, Recipe, Setup

SEEDS = {"order": 4, "dropout": 5}
RATES = {"encoder": 3e-3, "decoder": 3e-3, "encoder-decoder": 3e-2}
STEPS = {
    "text-classification": dict.fromkeys(RATES, 100),
    "text-regression": dict.fromkeys(RATES, 120),
    "token-classification": dict.fromkeys(RATES, 100),
    "question-answering": {"encoder": 300},  # the others learn it too, in twice the steps
    "text-generation": {"decoder": 450, "encoder-decoder": 200},
}


def phase_of(family: str, steps: int, **changes: Any) -> Phase:
    """Return a phase with a rate that suits a tiny model."""
    rate = RATES[family]
    recipe = Recipe(
        optimizer="rms-adamw" if family == "encoder-decoder" else "adamw",
        learning_rate=rate,
        head_learning_rate=5 * rate if family == "encoder-decoder" else rate,
        epochs=1e-6,
        min_steps=steps,
        weight_decay=0.0,
        max_length=64,
        max_target_length=12,
    )
    return Phase(recipe=replace(recipe, **changes))


def job_of(machine: Machine, toys: ModuleType, task: str, phase: Phase, **changes: Any) -> Job:
    """Return a job on 64 toy examples and 16 of validation."""
    train, validation = toys.examples(task, 64), toys.examples(task, 16, "validation")
    job = Job(
        machine.form.encode(train),
        machine.form.encode(validation),
        phase,
        False,
        SEEDS,
        "fp32",
        phase.recipe.batch_size,
    )
    return replace(job, **changes)


@pytest.mark.parametrize(("kind", "family"), [(kind, family) for kind in STEPS for family in STEPS[kind]])
def test_scratch_twin_fits_64_examples(
    kind: str, family: str, machine_of: Callable[..., Machine], toys: ModuleType, place: Place
) -> None:
    phase = phase_of(family, STEPS[kind][family])
    machine = machine_of(kind, family, Setup(weights=Random(), phases=(phase,)), **toys.without_dropout(family))
    job = job_of(machine, toys, toys.KINDS[kind], phase, select_last=True)
    before = validate(machine, job.train, "fp32", place, False)[0]
    fit(machine, replace(job, validation=replace(job.validation, examples=0)), place)
    after = validate(machine, job.train, "fp32", place, False)[0]
    assert after < 0.05 * before


@pytest.fixture
def trained(machine_of: Callable[..., Machine], toys: ModuleType, place: Place) -> Callable[..., Any]:
    """Return a function that trains a tiny tagger and returns what it reports, the machine and the job."""

    def train(phase: Phase, **changes: Any) -> tuple[Fitted, Machine, Job]:
        config = toys.without_dropout("encoder")
        machine = machine_of("token-classification", "encoder", Setup(phases=(phase,)), **config)
        job = job_of(machine, toys, "toy-names", phase, **changes)
        return fit(machine, job, place), machine, job

    return train


def test_fixed_steps_are_all_taken(trained: Callable[..., Any]) -> None:
    shares: list[float] = []
    fitted, machine, _ = trained(phase_of("encoder", 12), select_last=True, progress=shares.append)
    assert (fitted.steps, fitted.best_step, fitted.stop_reason) == (12, 12, "steps")
    assert fitted.examples_seen == 12 * 16
    assert shares[-1] == 1
    assert not machine.training


def test_plateau_stops_after_the_usual_steps(trained: Callable[..., Any]) -> None:
    phase = replace(phase_of("encoder", 10), stop=Plateau(cap=5, patience=1, tolerance=0.99))
    fitted, *_ = trained(phase, select_last=True)
    assert fitted.stop_reason == "plateau"
    assert 10 <= fitted.steps < 50


def test_cap_is_said_where_no_plateau_was_reached(trained: Callable[..., Any]) -> None:
    phase = replace(phase_of("encoder", 10), stop=Plateau(cap=2.5, patience=3, tolerance=0.0))
    fitted, *_ = trained(phase, select_last=True)
    assert (fitted.stop_reason, fitted.steps) == ("cap", 25)


def test_best_validation_loss_is_restored(trained: Callable[..., Any], place: Place) -> None:
    fitted, machine, job = trained(phase_of("encoder", 60, learning_rate=0.02))
    losses = {point["step"]: point["validation_loss"] for point in fitted.curve}
    assert fitted.best_step == min(losses, key=losses.__getitem__)
    assert validate(machine, job.validation, "fp32", place, False)[0] == pytest.approx(
        losses[fitted.best_step], rel=1e-6
    )


def test_micro_batches_leave_the_losses_as_they_are(trained: Callable[..., Any]) -> None:
    whole, *_ = trained(phase_of("encoder", 20))
    parts, *_ = trained(phase_of("encoder", 20), micro_batch=4)
    assert len(whole.curve) == len(parts.curve) >= 5
    for one, other in zip(whole.curve, parts.curve, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_micro_batch_at_equal_effective_batch(
    error: Exception, cell_of: Callable[..., Cell], shop: Shop, toys: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of("text-classification", "encoder", "finetune+short", **toys.without_dropout("encoder"))
    usual = run_cell(cell, shop)
    tried = []

    def narrow(machine: Machine, job: Job, place: Place) -> Fitted:
        tried.append(job.micro_batch)
        if len(tried) < 3:
            raise error
        return fit(machine, job, place)

    monkeypatch.setattr(steps, "fit", narrow)
    outcome = run_cell(cell, shop)
    training = outcome.facts["training"]
    assert outcome.facts["status"] == usual.facts["status"]
    assert tried == [8, 4, 2]
    assert (training["micro_batch"], training["batch_size"]) == (2, 8)
    for one, other in zip(training["curve"], usual.facts["training"]["curve"], strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_out_of_memory_at_one_example_fails(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(machine: Machine, job: Job, place: Place) -> Fitted:
        tried.append(job.micro_batch)
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(steps, "fit", full)
    outcome = run_cell(cell_of("text-classification", "encoder", "finetune+short"), shop)
    assert (outcome.facts["status"], tried) == ("failed", [8, 4, 2, 1])
    assert "OutOfMemoryError: full" in outcome.facts["reason"]


@pytest.mark.parametrize("kind", STEPS)
def test_divergence_is_a_collapse_with_a_score(kind: str, cell_of: Callable[..., Cell], shop: Shop) -> None:
    outcome = run_cell(cell_of(kind, "encoder-decoder", "finetune+short(rate=1e30)"), shop)
    assert outcome.facts["status"] == "collapsed", outcome.facts["reason"]
    assert outcome.facts["reason"] == "the training loss is not finite"
    assert outcome.facts["training"]["stop_reason"] == "diverged"
    assert all(math.isfinite(m["value"]) for m in outcome.facts["evaluation"].metrics.values())


def test_planned_steps_round_up() -> None:
    recipe = Recipe(epochs=2.5, min_steps=3, batch_size=16)
    assert [planned_steps(recipe, n) for n in (1, 16, 17, 32, 100)] == [3, 3, 5, 5, 18]
    assert FixedSteps() == Phase().stop


@pytest.mark.parametrize("window", [1, 4])
def test_epochs_take_every_row_once(window: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, size=101)
    batches = training_batches(lengths, 8, window, np.random.default_rng(1))
    epochs = [[next(batches) for _ in range(13)] for _ in range(2)]
    for epoch in epochs:
        assert sorted(row for batch in epoch for row in batch) == list(range(101))
        assert all(len(batch) <= 8 for batch in epoch)
    assert epochs[0] != epochs[1]


def test_evaluation_plan_takes_every_row_once_within_its_tokens() -> None:
    lengths = np.random.default_rng(0).integers(0, 300, size=333)
    plan = evaluation_batches(lengths, tokens=1000, rows=16)
    assert sorted(row for batch in plan for row in batch) == list(range(333))
    assert all(len(batch) <= 16 and len(batch) * lengths[batch].max() <= 1000 for batch in plan)
    assert evaluation_batches(np.zeros(0, dtype=np.int64)) == []
