"""The support matrix tells the truth: what it supports runs, with tiny models of every family, and what not is refused.

The strategies that touch the cell's own labels alone are run in `test_families`, teachers in `test_distillation`,
prompts in `test_language_model`; here are those that learn from other tasks and from text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest

from tlbench.cells import Shop, run_cell
from tlbench.engine import neural, reading
from tlbench.engine.pretraining import stage
from tlbench.grid import Cell
from tlbench.listing import matrix_rows
from tlbench.planning import Plan
from tlbench.registry import Registry
from tlbench.setups import Checkpoint
from tlbench.task import texts_of

FAMILIES = {"encoder": "e", "decoder": "d", "encoder-decoder": "s"}
KINDS = ("text-classification", "text-regression", "token-classification", "question-answering", "text-generation")
FROM_TASKS = ("intermediate(source={},budget=20)", "multitask(source={})", "hybrid(source={})")
FROM_TEXT = ("tapt(tokens=800)", "dapt(tokens=800)", "self-pretrain(tokens=800)", "hybrid-text(tokens=2000)",
             "hybrid-text(tokens=2000,corpus=domain)")
ELSEWHERE = {"distill", "prompt"}
COMBINATIONS = [(kind, family) for kind in KINDS for family in FAMILIES
                if (kind, family) != ("text-generation", "encoder")]


@pytest.fixture(autouse=True)
def short_before(monkeypatch: pytest.MonkeyPatch, toys: ModuleType) -> None:
    """Train source models for a few steps, read rows that tiny models can hold, and know a domain's text."""
    above = neural.source_cell

    def source_cell(cell: Cell, start: Checkpoint) -> Cell:
        made = above(cell, start)
        phases = tuple(
            replace(p, recipe=replace(p.recipe, epochs=1e-6, min_steps=4, batch_size=8, max_target_length=8))
            for p in made.condition.setup.phases
        )
        return replace(made, condition=replace(made.condition, setup=replace(made.condition.setup, phases=phases)))

    texts = tuple(text for example in toys.examples("toy-score", 40) for text in texts_of(example))
    monkeypatch.setattr(neural, "source_cell", source_cell)
    monkeypatch.setattr(reading, "pretrained", lambda texts, start, recipe, desk: stage.pretrained(
        texts, start, replace(recipe, length=40, batch=4), desk))
    monkeypatch.setattr(reading, "texts_of_corpus", lambda name, source: texts)
    monkeypatch.setattr("tlbench.offers.Corpora", lambda suite, source: {"toy": {}})


@pytest.mark.parametrize(("kind", "family"), COMBINATIONS)
@pytest.mark.parametrize("strategy", [*FROM_TASKS, *FROM_TEXT])
def test_supported_combination_runs(
    kind: str, family: str, strategy: str, cell_of: Callable[..., Cell], shop: Shop
) -> None:
    source = "toy-names" if kind != "token-classification" else "toy-topic"
    outcome = run_cell(cell_of(kind, family, f"{strategy.format(source)}+short"), shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    assert outcome.facts["training"]["curve"]
    (used,) = outcome.facts["training"]["upstream"]
    assert (used["labels"] > 0) == (strategy in FROM_TASKS)
    assert (outcome.facts["budget"]["unlabeled"] > 0) == (strategy in FROM_TEXT)
    assert outcome.facts["model"]["init"] == ("random" if strategy.startswith("self") else "pretrained")


@pytest.mark.parametrize("strategy", [*FROM_TASKS, *FROM_TEXT])
def test_unsupported_combination_has_a_reason(strategy: str, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("text-generation", "encoder", f"{strategy.format('toy-names')}+short")
    assert list(plan.unsupported.values()) == ["an encoder alone cannot generate text"]


def test_matrix_supports_what_is_tested_and_nothing_else(registry: Registry) -> None:
    here = {strategy.split("(")[0] for strategy in (*FROM_TASKS, *FROM_TEXT)}
    rows = {row["strategy"]: row for row in matrix_rows(registry)}
    others = {
        name for name, cls in registry.strategies.items()
        if cls.__module__.startswith("tlbench_plugins.") and cls.uses_model
        and (cls.external_data != "none" or cls.writes & {"learner", "teacher"})
    }
    assert others == here | ELSEWHERE  # a new strategy must be run somewhere; `test_families` finds the rest by itself
    for name in here:
        assert {kind: rows[name][kind] for kind in KINDS} == {
            kind: "".join(letter for family, letter in FAMILIES.items() if (kind, family) in COMBINATIONS)
            for kind in KINDS}
