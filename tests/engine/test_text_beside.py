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
from tlbench.engine import reading, streams
from tlbench.engine.families import Source, load_language_model
from tlbench.engine.fit import Job, Side, fit
from tlbench.engine.forms import IGNORED
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.engine.pretraining import stage
from tlbench.engine.pretraining.beside import Text, reading_beside, targets
from tlbench.grid import Cell
from tlbench.model import Model
from tlbench.recipes import default_pretraining
from tlbench.setups import FixedSteps, Mixture, Phase, Recipe, Setup, TextStream
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


@pytest.mark.parametrize(("strategy", "kind", "family", "reason"), [
    ("hybrid-text+feature-extraction", "text-classification", "encoder", "learned beside the target"),
    ("feature-extraction+hybrid-text", "text-classification", "encoder", "learned beside the target"),
    ("feature-extraction+hybrid(source=toy-topic)", "text-generation", "encoder-decoder", "learned beside the target"),
    ("feature-extraction+hybrid-text", "text-generation", "encoder-decoder", None),  # the decoder learns
    ("finetune(layer_decay=0.5)+feature-extraction", "text-classification", "encoder", "whose rates could differ"),
    ("finetune(layer_decay=0.5)+lp-ft", "text-classification", "encoder", None),
    ("feature-extraction(pooling=mean)", "token-classification", "encoder", "nothing is pooled"),
    ("feature-extraction(pooling=mean)", "text-classification", "encoder", None),
    ("feature-extraction(epochs=2.0)", "text-generation", "encoder-decoder", "leave out epochs and rate"),
    ("feature-extraction(rate=2.0)", "text-generation", "encoder-decoder", "leave out epochs and rate"),
    ("feature-extraction(epochs=4.0,rate=3.0)", "text-generation", "encoder-decoder", None),  # as they are
    ("feature-extraction(rate=2.0)", "text-classification", "encoder-decoder", "keep the relative steps"),
    ("feature-extraction(epochs=2.0)", "text-classification", "encoder-decoder", None),
    ("feature-extraction(epochs=2.0,rate=2.0)", "text-classification", "encoder", None),
    ("lp-ft(head_rate=2.0)", "text-generation", "encoder-decoder", "leave out head_rate"),
    ("lp-ft(head_rate=2.0)", "text-classification", "encoder-decoder", None),
    ("lp-ft(probe=3.0)", "text-generation", "encoder-decoder", None),
    ("distill(weight=0.9)", "text-generation", "encoder-decoder", "leave out members, temperature and weight"),
    ("distill(temperature=3.0)", "text-generation", "decoder", "leave out members, temperature and weight"),
    ("distill(members=1)", "text-generation", "encoder-decoder", "leave out members, temperature and weight"),
    ("distill(members=3)", "text-generation", "encoder-decoder", None),
    ("distill(temperature=3.0)", "text-regression", "encoder", "leave out temperature"),
    ("distill(members=2,weight=0.9)", "text-regression", "encoder", None),
    ("distill(members=2,temperature=3.0)", "token-classification", "encoder", None),
])
def test_what_would_change_nothing_is_refused_before_launch(
    strategy: str, kind: str, family: str, reason: str | None, plan_of: Callable[..., Any]
) -> None:
    reasons = list(plan_of(kind, family, strategy).unsupported.values())
    assert [text for text in reasons if reason and reason in text] == reasons
    assert bool(reasons) == bool(reason)


@pytest.mark.parametrize("strategy", [
    "lp-ft+hybrid-text(tokens=2000)", "hybrid-text(tokens=2000)+lp-ft", "lora+hybrid-text(tokens=2000)",
    "scratch+hybrid-text(tokens=2000)", "parameter-sharing(distinct=1)+hybrid-text(tokens=2000)",
    "scratch-small+hybrid-text(tokens=2000)",
])
@pytest.mark.parametrize(("kind", "family"), [
    ("text-classification", "encoder"), ("text-classification", "encoder-decoder"),
    ("text-generation", "encoder-decoder"),
])
def test_text_composes(kind: str, family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop) -> None:
    outcome = run_cell(cell_of(kind, family, f"{strategy}+short"), shop)
    training = outcome.facts["training"]
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    told = [one["task"] for one in training["upstream"]]
    assert [task for task in told if task != "frozen features"] == ["the task's text"]
    assert ("frozen features" in told) == ("lp-ft" in strategy)
    assert outcome.facts["budget"]["unlabeled"] > 1
    assert 0 < sum(training["tokens_beside"]) < training["tokens_seen"]


