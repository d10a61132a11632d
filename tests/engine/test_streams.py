"""Several tasks on one trunk: whose turn it is, what each head learns, what the target's selection sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine import fit as loop
from tlbench.engine.families import Source
from tlbench.engine.fit import Job, Side, fit
from tlbench.engine.machine import Machine, beside
from tlbench.engine.mixing import Mixer
from tlbench.engine.place import Place
from tlbench.grid import Cell
from tlbench.model import Model
from tlbench.setups import FixedSteps, Mixture, Phase, Recipe, Setup

SEEDS = {"init": 1, "head": 2, "adapters": 3, "order": 4, "dropout": 5}
COMBINATIONS = [
    ("text-classification", "encoder", "toy-names"),
    ("question-answering", "encoder", "toy-score|toy-topic|toy-score"),
    ("token-classification", "decoder", "toy-where"),
    ("text-generation", "decoder", "toy-topic"),
    ("text-generation", "encoder-decoder", "toy-names"),
    ("text-regression", "encoder-decoder", "toy-where"),
]


@pytest.mark.parametrize(("kind", "family", "origin"), COMBINATIONS)
@pytest.mark.parametrize("strategy", ["multitask(source={},then_finetune=True)", "hybrid(source={})"])
def test_tasks_are_learned_side_by_side(
    kind: str, family: str, origin: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    outcome = run_cell(cell_of(kind, family, f"{strategy.format(origin)}+short"), shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    used = {one["task"]: one["labels"] for one in outcome.facts["training"]["upstream"]}
    assert used == dict.fromkeys(origin.split("|"), 32)  # the training part of 40 labels
    assert all(not one["stage"] for one in outcome.facts["training"]["upstream"])
    assert outcome.facts["training"].get("phases", 1) == (2 if "multitask" in strategy else 1)


def test_text_generation_cannot_be_learned_beside_a_part_of_the_model(
    plan_of: Callable[..., Any]
) -> None:
    plan = plan_of("text-classification", "encoder-decoder", "multitask(source=toy-copy)")
    assert list(plan.unsupported.values()) == [
        "'toy-copy' names a task that this model cannot learn beside the target"
    ]


def test_drawing_follows_sizes_and_temperature() -> None:
    even = Mixer(Mixture((), "draw", temperature=1e9), [100, 900], seed=1)
    sized = Mixer(Mixture((), "draw", temperature=1.0), [100, 900], seed=1)
    assert even.longer == pytest.approx(2.0)
    assert sized.longer == pytest.approx(10.0)
    counts = Counter(sized.turns(step, 5000)[0][0] for step in range(1, 5001))
    assert counts[0] / 5000 == pytest.approx(0.1, abs=0.015)
    assert Mixer(Mixture((), "draw", temperature=2.0), [100, 900], 1).shares == pytest.approx([0.25, 0.75])
    assert Mixer(None, [100], 1).turns(1, 10) == [(0, 1.0)]


def test_weights_of_a_sum_move_linearly_and_add_up_to_one() -> None:
    mixer = Mixer(Mixture((), "sum", weight=0.5, last=1.0), [10, 10, 10], seed=1)
    first, middle, last = (mixer.turns(step, 11) for step in (1, 6, 11))
    assert mixer.turns(25, 11) == (last if last[0][1] < 1 else [(0, 1.0)])  # a longer training keeps the last share
    assert first == [(0, 0.5), (1, 0.25), (2, 0.25)]
    assert [share for _, share in middle] == pytest.approx([0.75, 0.125, 0.125])
    assert last == [(0, 1.0), (1, 0.0), (2, 0.0)]
    assert mixer.longer == 1.0


@pytest.fixture
def pair(machine_of: Callable[..., Machine], toys: ModuleType, zoo: Callable[..., Path]) -> tuple[Machine, Job]:
    """Return a machine of classes with a stream of tags beside it, without dropout."""
    phase = Phase(stop=FixedSteps(), recipe=Recipe(
        learning_rate=1e-3, head_learning_rate=1e-2, epochs=1e-6, min_steps=1, batch_size=8, warmup=0.0))
    machine = machine_of("text-classification", "encoder", Setup(phases=(phase,)), **toys.without_dropout("encoder"))
    model = Model("tiny", str(zoo("encoder", **toys.without_dropout("encoder"))))
    source = Source(model, model.architecture(offline=True), False, offline=True)
    other = beside(machine, source, "token-classification", ("B-LOC", "B-PER", "I-LOC", "O"), phase.recipe, 7)
    train = machine.form.encode(toys.examples("toy-topic", 8))
    side = Side.of(other, other.form.encode(toys.examples("toy-names", 8)))
    job = Job(train, replace(train, examples=0), phase, True, SEEDS, "fp32", 8, sides=(side,))
    return machine, job


def test_gradient_of_a_sum_is_the_weighted_sum_of_gradients(
    pair: tuple[Machine, Job], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, job = pair
    side = job.sides[0]
    rows = list(range(8))
    cpu = torch.device("cpu")
    expected: dict[str, torch.Tensor] = {}
    for one, encoded, share in ((machine, job.train, 0.3), (side.module, side.train, 0.7)):
        machine.zero_grad()
        side.module.zero_grad()
        one.train()
        (one(encoded.batch(rows, cpu)) / one.form.weight(encoded, rows) * share).backward()
        for name, p in machine.trunk.named_parameters():
            if p.grad is not None:
                expected[name] = expected.get(name, torch.zeros_like(p)) + p.grad.clone()
    machine.zero_grad()
    side.module.zero_grad()
    seen: dict[str, torch.Tensor] = {}

    def watched(parameters: Any, limit: float) -> None:
        seen.update({n: p.grad.clone() for n, p in machine.trunk.named_parameters() if p.grad is not None})

    monkeypatch.setattr(loop.nn.utils, "clip_grad_norm_", watched)
    fit(machine, replace(job, phase=replace(job.phase, mixture=Mixture((), "sum", weight=0.3, last=0.3))), place)
    assert set(seen) == set(expected)
    assert all(torch.allclose(seen[n], expected[n], atol=1e-6) for n in seen)


def test_each_draw_trains_one_head_and_the_trunk(
    pair: tuple[Machine, Job], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, job = pair
    side: Any = job.sides[0].module
    assert side.trunk is machine.trunk
    assert machine.head is not None
    assert side.head is not None
    monkeypatch.setattr(Mixer, "turns", lambda self, step, total: [(1, 1.0)])
    heads = [machine.head.weight.detach().clone(), side.head.weight.detach().clone()]
    trunk = [p.detach().clone() for p in machine.trunk.parameters()]
    fitted = fit(machine, replace(job, phase=replace(job.phase, mixture=Mixture((), "draw"))), place)
    assert torch.equal(heads[0], machine.head.weight)
    assert not torch.equal(heads[1], side.head.weight)
    assert any(not torch.equal(a, b) for a, b in zip(trunk, machine.trunk.parameters(), strict=True))
    assert fitted.steps == 2
    assert np.isfinite(fitted.seconds)
