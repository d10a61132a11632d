"""Hybrid loss: the target's loss and a source's, weighted, in every step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Mixture, Offer, Setup, Strategy, Stream


@dataclass(frozen=True)
class Hybrid(Strategy):
    """Minimise weight * L(target) + (1 - weight) * L(source) in every step (Chronopoulou et al. 2019, 1902.10547).

    The weight is fixed or moves linearly to `last`. In the paper the source is the pre-training objective; here
    it is a labelled task.

    Held equal: labels, steps, batch size, rates, head of the target. Adds: a batch of the source in each step,
    its labels counted in the record. Outside data: labelled. Cost: about twice fine-tuning's.

    Attributes:
        source: Source task; `auto` takes the task of the target's suite with most labels.
        weight: Share of the target at the first step.
        last: Share of the target at the last step.
    """

    source: str = "auto"
    weight: float = 0.7
    last: float = 1.0

    name = "hybrid"
    summary = "weight the target's loss and a source task's in every step"
    external_data = "labeled"
    writes = frozenset({"mixture"})

    def __post_init__(self) -> None:
        """Check the weights.

        Raises:
            ValueError: a weight out of its range.
        """
        if not (0 < self.weight <= 1 and 0 < self.last <= 1):
            raise ValueError("give weights above 0 and at most 1")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Add the source to every phase."""
        found = offer.chosen(self.source, beside=True)
        streams = tuple(Stream(one.task, one.budget, one.setup) for one in found)
        if not streams:
            return setup
        mixture = Mixture(streams, "sum", weight=self.weight, last=self.last)
        return replace(setup, phases=tuple(replace(phase, mixture=mixture) for phase in setup.phases))

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse the target itself, and a source that cannot be learned beside it."""
        return offer.refused(self.source, beside=True)
