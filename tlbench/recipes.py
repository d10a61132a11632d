"""The frozen recipes of the quick tier: what an ordinary fine-tuning is, per kind and architecture.

They are data: a resolved Setup holds every number, so an edit here changes the keys of the cells it touches.
Learning rates follow the usual choices for small encoders (MiniLM: 1e-4), less for wider models (BERT, RoBERTa and
DeBERTa: 1e-5 to 5e-5), and, for T5-like models, the relative step sizes of RMS-scaled AdamW (nanoT5).
"""

from __future__ import annotations

from dataclasses import replace

from tlbench.model import Architecture
from tlbench.setups import Family, Phase, Pretraining, Recipe, Setup
from tlbench.task import Budget

T5_LIKE = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers"})

_BY_KIND = {
    "text-classification": Recipe(learning_rate=1e-4, epochs=6, min_steps=100, max_length=128),
    "text-regression": Recipe(learning_rate=1e-4, epochs=4, min_steps=100, max_length=128, standardise=True),
    "token-classification": Recipe(learning_rate=2e-4, epochs=5, min_steps=120, max_length=128),
    "question-answering": Recipe(learning_rate=2e-4, epochs=3, min_steps=100, max_length=192),
    "text-generation": Recipe(learning_rate=1e-4, head_learning_rate=1e-4, epochs=2, min_steps=100, max_length=128),
}
_WIDTHS = ((512, 1.0), (768, 0.4), (1024, 0.2), (float("inf"), 0.1))
"""Up to which width of the hidden states AdamW's rate is multiplied by what."""
_FULL_EPOCHS = 3.0
_T5_GENERATION_EPOCHS = 6.0
_PRETRAINING = {
    "encoder": Pretraining("masked", length=128, optimizer="adamw", step_size=1e-3, weight_decay=0.01),
    "decoder": Pretraining("causal", length=129, optimizer="adamw", step_size=1e-3, weight_decay=0.01),
    "encoder-decoder": Pretraining(),
}


def default_setup(
    kind: str, model_type: str | None, budget: Budget, family: Family | None = None, width: int | None = None
) -> Setup:
    """Return the Setup that `finetune` leaves as it is.

    Args:
        kind: Kind of the task.
        model_type: `model_type` of the model's config; `None` for strategies that use no model.
        budget: Labels; `full` and 5,000 or more take three epochs in batches of 32.
        family: Family of the model; the tokenizers of decoders put nothing between two texts, so a separator is set.
        width: Size of its hidden states, if it is known; wider models than MiniLM take smaller rates.
    """
    if model_type is None:
        return Setup(phases=())
    recipe = _BY_KIND[kind]
    if model_type in T5_LIKE:
        recipe = replace(recipe, optimizer="rms-adamw", learning_rate=5e-3, head_learning_rate=0.2, weight_decay=0.0)
        if kind == "text-generation":  # there is no head; its rate only stands in the key
            recipe = replace(recipe, epochs=_T5_GENERATION_EPOCHS, head_learning_rate=5e-2)
    else:
        share = next(share for most, share in _WIDTHS if (width or 0) <= most)
        recipe = replace(recipe, learning_rate=recipe.learning_rate * share)
    if family == "decoder" and kind in ("text-classification", "text-regression", "question-answering"):
        recipe = replace(recipe, separator="\n\n")
    if budget == "full" or (isinstance(budget, int) and budget >= 5000):
        recipe = replace(recipe, epochs=_FULL_EPOCHS, batch_size=32)
    return Setup(phases=(Phase(recipe=recipe),))


def setup_of(kind: str, model: Architecture | None, budget: Budget) -> Setup:
    """Return the default Setup of a model, or of a strategy that uses none."""
    if model is None:
        return default_setup(kind, None, budget)
    return default_setup(kind, model.model_type, budget, model.family, model.width)


def default_pretraining(family: str, model_type: str, goes_on: bool) -> Pretraining:
    """Return the recipe that `tlbench pretrain` starts from.

    Args:
        family: Family of the model, which decides the objective.
        model_type: `model_type` of the model's config; T5-like models take relative steps.
        goes_on: Whether published weights are trained further, which takes smaller steps, or random ones.
    """
    recipe = _PRETRAINING[family]
    if family == "encoder-decoder" and model_type in T5_LIKE:
        return replace(recipe, step_size=5e-3) if goes_on else recipe
    return replace(recipe, optimizer="adamw", step_size=1e-4 if goes_on else 1e-3, weight_decay=0.01)
