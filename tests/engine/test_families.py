"""Every kind x family x strategy runs, and what is frozen stays as it was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tlbench_plugins
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine import trained
from tlbench.engine.families import Source, load_language_model, load_trunk
from tlbench.engine.machine import Machine, build
from tlbench.grid import Cell
from tlbench.kinds import kind_named
from tlbench.model import Model
from tlbench.planning import Plan
from tlbench.setups import Random

FAMILIES = ("encoder", "decoder", "encoder-decoder")
TYING = {"parameter-sharing": "parameter-sharing(distinct=1)"}
"""Strategies whose default does nothing to models of two blocks."""
STRATEGIES = [
    TYING.get(cls.name, cls.name) for cls in tlbench_plugins.tlbench_strategies()
    if cls.uses_model and cls.external_data == "none" and not cls.writes & {"learner", "teacher"}
]
"""Every built-in strategy that learns from the cell's own labels alone; `test_matrix` knows where the others run."""
NEED_AN_ENCODER = ("feature-extraction", "lp-ft")
KINDS = (
    "text-classification", "text-regression", "token-classification", "question-answering", "text-generation",
)
FROZEN = ("feature-extraction", "lora", "lora(targets=query-value)", "peft")


def is_supported(kind: str, family: str, strategy: str) -> bool:
    if family == "decoder" and strategy in ("peft(method=loha)", "peft(method=lokr)", "peft(method=oft)"):
        return False
    if kind != "text-generation":
        return True
    return family == "encoder-decoder" or (family == "decoder" and strategy not in NEED_AN_ENCODER)


COMBINATIONS = [(k, f, s) for k in KINDS for f in FAMILIES for s in STRATEGIES]
PEFT = [f"peft(method={name})" for name in ("dora", "rslora", "loha", "lokr", "oft", "vera", "ln-tuning")]


