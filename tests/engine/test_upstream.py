"""Source tasks first: what moves over, what it costs, what it may not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tlbench.api import Options, execute
from tlbench.boards import build, transfer
from tlbench.cells import Shop, run_cell
from tlbench.data import CellData, TaskData
from tlbench.engine import neural
from tlbench.engine.machine import Machine
from tlbench.engine.upstream import source_data, transplant
from tlbench.errors import UserError
from tlbench.grid import Cell
from tlbench.planning import Request, make_plan
from tlbench.records import Store
from tlbench.setups import Checkpoint, Setup
from tlbench.strategy import Offer, SourceOffer
from tlbench.task import TaskRef, TextExample
from tlbench.workshop import PluginSpec

SOURCE = "intermediate(source=toy-names,budget=20)+short"


def without_times(outcome: Any) -> str:
    facts = {name: outcome.facts["training"][name] for name in ("curve", "steps", "best_step")}
    return json.dumps([facts, outcome.facts["evaluation"].model_dump()], sort_keys=True)


@pytest.fixture
def short_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train source models for a few steps too."""
    above = neural.source_cell

    def short(cell: Cell, start: Checkpoint) -> Cell:
        made = above(cell, start)
        phases = tuple(
            replace(phase, recipe=replace(phase.recipe, epochs=1e-6, min_steps=4, batch_size=8))
            for phase in made.condition.setup.phases
        )
        setup = replace(made.condition.setup, phases=phases)
        return replace(made, condition=replace(made.condition, setup=setup))

    monkeypatch.setattr(neural, "source_cell", short)


PREDICTORS: dict[str, set[str]] = {
    "text-classification": {"logme", "h_score", "knn"},
    "token-classification": {"logme", "h_score", "knn"},
    "text-regression": {"logme", "knn"},
    "question-answering": set(),
    "text-generation": set(),
}


