"""Gradual unfreezing: layers begin to move one after the other, from the top."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Offer, Setup, Strategy


@dataclass(frozen=True)
class GradualUnfreeze(Strategy):
    """Fine-tune with layer groups that start to move from the top (ULMFiT).

    The order is head, blocks of the decoder, blocks of the encoder, embeddings; a group's optimizer state
    begins when the group does. Here groups follow each other in equal stretches of steps instead of epochs.

    Source: Howard and Ruder 2018, arXiv:1801.06146. Held equal: labels, steps, batch size, rates, head: as many steps
    as `finetune`. Differs: when each layer begins to move. Adds: nothing. Outside data: what the model was pre-trained
    on. Cost: fine-tuning's in the operations that the record counts, which are those of the thawed model; backward
    passes are shorter while layers at the bottom are frozen.

    Attributes:
        share: Share of the steps after which everything moves.
    """

    share: float = 0.5

    name = "gradual-unfreeze"
    summary = "fine-tune with layers that begin to move one by one, from the top"
    writes = frozenset({"trainable"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}: give a number above 0 and at most 1")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Let the groups of every phase thaw."""
        return replace(setup, phases=tuple(replace(phase, unfreeze=self.share) for phase in setup.phases))
