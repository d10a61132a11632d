"""LoRA: low-rank adapters on a frozen trunk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tlbench import Lora, Offer, Setup, Strategy


@dataclass(frozen=True)
class LoraStrategy(Strategy):
    """Train low-rank adapters and the head, by the `peft` library.

    The head is tlbench's own and is always trained (PEFT's task types leave T5's classification head frozen at
    random).

    Source: Hu et al. 2021, arXiv:2106.09685. Held equal: labels, steps, batch size, head. Differs: the adapters'
    learning rate. Adds: the adapters. Outside data: what the model was pre-trained on. Cost: forward and backward
    through everything, few trained weights.

    Attributes:
        rank: Inner dimension.
        alpha: Scale; the update is multiplied by `alpha / rank`.
        dropout: Dropout in front of the adapters.
        targets: `query-value` (the paper's) or `all-linear`.
        rate: Learning rate in multiples of fine-tuning's; for T5-like models, whose relative steps adapters do not
            take, of 5e-4.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: Literal["query-value", "all-linear"] = "all-linear"
    rate: float = 10.0

    name = "lora"
    summary = "train low-rank adapters and the head"
    writes = frozenset({"adapters", "trainable", "recipe"})

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: a rank below 1, no scale, no rate, or a dropout that is no share.
        """
        if self.rank < 1 or self.alpha <= 0 or self.rate <= 0 or not 0 <= self.dropout < 1:
            raise ValueError("rank is at least 1, alpha and rate above 0, and dropout from 0 to below 1")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Add the adapters and train only them and the head."""
        adapter = Lora(self.rank, self.alpha, self.dropout, self.targets)
        phases = tuple(
            replace(phase, trainable="adapters", recipe=phase.recipe.for_added(self.rate)) for phase in setup.phases
        )
        return replace(setup, adapters=(*setup.adapters, adapter), phases=phases)