def test_text_composes_with_what_was_read_and_learned_before(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "pretrained", lambda texts, start, recipe, desk: stage.pretrained(
        texts, start, replace(recipe, length=40, batch=4), desk))
    for before in ("tapt(tokens=800)", "self-pretrain(tokens=800)", "intermediate(source=toy-score,budget=20)"):
        outcome = run_cell(cell_of("text-classification", "encoder", f"{before}+hybrid-text(tokens=2000)+short"), shop)
        assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
        assert len(outcome.facts["training"]["upstream"]) == 2
        whole = shop.data(cell_of("text-classification", "encoder", "finetune").condition.task).train
        assert 0 < outcome.facts["budget"]["unlabeled"] <= len({text for e in whole for text in texts_of(e)})


def test_what_the_trunk_lacks_stays_still_beside_adapters(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Text] = []
    before: list[list[torch.Tensor]] = []

    def watched(*given: Any) -> Text:
        made.append(reading_beside(*given))
        before.append([p.detach().clone() for p in made[-1].rest])
        return made[-1]

    monkeypatch.setattr(streams, "reading_beside", watched)
    for strategy, still in (("lora+hybrid-text(tokens=2000)", True), ("hybrid-text(tokens=2000)", False)):
        run_cell(cell_of("text-classification", "encoder-decoder", f"{strategy}+short"), shop)
        assert made[-1].rest
        equal = [torch.equal(p, old) for p, old in zip(made[-1].rest, before[-1], strict=True)]
        assert all(equal) is still
        assert any(equal) is still


def test_domain_must_be_known(plan_of: Callable[..., Any]) -> None:
    plan = plan_of("text-classification", "encoder", "hybrid-text(corpus=domain)")
    assert list(plan.unsupported.values()) == ["no unlabelled text of this task's domain is known here"]


def _text(machine: Machine, family: str, toys: ModuleType, zoo: Callable[..., Path], tokens: int = 2000) -> Text:
    model = Model("tiny", str(zoo(family, **toys.without_dropout(family))))
    source = Source(model, model.architecture(offline=True), machine.form.generates, offline=True)
    texts = [text for example in toys.examples("toy-topic", 40) for text in texts_of(example)]
    usual = default_pretraining(family, source.architecture.model_type, True)
    stream = TextStream("task", {}, usual.objective, tokens, 40, usual.noise, usual.span)
    return reading_beside(machine.trunk, source, Setup(), texts, stream, 1, "fp32")


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
    reader: Any = text.reader.model
    assert own <= {id(p) for p in reader.parameters()}
    assert id(reader.get_output_embeddings().weight) in own  # one vocabulary matrix, not a copy
    if family == "encoder-decoder":
        assert id(reader.decoder.embed_tokens.weight) in own
    assert not own & {id(p) for p in text.rest}
    assert bool(text.rest) == (family != "decoder" and not machine.form.generates)


def test_rows_are_masked_once_and_weighed_by_their_targets(
    machine_of: Callable[..., Machine], toys: ModuleType, zoo: Callable[..., Path]
) -> None:
    machine = machine_of("text-classification", "encoder", **toys.without_dropout("encoder"))
    first, again = (_text(machine, "encoder", toys, zoo, tokens=400) for _ in range(2))
    assert 400 // 80 <= len(first.rows) <= 400 // 40  # about so many tokens, never more
    assert np.array_equal(first.rows.tokens.flat, again.rows.tokens.flat)
    asked = first.rows.ragged["targets"].flat
    assert targets(first.rows, range(len(first.rows))) == (asked != IGNORED).sum() > 0


def test_gradient_is_the_weighted_sum_and_everything_moves(
    machine_of: Callable[..., Machine], toys: ModuleType, zoo: Callable[..., Path], place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phase = Phase(stop=FixedSteps(), mixture=Mixture((), "sum", weight=0.3, last=0.3), recipe=Recipe(
        learning_rate=1e-3, head_learning_rate=1e-2, epochs=1e-6, min_steps=1, batch_size=8, warmup=0.0))
    machine = machine_of("text-classification", "encoder", Setup(phases=(phase,)), **toys.without_dropout("encoder"))
    text = _text(machine, "encoder", toys, zoo, tokens=320)
    train = machine.form.encode(toys.examples("toy-topic", 8))
    cpu = torch.device("cpu")
    asked_rows = {id(train): range(8), id(text.rows): range(len(text.rows))}  # each a whole batch
    assert len(text.rows) <= 8
    expected: dict[str, torch.Tensor] = {}
    asked: list[tuple[nn.Module, Any, float, float]] = [
        (machine, train, machine.form.weight(train, range(8)), 0.3),
        (text.reader, text.rows, targets(text.rows, range(len(text.rows))), 0.7),
    ]
    for module, encoded, weight, share in asked:
        machine.zero_grad()
        (module(encoded.batch(asked_rows[id(encoded)], cpu)) / weight * share).backward()
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
    after = (*machine.trunk.parameters(), *text.rest)
    named = {id(p): name for name, p in text.reader.named_parameters()}
    still = {named[id(p)] for p, old in zip(after, before, strict=True) if torch.equal(p, old)}
    assert {name for name in still if "key.bias" not in name} == set()  # softmax does not see a shift of all keys
