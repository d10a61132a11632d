"""Layers from bottom to top: grouped, tied, shortened, thawed, each at its own rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine import fit as loop
from tlbench.engine import optimizer
from tlbench.engine.fit import Job, fit
from tlbench.engine.layers import layer_groups, stacks, tie
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.errors import UnsupportedError
from tlbench.grid import Cell
from tlbench.setups import FixedSteps, Phase, Random, Readout, Recipe, Setup, Ties

FAMILIES = ("encoder", "decoder", "encoder-decoder")
SEEDS = {"init": 1, "head": 2, "adapters": 3, "order": 4, "dropout": 5}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["text-classification", "text-generation"])
def test_groups_hold_every_weight_once_from_the_bottom_up(
    family: str, kind: str, machine_of: Callable[..., Machine]
) -> None:
    if (family, kind) == ("encoder", "text-generation"):
        pytest.skip("an encoder alone cannot generate")
    trunk = machine_of(kind, family).trunk
    groups = layer_groups(trunk)
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in trunk.named_parameters())
    both = (family, kind) == ("encoder-decoder", "text-generation")
    assert len(stacks(trunk)) == (2 if both else 1)
    blocks = 4 if both else 2
    assert len(groups) in (blocks + 1, blocks + 2)  # BERT has nothing behind its last block
    assert all("embed" in name.lower() or name.split(".")[-2] in ("shared", "wte", "wpe") for name in groups[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_blocks_share_weights_and_stay_tied_after_a_step(
    family: str, machine_of: Callable[..., Machine], toys: ModuleType, place: Place
) -> None:
    plain = machine_of("text-classification", family)
    tied = machine_of("text-classification", family, Setup(ties=Ties(1), phases=(_phase(4),)))
    assert sum(p.numel() for p in tied.parameters()) < sum(p.numel() for p in plain.parameters())
    blocks: Any = tied.trunk.get_submodule(stacks(tied.trunk)[0])
    originals: Any = plain.trunk.get_submodule(stacks(plain.trunk)[0])
    assert torch.equal(_first(blocks[1]), _first(originals[0]))
    before = _first(blocks[0]).clone()
    fit(tied, _job(tied, toys, _phase(4)), place)
    shared = dict(blocks[1].named_parameters())
    assert shared
    for name, parameter in blocks[0].named_parameters():
        assert shared.get(name, parameter) is parameter
    assert not torch.equal(before, _first(blocks[0]))


def test_runs_start_from_their_lowest_block() -> None:
    class Trunk(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = type("C", (), {"num_hidden_layers": 6, "model_type": "toy"})()
            self.layer = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(6))

    trunk = Trunk()
    weights = [block.weight for block in trunk.layer]
    tie(trunk, 2)
    assert [next(i for i, w in enumerate(weights) if w is block.weight) for block in trunk.layer] == [0, 0, 0, 3, 3, 3]
    trunk = Trunk()
    weights = [block.weight for block in trunk.layer]
    tie(trunk, 4)
    assert [next(i for i, w in enumerate(weights) if w is block.weight) for block in trunk.layer] == [0, 0, 2, 3, 3, 5]


@pytest.mark.parametrize("family", FAMILIES)
def test_small_twin_has_fewer_layers_of_the_same_width(family: str, machine_of: Callable[..., Machine]) -> None:
    whole = machine_of("text-classification", family, Setup(weights=Random()))
    small = machine_of("text-classification", family, Setup(weights=Random(layers=1)))
    assert len(small.trunk.get_submodule(stacks(small.trunk)[0])) == 1  # type: ignore[arg-type]
    assert small.head is not None
    assert whole.head is not None
    assert small.head.weight.shape == whole.head.weight.shape


@pytest.mark.parametrize(("family", "kind"), [
    ("encoder", "text-classification"), ("decoder", "text-classification"), ("decoder", "text-generation"),
    ("encoder-decoder", "text-generation"),
])
def test_layers_begin_to_move_one_by_one_from_the_top(
    family: str, kind: str, machine_of: Callable[..., Machine], toys: ModuleType, place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phase = replace(_phase(12, family), unfreeze=0.75)
    machine = machine_of(kind, family, Setup(phases=(phase,)), **toys.without_dropout(family))
    groups = layer_groups(machine.trunk)
    named = dict(machine.trunk.named_parameters())
    before = {name: p.detach().clone() for name, p in named.items()}
    moved: list[int] = []
    step = loop._Training._step

    def watched(self: Any, number: int, turns: Any) -> Any:
        out = step(self, number, turns)
        moved.append(sum(any(not torch.equal(named[n], before[n]) for n in group) for group in groups))
        still = [i for i, group in enumerate(groups) if all(torch.equal(named[n], before[n]) for n in group)]
        assert still == list(range(len(still)))  # what has not moved lies at the bottom
        states = sum(bool(self.optimizer.state.get(p)) for p in named.values())
        assert states <= sum(len(group) for group in groups[len(still) :])
        return out

    monkeypatch.setattr(loop._Training, "_step", watched)
    fit(machine, _job(machine, toys, phase, kind), place)
    assert moved == sorted(moved)
    assert moved[0] <= 2
    assert moved[-1] == len(groups)
    assert all(p.requires_grad for p in named.values())


def test_layer_decay_gives_each_group_its_rate(machine_of: Callable[..., Machine]) -> None:
    machine = machine_of("text-classification", "encoder")
    recipe = Recipe(learning_rate=1.0, head_learning_rate=7.0, layer_decay=0.5)
    made = optimizer.build(machine.trunk, machine.head, recipe)
    rate = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    assert len(rate) == len(list(machine.parameters()))
    groups = layer_groups(machine.trunk)
    named = dict(machine.trunk.named_parameters())
    for place_, group in enumerate(groups):
        assert {rate[id(named[name])] for name in group} == {0.5 ** (len(groups) - 1 - place_)}
    assert machine.head is not None
    assert rate[id(machine.head.weight)] == 7.0


@pytest.mark.parametrize("kind", ["text-classification", "text-generation"])
def test_probe_leaves_the_trunk_and_fine_tuning_moves_it(
    kind: str, cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def watched(machine: Machine, job: Job, place: Place) -> Any:
        frozen = {n: p.detach().clone() for n, p in machine.trunk.named_parameters() if not p.requires_grad}
        fitted = fit(machine, job, place)
        now = dict(machine.trunk.named_parameters())
        seen.append({
            "frozen": len(frozen), "features": job.train.hidden is not None, "trunk": len(now),
            "still": all(torch.equal(now[n], p) for n, p in frozen.items()),
        })
        return fitted

    monkeypatch.setattr("tlbench.engine.trained.fit", watched)
    outcome = run_cell(cell_of(kind, "encoder-decoder", "lp-ft+short"), shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    assert [one["features"] for one in seen] == [True, False]
    assert [one["still"] for one in seen] == [True, True]
    assert seen[0]["frozen"] > 0
    assert seen[1]["frozen"] == 0
    steps = [point["step"] for point in outcome.facts["training"]["curve"]]
    assert steps == sorted(steps)
    assert outcome.facts["training"]["phases"] == 2


def _first(module: torch.nn.Module) -> torch.Tensor:
    return next(p for p in module.parameters() if p.ndim == 2).detach()


def _phase(steps: int, family: str = "encoder") -> Phase:
    return Phase(stop=FixedSteps(), recipe=Recipe(
        optimizer="rms-adamw" if family == "encoder-decoder" else "adamw", learning_rate=0.01, warmup=0.0,
        epochs=1e-6, min_steps=steps, batch_size=8, max_length=32, max_target_length=8))


def _job(machine: Machine, toys: ModuleType, phase: Phase, kind: str = "text-classification") -> Job:
    train = machine.form.encode(toys.examples(toys.KINDS[kind], 24))
    return Job(train, replace(train, examples=0), phase, True, SEEDS, "fp32", phase.recipe.batch_size)


def test_layers_read_count_alike_whatever_their_scale(machine_of: Callable[..., Machine], toys: ModuleType) -> None:
    """Of T5-like models only the last hidden state is normalised: the one below is many times as large."""
    machine = machine_of("text-classification", "encoder-decoder", Setup(readout=Readout(layers=2)))
    batch = machine.form.encode(toys.examples("toy-topic", 4)).batch([0, 1, 2, 3], torch.device("cpu"))
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    machine.eval()
    below, last = machine.trunk(**given, output_hidden_states=True).hidden_states[-2:]
    unit = [state / state.square().mean(-1, keepdim=True).sqrt() for state in (below, last)]
    assert torch.allclose(machine.hidden(batch), (unit[0] + unit[1]) / 2, atol=1e-4)


def test_ties_that_would_tie_nothing_are_refused(machine_of: Callable[..., Machine]) -> None:
    with pytest.raises(UnsupportedError, match="at most 2 blocks, so 2 distinct ones tie none"):
        machine_of("text-classification", "encoder", Setup(ties=Ties(2)))
