"""Fine-tuning: everything is trainable, starting from the pre-trained weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Offer, Setup, Strategy, added


@dataclass(frozen=True)
class Finetune(Strategy):
    """Fine-tune all weights and a fresh head.

    Source: Devlin et al. 2019, arXiv:1810.04805; for `layer_decay` Howard and Ruder 2018, arXiv:1801.06146. Held
    equal: with every other neural strategy labels, batch size, head, the rule of selection on validation. Adds:
    nothing. Outside data: what the model was pre-trained on. Cost: forward and backward through everything.

    Attributes:
        layer_decay: Rate of each layer in multiples of that of the layer above it; 1 gives all layers the same rate.
        seed: Another draw of all that is random in this training but the examples (source models and teachers stay);
            two rows that differ in it show the noise.
    """

    layer_decay: float = added(1.0)
    seed: int = added(0)

    name = "finetune"
    summary = "train all weights from the pre-trained ones"

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.layer_decay <= 0:
            raise ValueError(f"layer_decay is {self.layer_decay}: give a number above 0")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Leave the default Setup as it is, but for its seed and the layers' rates if they are to differ."""
        if self.seed:
            setup = replace(setup, seed=self.seed)
        if self.layer_decay == 1.0:
            return setup
        phases = (
            replace(phase, recipe=replace(phase.recipe, layer_decay=self.layer_decay)) for phase in setup.phases
        )
        return replace(setup, phases=tuple(phases))
