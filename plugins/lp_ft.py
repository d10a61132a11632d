"""Linear probe first, then full fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Offer, Phase, Setup, Strategy


@dataclass(frozen=True)
class LinearProbeThenFinetune(Strategy):
    """Train the head on the frozen trunk, then everything from there (LP-FT).

    A random head distorts good features while it learns; a probed one does not. The probe runs on features of the
    trunk in eval mode: cached ones where the trunk is the published one, anew in each step after what changes it
    (`tapt`, `dapt`, `intermediate`). For generation it is the decoder that learns first.

    Source: Kumar et al. 2022, arXiv:2202.10054. Held equal: labels, batch size, head, and the second phase is all of
    fine-tuning with its steps. Adds: the probe's steps. Outside data: what the model was pre-trained on. Cost: more
    than fine-tuning's by one forward pass and a head where features are cached, else by the forward passes of the
    probe's steps; for generation by the decoder's training.

    Attributes:
        probe: Passes of the probe in multiples of fine-tuning's.
        head_rate: Learning rate of the head in the second phase, in multiples of the trunk's; generation has no head,
            so that it cannot be set there.
    """

    probe: float = 2.0
    head_rate: float = 1.0

    name = "lp-ft"
    summary = "linear probe on the frozen model, then full fine-tuning"
    writes = frozenset({"trainable", "recipe"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.probe <= 0 or self.head_rate <= 0:
            raise ValueError("probe and head_rate must be above 0")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Put a phase that trains the head alone before each phase."""
        return replace(setup, phases=tuple(made for phase in setup.phases for made in self._phases(phase, offer)))

    def _phases(self, phase: Phase, offer: Offer) -> tuple[Phase, Phase]:
        recipe = phase.recipe
        longer = replace(recipe, epochs=recipe.epochs * self.probe, min_steps=int(recipe.min_steps * self.probe))
        probe = replace(phase, trainable="head", recipe=longer)
        if offer.kind == "text-generation":  # no head, no rate of its own
            return probe, phase
        return probe, replace(
            phase, recipe=replace(recipe, head_learning_rate=recipe.learning_rate * self.head_rate)
        )

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse decoder-only generation, and a rate for the head that generation does not have."""
        if offer.kind == "text-generation" and offer.family == "decoder":
            return "a decoder-only model that generates has no head to probe before fine-tuning"
        if offer.kind == "text-generation" and self.head_rate != LinearProbeThenFinetune().head_rate:
            return "a model that generates has no head with a rate of its own: leave out head_rate"
        return None
