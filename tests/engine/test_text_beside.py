"""The pre-training objective beside a task: one trunk, masked rows, what the record says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tlbench.cells import Shop, run_cell
from tlbench.engine.families import Source, load_language_model
from tlbench.engine.fit import Job, Side, fit
from tlbench.engine.forms import IGNORED
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.engine.pretraining.beside import Text, reading_beside, targets
from tlbench.grid import Cell
from tlbench.model import Model
from tlbench.recipes import default_pretraining
from tlbench.setups import FixedSteps, Mixture, Phase, Recipe, Setup
from tlbench.task import texts_of

SEEDS = {"init": 1, "head": 2, "adapters": 3, "order": 4, "dropout": 5}
KINDS_AND_FAMILIES = [
    ("text-classification", "encoder"), ("token-classification", "decoder"), ("question-answering", "encoder-decoder"),
    ("text-generation", "decoder"), ("text-generation", "encoder-decoder"),
]


@pytest.mark.parametrize(("kind", "family"), KINDS_AND_FAMILIES)
def test_text_is_learned_beside_every_part_of_a_model(
    kind: str, family: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    outcome = run_cell(cell_of(kind, family, "hybrid-text(tokens=2000)+short"), shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    assert [one["task"] for one in outcome.facts["training"]["upstream"]] == ["the task's text"]
    assert outcome.facts["budget"]["unlabeled"] >= 80  # the whole training side
    assert outcome.facts["strategy"]["external_data"] == "unlabeled"


@pytest.mark.parametrize("strategy", ["hybrid-text+feature-extraction", "feature-extraction+hybrid-text"])
def test_frozen_trunk_is_refused_before_launch(strategy: str, plan_of: Callable[..., Any]) -> None:
    plan = plan_of("text-classification", "encoder", strategy)
    assert list(plan.unsupported.values()) == ["a frozen trunk learns nothing from what is learned beside the target"]


@pytest.mark.parametrize("strategy", ["lp-ft+hybrid-text(tokens=2000)", "hybrid-text(tokens=2000)+lp-ft",
                                      "lora+hybrid-text(tokens=2000)", "scratch+hybrid-text(tokens=2000)"])
def test_text_composes(strategy: str, cell_of: Callable[..., Cell], shop: Shop) -> None:
    outcome = run_cell(cell_of("text-classification", "encoder", f"{strategy}+short"), shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]


def test_domain_must_be_known(plan_of: Callable[..., Any]) -> None:
    plan = plan_of("text-classification", "encoder", "hybrid-text(corpus=domain)")
    assert list(plan.unsupported.values()) == ["no unlabelled text of this task's domain is known here"]


def _text(machine: Machine, family: str, toys: ModuleType, zoo: Callable[..., Path], tokens: int = 2000) -> Text:
    model = Model("tiny", str(zoo(family, **toys.without_dropout(family))))
    source = Source(model, model.architecture(offline=True), machine.form.generates, offline=True)
    texts = [text for example in toys.examples("toy-topic", 40) for text in texts_of(example)]
    recipe = replace(default_pretraining(family, source.architecture.model_type, True), tokens=tokens, length=40)
    return reading_beside(machine.trunk, source, False, texts, recipe, "fp32")


@pytest.mark.parametrize(("kind", "family"), KINDS_AND_FAMILIES)
def test_reader_is_the_whole_model_around_the_trunk(
    kind: str, family: str, machine_of: Callable[..., Machine], toys: ModuleType, zoo: Callable[..., Path]
) -> None:
    machine = machine_of(kind, family, **toys.without_dropout(family))
    text = _text(machine, family, toys, zoo)
    model = Model("tiny", str(zoo(family, **toys.without_dropout(family))))
    whole = load_language_model(Source(model, model.architecture(offline=True), True, offline=True), False, 0)
    alone: Any = type(text.reader)(whole, text.reader.objective, "fp32")
    batch = text.rows.batch([0, 1, 2], torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(text.reader(batch), alone(batch))  # before training it is the published model, bit for bit
    own = {id(p) for p in machine.trunk.parameters()}
    assert own <= {id(p) for p in text.reader.parameters()}
    assert not own & {id(p) for p in text.rest}
    assert bool(text.rest) == (family != "decoder" and not machine.form.generates)


def test_rows_are_masked_once_and_weighed_by_their_targets(
    machine_of: Callable[..., Machine], toys: ModuleType, zoo: Callable[..., Path]
) -> None:
    machine = machine_of("text-classification", "encoder", **toys.without_dropout("encoder"))
    first, again = (_text(machine, "encoder", toys, zoo, tokens=400) for _ in range(2))
    assert len(first.rows) == 400 // 40
    assert np.array_equal(first.rows.tokens.flat, again.rows.tokens.flat)
    asked = first.rows.ragged["targets"].flat
    assert targets(first.rows, range(10)) == (asked != IGNORED).sum() > 0


def test_gradient_is_the_weighted_sum_and_everything_moves(
    machine_of: Callable[..., Machine], toys: ModuleType, zoo: Callable[..., Path], place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phase = Phase(stop=FixedSteps(), mixture=Mixture((), "sum", weight=0.3, last=0.3), recipe=Recipe(
        learning_rate=1e-3, head_learning_rate=1e-2, epochs=1e-6, min_steps=1, batch_size=8, warmup=0.0))
    machine = machine_of("text-classification", "encoder", Setup(phases=(phase,)), **toys.without_dropout("encoder"))
    text = _text(machine, "encoder", toys, zoo, tokens=320)
    train = machine.form.encode(toys.examples("toy-topic", 8))
    rows, cpu = list(range(8)), torch.device("cpu")
    expected: dict[str, torch.Tensor] = {}
    asked: list[tuple[nn.Module, Any, float, float]] = [
        (machine, train, machine.form.weight(train, rows), 0.3),
        (text.reader, text.rows, targets(text.rows, rows), 0.7),
    ]
    for module, encoded, weight, share in asked:
        machine.zero_grad()
        (module(encoded.batch(rows, cpu)) / weight * share).backward()
        for name, p in machine.trunk.named_parameters():
            if p.grad is not None:
                expected[name] = expected.get(name, torch.zeros_like(p)) + p.grad.clone()
    machine.zero_grad()
    text.reader.zero_grad()
    seen: dict[str, torch.Tensor] = {}

    def watched(parameters: Any, limit: float) -> None:
        seen.update({n: p.grad.clone() for n, p in machine.trunk.named_parameters() if p.grad is not None})

    monkeypatch.setattr("tlbench.engine.fit.nn.utils.clip_grad_norm_", watched)
    before = [p.detach().clone() for p in (*machine.trunk.parameters(), *text.rest)]
    side = Side(text.reader, text.rows, targets, rest=text.rest)
    fit(machine, Job(train, replace(train, examples=0), phase, True, SEEDS, "fp32", 8, sides=(side,)), place)
    assert set(seen) == set(expected)
    assert all(torch.allclose(seen[n], expected[n], atol=1e-6) for n in seen)
    moved = [not torch.equal(a, b) for a, b in zip(before, (*machine.trunk.parameters(), *text.rest), strict=True)]
    assert sum(moved) >= len(moved) - 2
