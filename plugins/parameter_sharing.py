"""Parameter sharing: few distinct layers, repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Offer, Setup, Strategy, Ties


@dataclass(frozen=True)
class ParameterSharing(Strategy):
    """Fine-tune a model whose neighbouring layers share their weights (ALBERT).

    Each stack keeps `distinct` different blocks; each is used by a run of neighbours and starts from the
    pre-trained weights of the lowest of them. Unlike ALBERT's, the model was not pre-trained this way, so the
    tie itself costs quality at the start.

    Source: Lan et al. 2020, arXiv:1909.11942. Held equal: labels, steps, batch size, rates, head, depth. Differs: the
    number of weights; the record holds it. Adds: nothing. Outside data: what the model was pre-trained on. Cost: the
    time of fine-tuning, less memory for gradients and optimizer.

    Attributes:
        distinct: Different blocks in each stack.
    """

    distinct: int = 2

    name = "parameter-sharing"
    summary = "fine-tune with layers tied to a few distinct ones, started from the pre-trained ones"
    writes = frozenset({"ties"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.distinct < 1:
            raise ValueError(f"distinct is {self.distinct}: give 1 or more")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Declare the ties."""
        return replace(setup, ties=Ties(self.distinct))
