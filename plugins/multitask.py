"""Multi-task learning: other labelled tasks at the same time, on one trunk."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Mixture, Offer, Phase, Setup, Strategy, Stream


@dataclass(frozen=True)
class Multitask(Strategy):
    """Fine-tune on the target and on source tasks at once, one head each (MT-DNN).

    Each step's batch comes from one task, drawn by the sizes to the power of 1/temperature; there are so many
    steps that the target has, on average, as many turns as in fine-tuning. Only the target is selected on and
    evaluated.

    Source: Liu et al. 2019, arXiv:1901.11504. Held equal: labels, turns on average, batch size, rates, head of the
    target. Adds: the sources' steps. Outside data: what the model was pre-trained on, and the sources' labels, counted
    in the record. Cost: fine-tuning's times the inverse of the target's share.

    Attributes:
        source: Source tasks, separated by `|`; `auto` takes the task of the target's suite with most labels.
        temperature: 1 draws by size, large values draw alike.
        then_finetune: Fine-tune on the target alone afterwards.
    """

    source: str = "auto"
    temperature: float = 2.0
    then_finetune: bool = False

    name = "multitask"
    summary = "fine-tune on the target and on source tasks at once, one head each"
    external_data = "labeled"
    writes = frozenset({"mixture"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}: give a number above 0")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Mix the sources into every phase."""
        found = offer.chosen(self.source, beside=True)
        streams = tuple(Stream(one.task, one.budget, one.setup) for one in found)
        if not streams:
            return setup
        mixture = Mixture(streams, "draw", temperature=self.temperature)
        mixed = tuple(replace(phase, mixture=mixture) for phase in setup.phases)
        after: tuple[Phase, ...] = setup.phases if self.then_finetune else ()
        return replace(setup, phases=(*mixed, *after))

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse the target itself, and sources that cannot be learned beside it."""
        return offer.refused(self.source, beside=True)
