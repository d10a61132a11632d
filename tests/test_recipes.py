"""The frozen recipes: what an ordinary fine-tuning is."""

from __future__ import annotations

from typing import Any

import pytest

from tlbench.recipes import default_setup


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


def test_without_a_model_nothing_is_trained() -> None:
    assert default_setup("text-classification", None, 300).phases == ()
