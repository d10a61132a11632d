"""The no-transfer twins: the same architecture and tokenizer at random weights, whole or with two layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Offer, Random, Setup, Strategy


@dataclass(frozen=True)
class Scratch(Strategy):
    """Train the same architecture from random weights, with a recipe of its own, until nothing improves any more.

    The learning rate is higher, and training stops at a plateau, after up to `cap` times the steps of fine-tuning,
    since trained at the pre-trained model's rate and length a random model always loses. The record says whether it
    reached its plateau.

    Source: Krishna et al. 2023, arXiv:2209.14389. Held equal: architecture, tokenizer, optimizer family, labels, batch
    size, head. Differs: the weights at the start and, on purpose, the rate. Adds: steps. Outside data: none but the
    tokenizer. Cost: up to `cap` times fine-tuning's.

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

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.cap < 1 or self.rate <= 0 or self.relative_rate <= 0:
            raise ValueError("cap must be 1 or more, rate and relative_rate above 0")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Start from random weights with scratch's own rates and stop rule."""
        return replace(setup.to_plateau(self.rate, self.relative_rate, self.cap), weights=Random())


@dataclass(frozen=True)
class ScratchSmall(Scratch):
    """Train a shallow copy of the architecture from random weights, as `scratch` does.

    A deep random model may lose to its pre-trained twin only because it is too large for the labels at hand;
    two layers of the same width and tokenizer are a usual smaller choice. It is a baseline among others, not the twin
    of the delta vs scratch.

    Source: Krishna et al. 2023, arXiv:2209.14389, who compare sizes. Held equal: tokenizer, width, optimizer family,
    labels, batch size, head, recipe of `scratch`. Differs: the number of layers. Adds: steps, as `scratch` does.
    Outside data: none but the tokenizer. Cost: a step costs less than one of `scratch`, up to as many are taken.

    Attributes:
        layers: Blocks of each stack (at most the architecture's own number).
    """

    layers: int = 2

    name = "scratch-small"
    summary = "a two-layer copy of the architecture from random weights, to its plateau (no transfer)"

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        super().__post_init__()
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}: give 1 or more")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Start `scratch` with fewer layers."""
        return replace(super().prepare(setup, offer), weights=Random(layers=self.layers))
