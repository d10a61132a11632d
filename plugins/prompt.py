"""In-context learning: a pre-trained language model that reads worked examples and is never trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tlbench import Learner, LearnerModel, Offer, Setup, Strategy, Template, UnsupportedError, added


@dataclass(frozen=True)
class Prompt(Strategy):
    """Ask the model as it is, after a few worked examples in its input.

    The task's template writes each example. Worked examples are drawn from the cell's own training labels by the
    cell's seed, for classification in turn from each class. A class is the one whose name has the highest mean
    log-likelihood per token behind the prompt; numbers, entities, answers and texts are decoded greedily and read
    from what was written. Prompts that do not fit lose worked examples, then the end of their longest text; the
    record counts both. No chat template is applied.

    Models pre-trained by span corruption never saw a text that just goes on; `infill` asks them in the form that they
    know, with a sentinel where the answer belongs.

    Source: Brown et al. 2020 (GPT-3), arXiv:2005.14165; for `infill` Schick and Schuetze 2021, arXiv:2012.11926, who
    do so with T5. Held equal: the labels and the test. Differs: of the cell's labels the model sees the worked
    examples, and the names of the classes that the training labels hold. Adds: the task's template. Outside data: what
    the model was pre-trained on. Cost: no training; each prediction reads the whole prompt once.

    Attributes:
        shots: Worked examples; 0 gives none.
        max_tokens: Tokens that are written at most.
        max_length: Tokens of prompt and answer together, at most what the model holds.
        infill: End the prompt in the model's first sentinel and read what fills it; needs a model with sentinels (T5).
    """

    shots: int = 4
    max_tokens: int = 48
    max_length: int = 1024
    infill: bool = added(False)

    name = "prompt"
    summary = "ask the model in context, zero- or few-shot, without training"
    writes = frozenset({"learner"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.shots < 0 or self.max_tokens < 1 or self.max_length <= self.max_tokens:
            raise ValueError("shots must be 0 or more, max_tokens 1 or more, and max_length larger than max_tokens")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy as the learner, with the task's template."""
        config = {"shots": self.shots, "max_tokens": self.max_tokens, "max_length": self.max_length,
                  "template": offer.template, **({"infill": True} if self.infill else {})}
        return replace(setup, learner=Learner(self.name, config))

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse encoders, and tasks without a template or with a faulty one."""
        if offer.family == "encoder":
            return "an encoder alone predicts no next word, so it cannot be prompted"
        if self.infill and offer.family == "decoder":
            return "a decoder continues texts and fills no gaps: prompt it without infill"
        if offer.template is None:
            return f"task {offer.task!r} has no template, so nobody said how its examples read as prompts: set one"
        return Template(offer.template).fault(offer.kind)

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the learner of `kind`; the seed draws the worked examples."""
        from .learners.answers import FORMS
        from .learners.prompts import Prompter

        if kind not in FORMS:
            raise UnsupportedError(f"strategy 'prompt' does not know how to read answers of kind {kind!r}")
        return Prompter(config, FORMS[kind](), seed)
