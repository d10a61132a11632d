"""Feature extraction: a frozen trunk in eval mode, a trained head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tlbench import Offer, Phase, Readout, Recipe, Setup, Strategy, added


@dataclass(frozen=True)
class FeatureExtraction(Strategy):
    """Train a head on the features of the frozen model.

    The trunk runs in eval mode, so the features of a published model are computed once for all epochs (a trunk that
    another strategy changed first runs anew in every step); those of the test examples,
    and of whole texts at the budget `full`, once for all replicates. Libraries that call `model.train()` keep
    dropout in a "frozen" encoder, tlbench does not. For generation the encoder and the shared embedding and
    output matrix are frozen and the decoder's blocks learn on cached encoder states; a decoder-only model has no
    encoder to freeze, so generation is unsupported for it.

    Source: Peters et al. 2019, arXiv:1903.05987. Held equal: labels, batch size, head. Differs: more epochs at the
    head's own rate, since they cost little. Adds: nothing. Outside data: what the model was pre-trained on. Cost: one
    forward pass, then the head alone (for generation the decoder).

    Attributes:
        epochs: Passes of the head over the features, in multiples of fine-tuning's. For generation epochs and rates
            stay those of fine-tuning, since the decoder learns, so that neither can be set.
        rate: Learning rate of the head in multiples of fine-tuning's; relative steps of T5-like models keep theirs, so
            that it cannot be set for them.
        layers: The head reads the mean of the hidden states of the last so many layers, each scaled to a mean square of
            1, since many architectures normalise the last one alone; a single lower layer cannot be chosen.
        pooling: How one vector is made of a text: as the `model` does, `mean` or `cls`.
    """

    epochs: float = 4.0
    rate: float = 3.0
    layers: int = added(1)
    pooling: Literal["model", "mean", "cls"] = added("model")

    name = "feature-extraction"
    summary = "train a head on the frozen model's features"
    writes = frozenset({"trainable", "recipe"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.layers < 1 or self.epochs <= 0 or self.rate <= 0:
            raise ValueError("layers must be 1 or more, epochs and rate above 0")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Freeze the trunk and train the head longer."""
        usual = (self.layers, self.pooling) == (1, "model")
        return replace(
            setup,
            readout=setup.readout if usual else Readout(self.layers, self.pooling),
            phases=tuple(replace(phase, trainable="head", recipe=self._recipe(phase, offer)) for phase in setup.phases),
        )

    def _recipe(self, phase: Phase, offer: Offer) -> Recipe:
        recipe = phase.recipe
        if offer.kind == "text-generation":
            return recipe
        rate = 1.0 if recipe.optimizer == "rms-adamw" else self.rate
        steps = int(recipe.min_steps * self.epochs)
        return replace(
            recipe,
            epochs=recipe.epochs * self.epochs,
            min_steps=steps,
            head_learning_rate=recipe.head_learning_rate * rate,
        )

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse decoder-only generation, options without effect, and first tokens where they stand for nothing."""
        if offer.kind == "text-generation" and offer.family == "decoder":
            return "feature extraction of a decoder-only model has no encoder to freeze for generation"
        if offer.kind == "text-generation" and (self.layers, self.pooling) != (1, "model"):
            return "for generation the decoder reads the encoder's output: leave out layers and pooling"
        usual = FeatureExtraction()
        if offer.kind == "text-generation" and (self.epochs, self.rate) != (usual.epochs, usual.rate):
            return "for generation the decoder learns as in fine-tuning: leave out epochs and rate"
        if offer.relative_steps and self.rate != usual.rate:
            return "the heads of T5-like models keep the relative steps of fine-tuning: leave out rate"
        if offer.kind in ("token-classification", "question-answering") and self.pooling != "model":
            return "every token is read for this kind, so nothing is pooled: leave out pooling"
        if offer.family != "encoder" and self.pooling == "cls":
            return "only encoders have a first token that stands for the text: take pooling=mean"
        return None
