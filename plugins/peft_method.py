"""Any other parameter-efficient method of the `peft` library, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tlbench import Offer, Peft, Phase, Setup, Strategy


@dataclass(frozen=True)
class PeftStrategy(Strategy):
    """Train the modules that a method of the `peft` library adds to the trunk, and the head.

    DoRA (arXiv:2402.09353), rank-stabilised LoRA (arXiv:2312.03732), IA3 (arXiv:2205.05638), LoHa
    (arXiv:2108.06098), LoKr (arXiv:2309.14859), OFT (arXiv:2306.07280), VeRA (arXiv:2310.11454) and LN-tuning
    (arXiv:2312.11420), with the library's own defaults. Methods that lengthen the input (prompt and prefix
    tuning) are not among them: tlbench's heads read one state per input token. The head is tlbench's own and
    is always trained; the record holds how many weights move.

    Held equal: labels, steps, batch size, head. Differs: the added modules' learning rate. Outside data: what
    the model was pre-trained on. Cost: forward and backward through everything, few trained weights.

    Attributes:
        method: Name of the method.
        rate: Learning rate of the added modules in multiples of fine-tuning's; for T5-like models, whose relative
            steps they do not take, of 5e-4. 0 takes 100 for IA3 on T5-like models, whose few factors have far to go
            from 1, and else 10, which was chosen for LoRA.
    """

    method: Literal["dora", "rslora", "ia3", "loha", "lokr", "oft", "vera", "ln-tuning"] = "ia3"
    rate: float = 0.0

    name = "peft"
    version = 2
    summary = "train what a method of the peft library adds (dora, rslora, ia3, loha, lokr, oft, vera, ln-tuning)"
    writes = frozenset({"adapters", "trainable", "recipe"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.rate < 0:
            raise ValueError(f"rate is {self.rate}: give a number above 0, or 0 for the usual one")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Add the method's modules and train only them and the head."""
        phases = tuple(
            replace(phase, trainable="adapters", recipe=phase.recipe.for_added(self.rate or self._usual(phase)))
            for phase in setup.phases
        )
        return replace(setup, adapters=(*setup.adapters, Peft(self.method)), phases=phases)

    def _usual(self, phase: Phase) -> float:
        return 100.0 if self.method == "ia3" and phase.recipe.optimizer == "rms-adamw" else 10.0

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse methods that need linear layers on decoders of GPT-2's build."""
        if offer.family == "decoder" and self.method in ("loha", "lokr", "oft"):
            return f"peft's {self.method} needs linear layers, which decoders like GPT-2 do not have: take lora or ia3"
        return None
