"""The matched no-transfer twin: the same architecture and tokenizer at random weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Offer, Plateau, Random, Setup, Strategy


@dataclass(frozen=True)
class Scratch(Strategy):
    """Train the same architecture from random weights, with a recipe of its own, until its loss stops falling.

    Held equal: architecture, tokenizer, optimizer family, labels, batch size, head. Differs on purpose: a
    higher learning rate, and a plateau stop at up to `cap` times the steps of fine-tuning, since trained at
    the pre-trained model's rate and length a random model always loses (Krishna et al. 2023,
    arXiv:2209.14389). The record says whether it reached its plateau. Outside data: none but the tokenizer.

    Attributes:
        cap: Upper bound on steps, in multiples of fine-tuning's.
        rate: Learning rate in multiples of fine-tuning's (encoders and decoders; T5-like ones keep theirs
            times `relative_rate`, as their step sizes are relative already).
        relative_rate: The multiple for relative step sizes.
    """

    cap: float = 5.0
    rate: float = 3.0
    relative_rate: float = 2.0

    name = "scratch"
    summary = "the same architecture from random weights, to its plateau (no transfer)"
    transfers = False
    writes = frozenset({"weights", "recipe", "stop"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Start from random weights with scratch's own rates and stop rule."""
        phases = tuple(
            replace(
                phase,
                recipe=replace(
                    phase.recipe,
                    learning_rate=phase.recipe.learning_rate
                    * (self.relative_rate if phase.recipe.optimizer == "rms-adamw" else self.rate),
                ),
                stop=Plateau(cap=self.cap),
            )
            for phase in setup.phases
        )
        return replace(setup, weights=Random(), phases=phases)
