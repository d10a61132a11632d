"""Unlabelled text first: domain- and task-adaptive pre-training, and pre-training on the task's own text alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Continued, Offer, Pretrained, Random, Setup, Strategy, added


class _Reads(Strategy):
    """A strategy that starts from weights which have read unlabelled text."""

    tokens: int
    redraw: bool
    external_data = "unlabeled"
    writes = frozenset({"weights"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}: give 1 or more")

    def _after(self, start: Pretrained | Random, corpus: str, setup: Setup, offer: Offer) -> Setup:
        """Return the Setup that starts from what reading a corpus makes of a start."""
        if offer.reading is None:
            return setup
        further, fresh = offer.reading
        recipe = replace(fresh if isinstance(start, Random) else further, tokens=self.tokens)
        return replace(setup, weights=Continued(start, corpus, offer.corpora.get(corpus, {}), recipe, not self.redraw))


@dataclass(frozen=True)
class TaskAdaptive(_Reads):
    """Pre-train further on the task's own training text, then fine-tune (TAPT).

    The text is that of the target's whole training side without any label, more than the cell's own examples;
    the record counts it, and the board compares only with baselines that used no more. One checkpoint is made
    with the family's own objective by the code of `tlbench pretrain` and shared by all replicates.

    Source: Gururangan et al. 2020, arXiv:2004.10964. Held equal: everything in fine-tuning. Adds: the reading.
    Outside data: what the model was pre-trained on, and unlabelled target text. Cost: fine-tuning's, and so many
    tokens of pre-training once.

    Attributes:
        tokens: Tokens read.
        redraw: Read anew for each replicate, with a seed of its own.
    """

    tokens: int = 500_000
    redraw: bool = added(False)

    name = "tapt"
    summary = "pre-train further on the task's unlabelled training text, then fine-tune"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Start from weights that have read the task's text."""
        return self._after(Pretrained(), "task", setup, offer)


@dataclass(frozen=True)
class DomainAdaptive(_Reads):
    """Pre-train further on unlabelled text of the domain, then fine-tune (DAPT).

    For the embedded tasks the domain is the training side of the embedded corpora. A model that has read it before
    reads it again, which the record says.

    Source: Gururangan et al. 2020, arXiv:2004.10964. Held equal: everything in fine-tuning. Adds: the reading.
    Outside data: what the model was pre-trained on, and unlabelled domain text. Cost: fine-tuning's, and so many
    tokens of pre-training, once for all tasks of the domain.

    Attributes:
        tokens: Tokens read.
        redraw: Read anew for each replicate, with a seed of its own.
    """

    tokens: int = 2_000_000
    redraw: bool = added(False)

    name = "dapt"
    summary = "pre-train further on the domain's unlabelled text, then fine-tune"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Start from weights that have read the domain's text."""
        for name in offer.corpora:
            return self._after(Pretrained(), name, setup, offer)
        return setup

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse tasks of whose domain no unlabelled text is known."""
        return None if len(offer.corpora) else "no unlabelled text of this task's domain is known here"


@dataclass(frozen=True)
class SelfPretrain(_Reads):
    """Pre-train random weights on the task's own training text only, then train.

    What the objective gives without any text from outside. After the reading everything is as in `scratch`, its
    rates and its plateau stop, so that the difference from `scratch` is what the reading gave. Architecture and
    tokenizer are the model's.

    Source: Krishna et al. 2023, arXiv:2209.14389. Held equal: everything in `scratch`. Adds: the reading. Outside
    data: unlabelled target text, counted in the record. Cost: that of `scratch`, and so many tokens of pre-training
    once, shared by all replicates.

    Attributes:
        tokens: Tokens read.
        redraw: Read anew for each replicate, with a seed of its own.
    """

    tokens: int = 1_000_000
    redraw: bool = added(False)

    name = "self-pretrain"
    version = 2
    summary = "random weights, pre-trained on the task's own unlabelled text, then trained as scratch is"
    writes = frozenset({"weights", "recipe", "stop"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Start from random weights that have read the task's text, with the recipe of `scratch`."""
        return self._after(Random(), "task", setup.to_plateau(), offer)
