"""What each training is given: the weights it begins with, its rows and targets, and what stands at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.data import cell_data
from tlbench.engine.fit import Fitted, Job, fit
from tlbench.engine.layers import stacks
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.engine.predict import predict
from tlbench.grid import Cell
from tlbench.kinds import kind_of
from tlbench.setups import Checkpoint, Setup
from tlbench.strategy import Prediction
from tlbench.task import GenerationExample

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Fit:
    """One phase of a training.

    Attributes:
        machine: The machine, trained on if phases follow.
        job: What it is given.
        begun: Its trunk's weights before the first step.
        fitted: What it reports.
    """

    machine: Machine
    job: Job
    begun: State
    fitted: Fitted


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """Return the list of all phases that are trained from here on, in order."""
    seen: list[Fit] = []

    def watched(machine: Machine, job: Job, place: Place) -> Fitted:
        begun = copied(machine.trunk)
        fitted = fit(machine, job, place)
        seen.append(Fit(machine, job, begun, fitted))
        return fitted

    monkeypatch.setattr("tlbench.engine.trained.fit", watched)
    return seen


def copied(module: torch.nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: State, other: State) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def brief(cell: Cell, **recipe: Any) -> Cell:
    """Return the cell with a short recipe, for source models and teachers too."""
    recipe = {"epochs": 1e-6, "min_steps": 4, "batch_size": 8, "max_target_length": 8, **recipe}
    return replace(cell, condition=replace(cell.condition, setup=shortened(cell.condition.setup, recipe)))


def shortened(setup: Setup, recipe: dict[str, Any]) -> Setup:
    phases = tuple(replace(phase, recipe=replace(phase.recipe, **recipe)) for phase in setup.phases)
    weights, teacher = setup.weights, setup.teacher
    if isinstance(weights, Checkpoint):
        weights = replace(weights, setup=shortened(weights.setup, recipe))
    if teacher:
        teacher = replace(teacher, setup=shortened(teacher.setup, recipe))
    return replace(setup, phases=phases, weights=weights, teacher=teacher)


def done(cell: Cell, shop: Shop) -> dict[str, Any]:
    facts = run_cell(cell, shop).facts
    assert facts["status"] in ("ok", "collapsed"), facts["reason"]
    return dict(facts)


def test_target_begins_with_the_weights_that_its_source_left(
    cell_of: Callable[..., Cell], machine_of: Callable[..., Machine], shop: Shop, fits: list[Fit]
) -> None:
    cell = brief(cell_of("text-classification", "encoder", "intermediate(source=toy-names,budget=20)"),
                 learning_rate=0.0123)  # a stage of this test alone
    done(cell, shop)
    done(cell, shop)
    source, target, again = fits
    published = copied(machine_of("text-classification", "encoder").trunk)
    left = copied(source.machine.trunk)
    assert same(source.begun, published)
    assert not same(left, published)
    assert same(target.begun, left)
    assert same(again.begun, left)  # from the store
    assert not same(copied(target.machine.trunk), left)


@pytest.mark.parametrize("family", ["decoder", "encoder-decoder"])
def test_student_learns_what_its_teacher_generates(
    family: str, cell_of: Callable[..., Cell], shop: Shop, place: Place, fits: list[Fit]
) -> None:
    cell = brief(cell_of("text-generation", family, "distill"), learning_rate=0.00123)  # a stage of this test alone
    done(cell, shop)
    teacher, student = fits
    examples = cell_data(cell, shop.data(cell.condition.task)).train
    form = teacher.machine.form
    said = predict(teacher.machine, examples, form.encode(examples), "fp32", place)
    golden = [e.targets[0] for e in examples if isinstance(e, GenerationExample)]
    assert sum(text not in ("", gold) for text, gold in zip(said, golden, strict=True)) > 1
    taught = tuple(
        replace(e, targets=(text or gold,)) for e, text, gold in zip(examples, said, golden, strict=True)
        if isinstance(e, GenerationExample)
    )
    rows = range(len(examples))
    labels, expected = (
        encoded.ragged["labels"].padded(rows) for encoded in (student.job.train, form.encode(taught))
    )
    assert torch.equal(labels, expected)


@pytest.mark.parametrize("kind", ["text-classification", "question-answering"])
def test_copies_add_rows_but_no_steps(
    kind: str, cell_of: Callable[..., Cell], shop: Shop, fits: list[Fit]
) -> None:
    plain, augmented = (
        done(brief(cell_of(kind, "encoder", text), epochs=2.0, min_steps=1, max_length=32), shop)
        for text in ("finetune", "augment(copies=2)")
    )
    rows = [len(one.job.train) for one in fits]
    assert rows[0] >= 32
    assert rows[1] > 2 * rows[0]
    assert augmented["training"]["copies"] == 64
    steps = [facts["training"]["steps"] for facts in (plain, augmented)]
    assert steps == [2 * -(-rows[0] // 8)] * 2 == [one.fitted.steps for one in fits]


@pytest.mark.parametrize("strategy", ["multitask(source=toy-names)", "hybrid(source=toy-names)"])
def test_labels_beside_the_target_are_redrawn_for_each_replicate(
    strategy: str, cell_of: Callable[..., Cell], shop: Shop, fits: list[Fit]
) -> None:
    cell = brief(cell_of("text-classification", "encoder", strategy))
    for replicate in (0, 1, 0):
        done(replace(cell, replicate=replicate), shop)
    drawn = [{side.train.tokens.row(row).tobytes() for row in range(len(side.train))}
             for one in fits for side in one.job.sides]
    first, second, again = drawn
    assert len(first) == len(second) == 32
    assert first == again
    assert len(first & second) < 32


def test_probed_then_fine_tuned_model_is_validated_by_the_trunk_that_it_ends_with(
    cell_of: Callable[..., Cell], shop: Shop, place: Place, fits: list[Fit]
) -> None:
    cell = brief(cell_of("text-regression", "encoder", "lp-ft"), learning_rate=0.01)
    facts = done(cell, shop)
    probe, tuned = fits
    assert probe.machine is tuned.machine
    assert probe.job.validation.hidden is not None
    data = cell_data(cell, shop.data(cell.condition.task))

    def scores(predictions: list[Prediction]) -> dict[str, float]:
        return {name: kind_of(cell.condition.task).metric(name).value(data.validation, predictions, ())
                for name in facts["evaluation"].validation}

    machine = tuned.machine
    fresh = predict(machine, data.validation, machine.form.encode(data.validation), "fp32", place)
    stale = predict(machine, data.validation, probe.job.validation, "fp32", place)
    assert not any(abs(a - b) < 1e-4 for a, b in zip(fresh, stale, strict=True))
    assert facts["evaluation"].validation == pytest.approx(scores(fresh), rel=1e-6)
    assert scores(fresh) != pytest.approx(scores(stale), rel=1e-3)


@pytest.mark.parametrize(("kind", "family"), [
    ("text-classification", "encoder"), ("token-classification", "decoder"), ("text-generation", "encoder-decoder"),
])
def test_shared_parameters_are_one_from_the_first_step_to_the_last(
    kind: str, family: str, cell_of: Callable[..., Cell], shop: Shop, fits: list[Fit]
) -> None:
    sizes, apart = (
        done(brief(cell_of(kind, family, text), learning_rate=0.01), shop)["model"]
        for text in ("parameter-sharing(distinct=1)", "finetune")
    )
    machine = fits[0].machine
    saved = 0
    for name in stacks(machine.trunk):
        lowest, other = (dict(block.named_parameters()) for block in machine.trunk.get_submodule(name).children())
        assert other
        assert all(lowest[inner] is parameter for inner, parameter in other.items())
        saved += sum(parameter.numel() for parameter in other.values())
        still = [inner for inner in other if torch.equal(lowest[inner], fits[0].begun[f"{name}.0.{inner}"])]
        assert len(still) < len(other)
    assert sizes["params_untied"] == apart["params_total"]
    assert sizes["params_total"] == sizes["params_trainable"] == apart["params_total"] - saved
    assert saved > 0
