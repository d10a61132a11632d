"""Fine-tuning: everything is trainable, starting from the pre-trained weights."""

from __future__ import annotations

from dataclasses import dataclass

from tlbench import Offer, Setup, Strategy


@dataclass(frozen=True)
class Finetune(Strategy):
    """Fine-tune all weights and a fresh head (Devlin et al. 2019, arXiv:1810.04805).

    Held equal with every other neural strategy: labels, batch size, head, selection by validation loss. Adds
    nothing. Outside data: what the model was pre-trained on. Cost: forward and backward through everything.
    """

    name = "finetune"
    summary = "train all weights from the pre-trained ones"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Leave the default Setup as it is."""
        return setup