@pytest.mark.usefixtures("short_sources")
@pytest.mark.parametrize(("kind", "family", "origin"), [
    ("text-classification", "encoder", "toy-names"),
    ("text-classification", "decoder", "toy-copy"),
    ("text-generation", "decoder", "toy-topic"),
    ("text-generation", "encoder-decoder", "toy-topic"),
    ("token-classification", "encoder-decoder", "toy-copy"),
    ("question-answering", "encoder", "toy-score"),
    ("text-regression", "encoder-decoder", "toy-where"),
])
def test_trunk_moves_over_between_kinds(
    kind: str, family: str, origin: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    outcome = run_cell(cell_of(kind, family, f"intermediate(source={origin},budget=20)+short"), shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    (used,) = outcome.facts["training"]["upstream"]
    assert (used["task"], used["labels"], used["shared"], used["left_out"]) == (origin, 20, True, 0)
    assert outcome.facts["strategy"]["external_data"] == "labeled"
    assert outcome.facts["model"]["init"] == "pretrained"
    assert used["predictors"].keys() == PREDICTORS[kind] | {"overlap"}
    assert all(np.isfinite(value) for value in used["predictors"].values())


@pytest.mark.usefixtures("short_sources")
def test_cached_source_model_gives_the_same_bits_and_costs_nothing(cell_of: Callable[..., Cell], shop: Shop) -> None:
    cell = cell_of("text-classification", "encoder", SOURCE.replace("20", "22"))  # a stage of this test alone
    first, again = run_cell(cell, shop), run_cell(cell, shop)
    assert without_times(first) == without_times(again)
    assert first.predictions.equals(again.predictions)
    (made,), (reused,) = (outcome.facts["training"]["upstream"] for outcome in (first, again))
    assert made["spent"] == made["seconds"] == reused["seconds"] > 0
    assert reused["spent"] == 0
    assert made["stage"] == reused["stage"]
    assert "upstream" in first.facts["cost"]["seconds"]


@pytest.mark.usefixtures("short_sources")
def test_source_model_is_shared_over_replicates_unless_redrawn(cell_of: Callable[..., Cell], shop: Shop) -> None:
    shared = cell_of("text-classification", "encoder", SOURCE)
    redrawn = cell_of("text-classification", "encoder", SOURCE.replace(")", ",redraw=True)"))
    stages = [
        run_cell(replace(cell, replicate=r), shop).facts["training"]["upstream"][0]["stage"]
        for cell in (shared, redrawn) for r in (0, 1)
    ]
    assert stages[0] == stages[1] == stages[2]  # the first redrawn one is the shared one: replicate 0 of the source
    assert stages[3] != stages[0]


@pytest.mark.usefixtures("short_sources")
def test_target_starts_from_the_source_models_trunk_and_a_fresh_head(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Machine, dict[str, torch.Tensor], torch.Tensor]] = []
    original = neural.train

    def watched(cell: Cell, data: CellData, source: Any, bench: Any, micro: int, before: Any) -> Any:
        done = original(cell, data, source, bench, micro, before)
        seen.append((done.machine, dict(done.machine.trunk.state_dict()), before.state))
        return done

    monkeypatch.setattr(neural, "train", watched)
    run_cell(cell_of("text-classification", "encoder", SOURCE.replace("20", "23")), shop)
    (source, after, nothing), (target, _, state) = seen
    assert nothing is None
    assert set(state) == set(after)
    assert all(torch.equal(state[name], after[name]) for name in after)
    assert source.head is not None
    assert target.head is not None
    assert source.head.out_features != target.head.out_features


def test_target_texts_are_left_out_of_the_source(cell_of: Callable[..., Cell], shop: Shop) -> None:
    cell = cell_of("text-classification", "encoder", "finetune")
    rows = tuple(TextExample(f"s{i}", f"text number {i}", "ab"[i % 2]) for i in range(38))
    long = "one may not learn from a source what a test of the target asks, nor from a copy with a word changed"
    rows += (TextExample("near", long.replace("word", "letter"), "a"), TextExample("far", long[:40], "a"))
    held = tuple(TextExample(f"t{i}", text, "a") for i, text in enumerate([" Text  NUMBER 3", "text number 7!", long]))
    source = TaskData(rows, (), (), ("a", "b"), ("a", "b"), {}, {})
    target = CellData((), (), held, TaskData((), (), held, ("a",), ("a",), {}, {}))
    drawn, left_out = source_data(cell, source, target)
    assert left_out == 3
    assert {row.id for row in rows} - {e.id for e in (*drawn.train, *drawn.validation)} == {"s3", "s7", "near"}
    with pytest.raises(UserError, match="target itself"):
        source_data(cell, source, CellData((), (), (), source))
    with pytest.raises(UserError, match="no training label left: the texts of all 40 nearly repeat test texts"):
        source_data(cell, source, CellData((), (), rows, TaskData((), (), rows, ("a",), ("a",), {}, {})))


def test_texts_without_spaces_are_compared_by_their_characters(cell_of: Callable[..., Cell]) -> None:
    cell = cell_of("text-classification", "encoder", "finetune")
    text = "".join(chr(0x4E00 + 7 * i) for i in range(49))
    near, far = text[:24] + "\u9fa5" + text[25:], text[::-1]
    rows = (TextExample("near", near, "a"), TextExample("far", far, "b"))
    rows += tuple(TextExample(f"s{i}", f"text number {i}", "ab"[i % 2]) for i in range(38))
    held = (TextExample("test", text, "a"),)
    drawn, left_out = source_data(cell, TaskData(rows, (), (), ("a", "b"), ("a", "b"), {}, {}),
                                  CellData((), (), held, TaskData((), (), held, ("a",), ("a",), {}, {})))
    assert left_out == 1
    assert {row.id for row in rows} - {e.id for e in (*drawn.train, *drawn.validation)} == {"near"}


@pytest.mark.parametrize(("family", "inner", "whole"), [
    ("encoder-decoder", "text-classification", "text-generation"),
    ("decoder", "text-classification", "text-generation"),
])
def test_part_and_whole_exchange_weights(
    family: str, inner: str, whole: str, machine_of: Callable[..., Machine]
) -> None:
    part, model = machine_of(inner, family).trunk, machine_of(whole, family).trunk
    with torch.no_grad():
        for p in part.parameters():
            p.add_(1.0)
    state = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    transplant(model, state)
    fresh = machine_of(inner, family).trunk
    transplant(fresh, {name: tensor.clone() for name, tensor in model.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(part.parameters(), fresh.parameters(), strict=True))
    with pytest.raises(UserError, match="do not fit"):
        transplant(fresh, {"other.weight": torch.zeros(1)})


def test_encoder_is_not_taken_for_a_decoder_of_the_same_names() -> None:
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16)
    source, target, other = (BartForConditionalGeneration(config) for _ in range(3))
    query = "layers.0.self_attn.q_proj.weight"
    before = target.model.decoder.state_dict()[query].clone()
    learned = source.model.encoder.state_dict()
    transplant(target, learned)
    assert torch.equal(target.model.encoder.state_dict()[query], learned[query])
    assert torch.equal(target.model.decoder.state_dict()[query], before)
    transplant(other.model.encoder, source.state_dict())
    assert torch.equal(other.model.encoder.state_dict()[query], learned[query])


def test_sources_expand_to_one_row_each_and_a_task_is_no_source_of_itself(
    shop: Shop, toys: ModuleType, zoo: Callable[..., Any]
) -> None:
    request = Request(("toy-topic", "toy-names"), ("finetune", "intermediate"), (str(zoo("encoder")),), replicates=1,
                      sources=("toy-topic", "toy-names", "toy-copy"))
    plan = make_plan(request, shop.registry, shop.source)
    names = [(cell.condition.task.name, cell.condition.strategy.name) for cell in plan.cells]
    assert names.count(("toy-topic", "finetune")) == 1
    reasons = {(c.condition.task.name, c.condition.strategy.name): plan.unsupported.get(c.key) for c in plan.cells}
    assert reasons["toy-topic", "intermediate(source=toy-topic)"] == "the source is the target itself"
    assert reasons["toy-topic", "intermediate(source=toy-names)"] is None
    refused = str(reasons["toy-topic", "intermediate(source=toy-copy)"])
    assert "'toy-copy' names a task that this model cannot learn" in refused


@pytest.mark.usefixtures("short_sources")
def test_run_over_sources_ends_with_a_matrix_though_no_other_row_was_asked_for(
    shop: Shop, toys: ModuleType, zoo: Callable[..., Any], tmp_path: Path
) -> None:
    request = Request(("toy-topic",), ("intermediate(budget=20)+short",), (str(zoo("encoder")),), replicates=1,
                      precision="fp32", sources=("toy-names", "toy-score"))
    execute(request, Options(tmp_path / "out"), shop.source, PluginSpec((Path(str(toys.__file__)),)))
    (matrix,) = transfer.matrices(build(Store(tmp_path / "out")))
    assert (matrix.sources, matrix.targets) == (("toy-names", "toy-score"), ("toy-topic@40",))
    for entry in matrix.entries.values():
        assert entry.delta.baseline == "short (tiny-encoder)"
        assert entry.predictors.keys() == PREDICTORS["text-classification"] | {"overlap", "labels"}


def test_key_covers_the_source(cell_of: Callable[..., Cell]) -> None:
    keys = {
        cell_of("text-classification", "encoder", text).key
        for text in ("intermediate", SOURCE, SOURCE.replace("20", "21"), "intermediate(source=toy-score)", "finetune")
    }
    assert len(keys) == 5


def test_automatic_source_among_equals_is_of_the_targets_kind_and_then_the_first_by_name() -> None:
    def source(name: str, kind: str, budget: int) -> SourceOffer:
        return SourceOffer(TaskRef(name, 1, kind, "accuracy", 10), budget, Setup())

    tag, topic, text = "token-classification", "text-classification", "text-generation"
    found = [source("a", tag, 9), source("b", text, 20), source("c", topic, 20), source("d", topic, 20)]
    for kind, beside, name in ((topic, False, "c"), (text, False, "b"), (tag, False, "b"), (tag, True, "c")):
        offer = Offer(kind, "target", "encoder", 10, sources={each.task.name: each for each in found})
        assert [each.task.name for each in offer.chosen("auto", beside)] == [name]


def test_automatic_source_is_another_task_of_the_suite(cell_of: Callable[..., Cell]) -> None:
    start = cell_of("text-classification", "encoder", "intermediate").condition.setup.weights
    assert isinstance(start, Checkpoint)
    assert start.task.name != "toy-topic"
    assert start.task.kind != "text-generation"
    assert isinstance(np.array(start.budget).item(), int)
