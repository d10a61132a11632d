"""The frozen recipes: what an ordinary fine-tuning is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tlbench_plugins.lp_ft import LinearProbeThenFinetune
from tlbench_plugins.reading import SelfPretrain
from tlbench_plugins.scratch import Scratch

from tlbench.recipes import default_pretraining, default_setup
from tlbench.setups import Continued
from tlbench.strategy import Offer


@pytest.mark.parametrize(("kind", "model_type", "budget", "epochs", "batch"), [
    ("text-generation", "t5", 1000, 6, 16),
    ("text-generation", "t5", "full", 3, 32),
    ("text-generation", "t5", 5000, 3, 32),
    ("text-generation", "gpt2", 1000, 2, 16),
    ("text-classification", "t5", 300, 6, 16),
    ("question-answering", "bert", 600, 3, 16),
    ("question-answering", "bert", "full", 3, 32),
])
def test_length_of_training(kind: str, model_type: str, budget: Any, epochs: float, batch: int) -> None:
    (phase,) = default_setup(kind, model_type, budget).phases
    assert (phase.recipe.epochs, phase.recipe.batch_size) == (epochs, batch)


@pytest.mark.parametrize(("model_type", "optimizer"), [("t5", "rms-adamw"), ("mt5", "rms-adamw"), ("bert", "adamw")])
def test_optimizer_belongs_to_the_architecture(model_type: str, optimizer: str) -> None:
    (phase,) = default_setup("text-classification", model_type, 300).phases
    assert phase.recipe.optimizer == optimizer


@pytest.mark.parametrize(("width", "rate"), [(None, 1e-4), (384, 1e-4), (768, 4e-5), (1024, 2e-5), (2048, 1e-5)])
def test_wider_models_take_smaller_absolute_steps(width: int | None, rate: float) -> None:
    assert default_setup("text-classification", "bert", 300, "encoder", width).phases[0].recipe.learning_rate == rate
    t5 = default_setup("text-classification", "t5", 300, "encoder-decoder", width)
    assert t5 == default_setup("text-classification", "t5", 300)  # steps are relative


def test_without_a_model_nothing_is_trained() -> None:
    assert default_setup("text-classification", None, 300).phases == ()


def test_added_modules_take_absolute_steps() -> None:
    """A relative step on LoRA's zero matrices is none: with it, adapters on a T5-like model learned next to nothing."""
    t5 = default_setup("text-classification", "t5", 300).phases[0].recipe
    bert = default_setup("text-classification", "bert", 300).phases[0].recipe
    assert (t5.for_added(10).optimizer, t5.for_added(10).learning_rate) == ("adamw", pytest.approx(5e-3))
    assert bert.for_added(10) == replace(bert, learning_rate=bert.learning_rate * 10)
    assert replace(t5.for_added(10), optimizer="rms-adamw", learning_rate=5e-3, head_learning_rate=0.2) == t5


@pytest.mark.parametrize("model_type", ["t5", "bert"])
def test_probed_head_moves_on_at_the_trunks_rate(model_type: str) -> None:
    offer = Offer("text-classification", "task", "encoder-decoder", 300)
    setup = default_setup("text-classification", model_type, 300)
    probe, rest = (phase.recipe for phase in LinearProbeThenFinetune(head_rate=2.0).prepare(setup, offer).phases)
    plain = setup.phases[0].recipe
    assert (probe.head_learning_rate, rest.head_learning_rate) == (plain.head_learning_rate, 2 * plain.learning_rate)


@pytest.mark.parametrize("model_type", ["t5", "bert"])
def test_self_pretraining_differs_from_scratch_in_what_was_read_alone(model_type: str) -> None:
    made = default_pretraining("encoder-decoder", model_type, goes_on=False)
    offer = Offer("text-classification", "task", "encoder-decoder", 300, reading=(made, made))
    setup = default_setup("text-classification", model_type, 300)
    scratch, reads = Scratch().prepare(setup, offer), SelfPretrain().prepare(setup, offer)
    assert isinstance(reads.weights, Continued)
    assert replace(reads, weights=scratch.weights) == scratch
