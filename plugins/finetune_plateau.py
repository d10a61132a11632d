"""Fine-tuning for as long as it helps: the stop rule of scratch, from the pre-trained weights."""

from __future__ import annotations

from dataclasses import dataclass

from tlbench import Offer, Setup, Strategy


@dataclass(frozen=True)
class FinetunePlateau(Strategy):
    """Fine-tune at a constant rate until nothing improves any more.

    `scratch` may take several times the steps of `finetune`. Here the pre-trained weights have the same stop rule and
    the same bound, so that the two differ in the start and the learning rate alone, and it shows what a fixed number
    of steps costs fine-tuning. The record says whether it reached its plateau.

    Source: Mosbach et al. 2021, arXiv:2006.04884, for longer training; the stop rule is tlbench's own. Held equal:
    labels, batch size, head, the rule of selection on validation. Differs from `finetune`: the schedule of the rate.
    Adds: steps. Outside data: what the model was pre-trained on. Cost: up to `cap` times fine-tuning's.

    Attributes:
        cap: Upper bound on steps, in multiples of fine-tuning's.
    """

    cap: float = 5.0

    name = "finetune-plateau"
    summary = "train all weights from the pre-trained ones, to the plateau"
    writes = frozenset({"stop"})

    def __post_init__(self) -> None:
        """Check the bound.

        Raises:
            ValueError: fewer steps than fine-tuning's.
        """
        if self.cap < 1:
            raise ValueError(f"cap is {self.cap}: give 1 or more, since fine-tuning's steps are always taken")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Give every phase the stop rule of `scratch`."""
        return setup.to_plateau(rate=1.0, relative_rate=1.0, cap=self.cap)
