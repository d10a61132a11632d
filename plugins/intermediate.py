"""Intermediate-task training: a labelled source task first, then the target."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Checkpoint, Offer, Setup, Strategy


@dataclass(frozen=True)
class Intermediate(Strategy):
    """Fine-tune on a labelled source task, then on the target (STILTs).

    The trunk moves on, the head does not: the target's head starts fresh. The source model is selected on the
    source's own validation labels. It is computed once and shared by all replicates and conditions that ask for
    it, which narrows the spread over replicates; `redraw=True` trains one for each replicate.

    Source: Phang et al. 2018, arXiv:1811.01088. Held equal: everything on the target. Adds: the source's training.
    Outside data: what the model was pre-trained on, and the source's labels, counted in the record. Cost: that of
    fine-tuning on the source, once, and on the target.

    Attributes:
        source: Name of the source task; `auto` takes the one of the target's suite with the largest budget.
        budget: Source labels; 0 takes the source's default budget.
        redraw: Train a source model for each replicate.
    """

    source: str = "auto"
    budget: int = 0
    redraw: bool = False

    name = "intermediate"
    summary = "fine-tune on a labelled source task, then on the target"
    external_data = "labeled"
    writes = frozenset({"weights"})

    def __post_init__(self) -> None:
        """Refuse several sources, and too few labels to train and validate on."""
        if "|" in self.source:
            raise ValueError(f"source names several tasks, {self.source!r}: give one, or take multitask")
        if self.budget and self.budget < 10:
            raise ValueError(f"budget is {self.budget}: give 0 or at least 10 labels")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Start from the trunk that the source leaves."""
        for chosen in offer.chosen(self.source)[:1]:
            start = Checkpoint(chosen.task, self.budget or chosen.budget, chosen.setup, not self.redraw)
            return replace(setup, weights=start)
        return setup

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse a target that is its own source, and a source that the model cannot learn."""
        return offer.refused(self.source)
