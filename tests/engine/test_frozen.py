"""Frozen features as a stage: what they are, and who shares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tlbench.cells import Shop, bench_for, run_cell
from tlbench.engine import trained
from tlbench.engine.encoding import Ragged
from tlbench.engine.fit import Job
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
    made, _ = on_features(machine, dict(parts), True, cell, bench)
    for name, part in parts.items():
        hidden = made[name].hidden
        assert hidden is not None
        expected = features(machine, part, "fp32", cold.place)
        assert np.array_equal(hidden.starts, expected.starts)
        assert np.allclose(hidden.flat, expected.flat, atol=1e-6)
    swapped = {**parts, "train": parts["validation"], "validation": parts["train"]}
    again, _ = on_features(machine, swapped, True, cell, bench)
    hidden, before = again["train"].hidden, made["validation"].hidden
    assert hidden is not None
    assert before is not None
    assert np.array_equal(hidden.flat, before.flat)
    partly, used = on_features(machine, dict(parts), False, cell, bench)
    assert partly["test"].hidden is None
    assert len(used) == 1


@pytest.mark.parametrize(("kind", "family"), [
    ("text-classification", "encoder"), ("text-regression", "encoder-decoder"), ("token-classification", "decoder"),
    ("question-answering", "encoder"), ("text-generation", "encoder-decoder"),
])
def test_heads_learn_from_kept_features_what_they_learn_from_the_frozen_trunk(
    kind: str, family: str, cell_of: Callable[..., Cell], cold: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of(kind, family, "feature-extraction+short")
    kept = run_cell(cell, cold)
    monkeypatch.setattr(trained, "frozen_phases", lambda setup: 0)
    online = run_cell(cell, cold)
    assert "upstream" in kept.facts["training"]
    assert "upstream" not in online.facts["training"]
    curves = [[point["train_loss"] for point in outcome.facts["training"]["curve"]] for outcome in (kept, online)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    same = kept.predictions["prediction"] == online.predictions["prediction"]
    assert kind == "text-regression" or same.all()


def test_features_are_charged_to_who_makes_them_and_told_to_who_finds_them(
    cell_of: Callable[..., Cell], cold: Shop
) -> None:
    extraction = cell_of("text-classification", "encoder", "feature-extraction+short")
    probe = cell_of("text-classification", "encoder", "lp-ft+short")
    first, again, other = (run_cell(cell, cold).facts for cell in (extraction, extraction, probe))
    made, found, shared = (facts["training"]["upstream"] for facts in (first, again, other))
    assert [stage["task"] for stage in made] == ["frozen features"] * 3
    assert len({stage["stage"] for stage in made}) == 3
    assert all(stage["spent"] == stage["seconds"] > 0 for stage in made)
    assert [{**stage, "spent": stage["seconds"]} for stage in found] == made
    assert all(stage["spent"] == 0 for stage in found)
    assert [stage["stage"] for stage in shared] == [stage["stage"] for stage in made[:2]]  # the test part is tuned on
    assert sum(stage["spent"] for stage in made) <= first["cost"]["seconds"]["upstream"] + 0.01


def test_encoder_says_the_same_before_and_after_generation_on_its_features(
    cell_of: Callable[..., Cell], cold: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of("text-generation", "encoder-decoder", "feature-extraction+short(steps=6,rate=10.0)")
    states: list[torch.Tensor] = []
    others: list[torch.Tensor] = []

    def look(machine: Machine, job: Job) -> None:
        trunk: Any = machine.trunk
        machine.eval()
        batch = replace(job.train, hidden=None).batch([0, 1, 2, 3], torch.device("cpu"))
        with torch.no_grad():
            encoder = trunk.get_encoder()
            states.append(encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0].clone())
            others.append(torch.cat([p.flatten().clone() for p in trunk.get_decoder().block.parameters()]))

    def watched(machine: Machine, job: Job, place: Place) -> Any:
        look(machine, job)
        fitted = fit(machine, job, place)
        look(machine, job)
        return fitted

    fit = trained.fit
    monkeypatch.setattr(trained, "fit", watched)
    assert run_cell(cell, cold).facts["status"] in ("ok", "collapsed")
    before, after = states
    assert torch.equal(before, after)
    assert not torch.equal(*others)  # the decoder did learn
