"""How likely trained models find the references: as transformers itself computes it, and only where a task asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch

from tlbench.cells import Shop, bench_for, model_source, run_cell
from tlbench.data import cell_data
from tlbench.engine.fit import validate
from tlbench.engine.generation import GenerationForm
from tlbench.engine.measure import Clock
from tlbench.engine.trained import train
from tlbench.grid import Cell
from tlbench.model import Architecture
from tlbench.offers import Sources


def asking(cell: Cell) -> Cell:
    """Return the cell of a task that is the same and asks for likelihoods."""
    condition = cell.condition
    return replace(cell, condition=replace(condition, task=replace(condition.task, likelihood=True)))


@pytest.mark.parametrize(("family", "strategy"), [
    ("encoder-decoder", "finetune"), ("decoder", "finetune"), ("encoder-decoder", "feature-extraction"),
])
def test_nats_are_those_of_one_reference_at_a_time(
    family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    cell = cell_of("text-generation", family, f"{strategy}+short")
    data = cell_data(cell, shop.data(cell.condition.task))
    bench = bench_for(shop, Clock())
    done = train(cell, data, model_source(cell, shop), bench, 8)
    assert (done.encoded["test"].hidden is None) == (strategy == "finetune")
    machine, test = done.machine, replace(done.encoded["test"], hidden=None)
    found = done.likelihoods("test", data.test, bench)
    trunk: Any = machine.trunk
    for row in range(0, len(test), 7):
        batch = test.batch([row], torch.device("cpu"))
        ids, labels = batch["input_ids"], batch["labels"]
        with torch.no_grad():
            if family == "decoder":
                whole = torch.cat([ids, labels], 1)
                logits = trunk(input_ids=whole, use_cache=False).logits[:, ids.shape[1] - 1 : -1]
            else:
                logits = trunk(input_ids=ids, attention_mask=batch["attention_mask"], labels=labels).logits
        logs = torch.log_softmax(logits[0].double(), -1)
        expected = -sum(float(logs[place, token]) for place, token in enumerate(labels[0].tolist()))
        assert found[row].nats == pytest.approx(expected, rel=1e-4)
        assert found[row].tokens == labels.shape[1]
    mean, _ = validate(machine, test, "fp32", shop.place, with_rows=False)
    assert mean == pytest.approx(sum(one.nats for one in found) / sum(one.tokens for one in found), rel=1e-4)


def test_bytes_are_those_of_the_text_that_was_predicted(machine_of: Callable[..., Any], toys: ModuleType) -> None:
    form = machine_of("text-generation", "encoder-decoder").form
    assert isinstance(form, GenerationForm)
    short, long = toys.examples("toy-copy", 2)
    short, long = replace(short, targets=("caf\u00e9",)), replace(long, targets=("word " * 500,))
    encoded = form.encode([short, long])
    whole, cut = form.likelihoods([short, long], encoded, [1.0, 2.0])
    assert (whole.nats, whole.size) == (1.0, 5)
    assert cut.tokens == form.frame.max_target_length
    kept = form.frame.tokenizer.decode(encoded.ragged["labels"].row(1)[:-1].tolist(), skip_special_tokens=True)
    assert cut.size == len(kept.encode()) < len(long.targets[0])
    assert long.targets[0].startswith(kept)
    exact = replace(long, targets=(kept,))
    assert form.likelihoods([exact], form.encode([exact]), [1.0])[0].size == len(kept.encode())


@pytest.mark.parametrize(("family", "strategy"), [
    ("encoder-decoder", "finetune"), ("decoder", "lora"), ("encoder-decoder", "feature-extraction"),
])
def test_record_says_it_where_the_task_asks(
    family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    plain = cell_of("text-generation", family, f"{strategy}+short")
    without, asked = run_cell(plain, shop), run_cell(asking(plain), shop)
    assert asked.facts["status"] in ("ok", "collapsed"), asked.facts["reason"]
    assert asking(plain).key != plain.key
    before, after = without.facts["evaluation"].metrics, asked.facts["evaluation"].metrics
    assert {name: facts for name, facts in after.items() if name in before} == before  # it moves no score
    assert set(after) - set(before) == {"perplexity", "bits_per_byte"}
    table = asked.predictions
    nats = table["perplexity:nats"].sum()
    assert after["perplexity"]["value"] == pytest.approx(math.exp(nats / table["perplexity:tokens"].sum()))
    assert after["bits_per_byte"]["value"] == pytest.approx(nats / math.log(2) / table["bits_per_byte:bytes"].sum())
    assert 1 < after["perplexity"]["value"] < 1e6
    assert not after["perplexity"]["higher_is_better"]
    assert not {*after} & {name for name in asked.facts["evaluation"].validation if name not in before}


def test_a_model_that_diverged_states_nothing(cell_of: Callable[..., Cell], shop: Shop) -> None:
    outcome = run_cell(asking(cell_of("text-generation", "encoder-decoder", "finetune+short(rate=1e30)")), shop)
    assert outcome.facts["status"] == "collapsed", outcome.facts["reason"]
    assert "rouge_l" in outcome.facts["evaluation"].metrics
    assert "perplexity" not in outcome.facts["evaluation"].metrics


def test_only_what_is_scored_asks(cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cell_of("text-generation", "encoder-decoder", "floor")
    assert run_cell(asking(plain), shop).facts["comparability"] != run_cell(plain, shop).facts["comparability"]
    monkeypatch.setattr(type(shop.registry.task("toy-copy")), "likelihood", True)
    source = Sources("plugin", Architecture("encoder-decoder", "t5", {}), shop.registry, shop.source)["toy-copy"]
    assert not source.task.likelihood  # so that the cells of other tasks keep their keys


def test_what_is_not_trained_says_nothing(cell_of: Callable[..., Cell], shop: Shop) -> None:
    outcome = run_cell(asking(cell_of("text-generation", "encoder-decoder", "floor")), shop)
    assert outcome.facts["status"] == "ok", outcome.facts["reason"]
    assert "perplexity" not in outcome.facts["evaluation"].metrics
