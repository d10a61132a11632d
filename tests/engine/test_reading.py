"""Unlabelled text before fine-tuning: what is read, what it starts from, what the record says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tlbench.canonical import canonical_json
from tlbench.cells import Shop, run_cell
from tlbench.engine import neural, reading
from tlbench.engine.families import Source
from tlbench.engine.machine import Machine
from tlbench.engine.pretraining import run as run_module
from tlbench.engine.pretraining.run import Run
from tlbench.grid import Cell
from tlbench.model import Architecture, Model
from tlbench.offers import Corpora
from tlbench.planning import Plan
from tlbench.sources import DataSource
from tlbench.task import GenerationExample, TaskRef, TextExample, TokenExample, texts_of

COMBINATIONS = [("text-classification", "encoder"), ("text-generation", "decoder")]


@pytest.fixture(autouse=True)
def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read rows that the tiny models can hold."""
    read = reading.pretrained
    monkeypatch.setattr(reading, "pretrained", lambda texts, start, recipe, desk: read(
        texts, start, replace(recipe, length=40, batch=4), desk))


@pytest.mark.parametrize(("kind", "family"), COMBINATIONS)
@pytest.mark.parametrize("strategy", ["tapt(tokens=800)", "self-pretrain(tokens=800)"])
def test_text_is_read_once_before_the_labels(
    kind: str, family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shop = replace(shop, source=replace(shop.source, cache=tmp_path))  # other tests may have read the same
    steps: list[Run] = []
    advance = Run.advance
    monkeypatch.setattr(Run, "advance", lambda run: steps.append(run) or advance(run))
    ticks = itertools.count(0.0, 0.125)
    monkeypatch.setattr(run_module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    # On this clock only reading takes time, and more than it says itself.
    monkeypatch.setattr(neural, "time", SimpleNamespace(perf_counter=lambda: 1e6 * len(steps)))
    cell = cell_of(kind, family, f"{strategy}+short")
    first = run_cell(cell, shop)
    read = len(steps)
    again = run_cell(cell, shop)
    assert first.facts["status"] in ("ok", "collapsed"), first.facts["reason"]
    (made,), (reused,) = (outcome.facts["training"]["upstream"] for outcome in (first, again))
    assert made["task"] == "the task's text"
    assert read == len(steps) > 0
    assert made["spent"] == made["seconds"] == reused["seconds"] > reused["spent"] == 0
    assert first.facts["budget"]["unlabeled"] >= 80  # the whole training side
    assert first.facts["strategy"]["external_data"] == "unlabeled"
    random = strategy.startswith("self")
    assert first.facts["model"]["init"] == ("random" if random else "pretrained")
    assert json.dumps(first.facts["training"]["curve"]) == json.dumps(again.facts["training"]["curve"])


def test_reading_moves_the_trunk_that_fine_tuning_starts_from(
    cell_of: Callable[..., Cell], shop: Shop, machine_of: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlbench.engine import trained

    started: dict[str, dict[str, torch.Tensor]] = {}
    build = trained.build
    for strategy in ("finetune", "tapt(tokens=800)", "self-pretrain(tokens=800)"):

        def watched(*given: object, name: str = strategy) -> Machine:
            machine = build(*given)  # type: ignore[arg-type]
            started[name] = {n: p.detach().clone() for n, p in machine.trunk.named_parameters()}
            return machine

        monkeypatch.setattr(trained, "build", watched)
        outcome = run_cell(cell_of("text-classification", "encoder", f"{strategy}+short"), shop)
        assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    plain, tapt, alone = started.values()
    word = "embeddings.word_embeddings.weight"
    assert set(plain) == set(tapt) == set(alone)
    assert not torch.equal(plain[word], tapt[word])
    assert not torch.equal(plain[word], alone[word])
    assert not torch.equal(tapt[word], alone[word])


def test_model_without_sentinels_cannot_read_spans(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from tlbench.engine.pretraining import training

    found = training.symbols_of
    monkeypatch.setattr(training, "symbols_of", lambda *given: replace(found(*given), sentinels=()))
    outcome = run_cell(cell_of("token-classification", "encoder-decoder", "tapt(tokens=900)+short"), shop)
    assert outcome.facts["status"] == "failed"
    assert "this model has 0 sentinels" in str(outcome.facts["reason"])


@pytest.mark.parametrize(("corpus", "random", "identity", "expected"), [
    ("task", False, "apidoc", "the task's text, read again"),
    ("task", True, "apidoc", "the task's text"),
    ("task", False, "interface", "the task's text"),
    ("task", False, "revision", "the task's text"),
    ("embedded", False, "revision", "the embedded corpora, read again"),
    ("embedded", True, "apidoc", "the embedded corpora"),
])
def test_text_that_the_model_declares_is_read_again(corpus: str, random: bool, identity: str, expected: str) -> None:
    model = Model("seen", "folder", training_sources=("apidoc-training-side",))
    source = Source(model, Architecture("encoder", "bert", {}), generates=False, offline=True)
    task = TaskRef("task", 1, "text-classification", "accuracy", 10, {identity: "hash"})
    assert reading.title_of(corpus, random, source, task) == expected


@pytest.mark.parametrize(("corpus", "random", "sources", "expected"), [
    ("task", False, ("xquad", "squad"), "the task's text, read again"),
    ("task", True, ("xquad", "squad"), "the task's text"),
    ("task", False, ("xquad",), "the task's text"),
    ("task", False, (), "the task's text"),
    ("embedded", False, ("squad",), "the embedded corpora"),
])
def test_text_of_a_source_that_the_model_declares_is_read_again(
    corpus: str, random: bool, sources: tuple[str, ...], expected: str
) -> None:
    model = Model("seen", "folder", training_sources=("reddit", "squad"))
    source = Source(model, Architecture("encoder", "bert", {}), generates=False, offline=True, task_sources=sources)
    assert reading.title_of(corpus, random, source, TaskRef("task", 1, "", "", 10, {"revision": "1"})) == expected


def test_records_say_that_a_source_of_the_task_is_read_again(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategies = {"tapt(tokens=800)": ", read again", "hybrid-text(tokens=800)": ", read again",
                  "self-pretrain(tokens=800)": ""}
    cells = {name: cell_of("text-classification", "encoder", f"{name}+short") for name in strategies}
    monkeypatch.setattr(type(shop.registry.task("toy-topic")), "sources", ("squad",))
    for strategy, cell in cells.items():
        assert cell_of("text-classification", "encoder", f"{strategy}+short").key == cell.key
        assert run_cell(cell, shop).facts["training"]["upstream"][0]["task"] == "the task's text"
    shop.registry.models["tiny-encoder"] = replace(shop.registry.models["tiny-encoder"], training_sources=("squad",))
    for strategy, ending in strategies.items():
        facts = run_cell(cells[strategy], shop).facts
        assert facts["status"] in ("ok", "collapsed"), facts["reason"]
        assert facts["training"]["upstream"][0]["task"] == "the task's text" + ending
        assert facts["contamination"]["declared"] == ("yes" if ending else "no")


def test_answers_are_not_read() -> None:
    examples = (
        TextExample("1", "a text", "label", "its pair"), TokenExample("2", ("some", "words"), ("O", "B-X")),
        GenerationExample("3", "a source", ("a target",)),
    )
    read = [text for example in examples for text in texts_of(example)]
    assert read == ["a text", "its pair", "some words", "a source"]


def test_domain_of_other_tasks_is_unknown(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("text-classification", "encoder", "dapt")
    assert list(plan.unsupported.values()) == ["no unlabelled text of this task's domain is known here"]


@pytest.mark.parametrize(("suite", "found"), [
    ("embedded", ["embedded"]), ("applications", ["embedded"]), ("public", []), ("plugin", []),
])
def test_domain_is_known_of_embedded_text_only(suite: str, found: list[str]) -> None:
    assert list(Corpora(suite, DataSource())) == found


def test_reading_is_shared_over_replicates_unless_redrawn(cell_of: Callable[..., Cell], shop: Shop) -> None:
    shared = cell_of("text-classification", "encoder", "self-pretrain(tokens=800)+short")
    redrawn = cell_of("text-classification", "encoder", "self-pretrain(tokens=800,redraw=True)+short")
    assert '"shared"' not in canonical_json(shared.condition.setup.weights)  # keys from before stay
    stages = [run_cell(replace(cell, replicate=r), shop).facts["training"]["upstream"][0]
              for cell in (shared, redrawn) for r in (0, 1)]
    assert len({one["stage"] for one in stages[:3]}) == 1  # the first redrawn one is the shared one
    assert stages[3]["stage"] != stages[0]["stage"]
    assert [one["shared"] for one in stages] == [True, True, False, False]