@pytest.mark.parametrize(("strategy", "name"), [
    ("lora", "params_merged"), ("peft(method=ia3)", "params_merged"),
    ("parameter-sharing(distinct=1)", "params_untied"),
])
def test_sizes_after_merging_and_without_ties_are_those_of_fine_tuning(
    strategy: str, name: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    def sizes(text: str) -> dict[str, Any]:
        facts = run_cell(cell_of("text-classification", "encoder-decoder", f"{text}+short"), shop).facts
        return dict(facts["model"])

    plain, made = sizes("finetune"), sizes(strategy)
    assert made[name] == plain["params_total"]
    assert (made["params_total"] > made[name]) == (name == "params_merged")
    assert name not in plain


@pytest.mark.parametrize(("kind", "family", "strategy"), [
    *[c for c in COMBINATIONS if is_supported(*c)],
    *[(k, f, s) for k in KINDS[:1] for f in FAMILIES for s in (*PEFT, "lora(targets=query-value)")
      if is_supported(k, f, s)],
    *[("token-classification", f, "feature-extraction(layers=2)") for f in FAMILIES],
    ("text-classification", "encoder", "feature-extraction(pooling=cls)"),
    ("text-generation", "encoder-decoder", "augment+lora"),
    ("token-classification", "encoder", "augment(methods=('mention','neighbour'))+lp-ft"),
])
def test_cell_runs_and_predicts_in_task_space(
    kind: str, family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    cell = cell_of(kind, family, f"{strategy}+short")
    outcome = run_cell(cell, shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    curve = outcome.facts["training"]["curve"]
    assert curve
    assert all(math.isfinite(point["train_loss"]) and math.isfinite(point["validation_loss"]) for point in curve)
    data = shop.data(cell.condition.task)
    assert list(outcome.predictions["example_id"]) == [example.id for example in data.test]
    values = [kind_named(kind).from_json(json.loads(text)) for text in outcome.predictions["prediction"]]
    for example, value in zip(data.test, values, strict=True):
        assert _in_task_space(kind, example, value, data.labels)
    assert 0 < outcome.facts["model"]["params_trainable"] <= outcome.facts["model"]["params_total"]


def _in_task_space(kind: str, example: Any, value: Any, labels: tuple[str, ...]) -> bool:
    if kind == "text-classification":
        return value in labels
    if kind == "text-regression":
        return math.isfinite(value)
    if kind == "token-classification":
        return len(value) == len(example.words)
    if kind == "question-answering":
        return example.context[value.start : value.start + len(value.text)] == value.text
    return isinstance(value, str)


@pytest.mark.parametrize(("kind", "family", "strategy"), [c for c in COMBINATIONS if not is_supported(*c)])
def test_unsupported_combination_has_a_reason(
    kind: str, family: str, strategy: str, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(kind, family, f"{strategy}+short")
    assert [cell.key for cell in plan.cells] == list(plan.unsupported)
    assert all("generat" in reason for reason in plan.unsupported.values())


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Machine, dict[str, torch.Tensor]]]:
    """Return the machines that cells build, each with a copy of its weights before training."""
    made: list[tuple[Machine, dict[str, torch.Tensor]]] = []

    def watched(*given: Any) -> Machine:
        machine = build(*given)
        made.append((machine, {name: p.detach().clone() for name, p in machine.named_parameters()}))
        return machine

    monkeypatch.setattr(trained, "build", watched)
    return made


@pytest.mark.parametrize(("kind", "family", "strategy"), [
    (k, f, s) for k in ("token-classification", "text-generation") for f in FAMILIES for s in FROZEN
    if is_supported(k, f, s)
])
def test_frozen_weights_stay_bit_identical(
    kind: str, family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop,
    machines: list[tuple[Machine, dict[str, torch.Tensor]]],
) -> None:
    assert run_cell(cell_of(kind, family, f"{strategy}+short"), shop).facts["status"] in ("ok", "collapsed")
    machine, before = machines[0]
    moved = {name for name, p in machine.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in machine.named_parameters() if p.requires_grad}
    assert not machine.training
    trunk = {name for name in moved if name.startswith("trunk.")}
    if strategy.startswith(("lora", "peft")):
        assert trunk
        assert trunk == {f"trunk.{name}" for name in machine.adapters}
        assert not strategy.startswith("lora") or all(".lora_" in name for name in trunk)
    elif kind == "text-generation":
        assert trunk
        assert all(name.startswith("trunk.decoder.") for name in trunk)
    else:
        assert not trunk
    assert ("head.weight" in moved) == (kind != "text-generation")


def test_frozen_trunk_runs_without_dropout(cell_of: Callable[..., Cell], machine_of: Callable[..., Machine]) -> None:
    setup = cell_of("text-classification", "encoder", "feature-extraction").condition.setup
    machine = machine_of("text-classification", "encoder", setup).train()
    assert machine.training
    assert not any(module.training for module in machine.trunk.modules())
    setup = cell_of("text-generation", "encoder-decoder", "feature-extraction").condition.setup
    machine = machine_of("text-generation", "encoder-decoder", setup).train()
    assert not any(module.training for module in machine.trunk.encoder.modules())
    assert machine.trunk.decoder.training


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy", ["finetune", "lora", "scratch"])
def test_weights_are_float32_whatever_the_checkpoint(
    family: str, strategy: str, cell_of: Callable[..., Cell], machine_of: Callable[..., Machine]
) -> None:
    cell = cell_of("text-classification", family, strategy, dtype=torch.bfloat16)
    machine = machine_of("text-classification", family, cell.condition.setup, dtype=torch.bfloat16)
    assert {p.dtype for p in machine.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_follow_their_seed_and_leave_the_global_stream_alone(
    family: str, machine_of: Callable[..., Machine]
) -> None:
    form_source = _source(machine_of, family)
    state = torch.get_rng_state()
    first, again, other = (load_trunk(form_source, Random(), seed) for seed in (7, 7, 8))
    assert torch.equal(state, torch.get_rng_state())
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_output_layer_that_a_checkpoint_lacks_does_not_depend_on_earlier_cells(zoo: Callable[..., Path]) -> None:
    model = Model("tiny", str(zoo("encoder")))  # an encoder without the layer that it was pre-trained with
    source = Source(model, model.architecture(offline=True), False, offline=True)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(load_language_model(source, random=False, seed=0))
    assert all(torch.equal(a, b) for a, b in zip(*(whole.parameters() for whole in made), strict=True))


def _source(machine_of: Callable[..., Machine], family: str) -> Source:
    folder = machine_of("text-classification", family).trunk.config._name_or_path
    model = Model("tiny", folder)
    return Source(model, model.architecture(offline=True), False, offline=True)
