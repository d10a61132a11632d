"""Any parameter-efficient method of the `peft` library that adapts a trunk, by name."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Any

from tlbench import Offer, Peft, Phase, Setup, Strategy, added


@dataclass(frozen=True)
class PeftStrategy(Strategy):
    """Train the modules that a method of the `peft` library adds to the trunk, and the head.

    Every method of the library that adapts a trunk's layers can be named, in lower case with hyphens: `adamss`, `beft`,
    `boft`, `c3a`, `deft`, `delora`, `fourierft`, `frod`, `glora`, `gralora`, `hira`, `hra`, `ia3`, `lily`, `ln-tuning`,
    `loha`, `lokr`, `lora`, `miss`, `oft`, `osf`, `peanut`, `psoft`, `pvera`, `randlora`, `road`, `shira`,
    `supertuning`, `tinylora`, `unilora`, `vblora`, `vera`, `waveft`, what a newer peft adds, and `dora` and `rslora`,
    which are settings of its LoRA. The others are refused with a reason: those that learn inputs or caches (prompt and
    prefix tuning and their kin), AdaLoRA, which needs a schedule and a loss of its own, and mixtures of adapters.
    Settings are the library's defaults, but that OFT computes its rotations exactly. LoRA and its variants adapt all
    linear layers, LN-tuning the norms, IA3 keys, values and the last feed-forward matrix, the others queries and
    values. The head is tlbench's own and is always trained; the record holds how many weights move.

    Source: the library (Mangrulkar et al. 2022, github.com/huggingface/peft), whose pages name each method's paper:
    DoRA arXiv:2402.09353, rank-stabilised LoRA arXiv:2312.03732, IA3 arXiv:2205.05638, LoHa arXiv:2108.06098, LoKr
    arXiv:2309.14859, OFT arXiv:2306.07280, VeRA arXiv:2310.11454, LN-tuning arXiv:2312.11420. Held equal: labels,
    steps, batch size, head. Differs: the added modules' learning rate. Adds: the method's modules. Outside data: what
    the model was pre-trained on. Cost: forward and backward through everything, few trained weights; some methods
    decompose the matrices first.

    Attributes:
        method: Name of the method.
        rate: Learning rate of the added modules in multiples of fine-tuning's; for T5-like models, whose relative
            steps they do not take, of 5e-4. 0 takes 100 for IA3 on T5-like models, whose few factors have far to go
            from 1, and else 10, which was chosen for LoRA and for no other method.
        settings: The method's own settings, `r:16;alpha:32`, by the names of its configuration class; an unknown one
            is answered with the known ones. `target_modules:all-linear` or `target_modules:('query','value')` says
            which layers are adapted. `c3a` and `vblora` need a size that divides the widths of the layers, and refuse
            others than multiples of 256 without one (`block_size:128`).
    """

    method: str = "ia3"
    rate: float = 0.0
    settings: str = added("")

    name = "peft"
    version = 2
    summary = "train what a method of the peft library adds: dora, rslora, ia3, loha, oft, boft, vera and 28 others"
    writes = frozenset({"adapters", "trainable", "recipe"})

    def __post_init__(self) -> None:
        """Refuse a rate that means nothing, a method that adapts no trunk, and settings that it does not have."""
        if self.rate < 0:
            raise ValueError(f"rate is {self.rate}: give a number above 0, or 0 for the usual one")
        wrong = self._adapter().fault()
        if wrong:
            raise ValueError(wrong)

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Add the method's modules and train only them and the head."""
        phases = tuple(
            replace(phase, trainable="adapters", recipe=phase.recipe.for_added(self.rate or self._usual(phase)))
            for phase in setup.phases
        )
        return replace(setup, adapters=(*setup.adapters, self._adapter()), phases=phases)

    def _usual(self, phase: Phase) -> float:
        return 100.0 if self.method == "ia3" and phase.recipe.optimizer == "rms-adamw" else 10.0

    def _adapter(self) -> Peft:
        config: dict[str, Any] = {}
        for piece in filter(None, map(str.strip, self.settings.split(";"))):
            name, _, value = (part.strip() for part in piece.partition(":"))
            if not name or not value or name in config:
                raise ValueError(f"settings is {self.settings!r}: write name:value, each once, separated by ';'")
            config[name] = _value(value)
        return Peft(self.method, config)

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse methods that need torch's linear layers on architectures that have others."""
        return self._adapter().fault(offer.model_type)


def _value(text: str) -> Any:
    """Return what a setting's text stands for: a number, true or false, a tuple, else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
