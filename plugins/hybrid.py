"""Hybrid losses: the target's loss and another one, weighted, in every step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Mixture, Offer, Setup, Strategy, Stream, TextStream


class _Weighted(Strategy):
    """A strategy whose loss is a weighted sum; the two weights are fields of its subclasses."""

    weight: float
    last: float

    writes = frozenset({"mixture"})

    def __post_init__(self) -> None:
        """Check the weights.

        Raises:
            ValueError: a weight out of its range.
        """
        if not (0 < self.weight <= 1 and 0 < self.last <= 1):
            raise ValueError("give weights above 0 and at most 1")

    def _mixed(self, setup: Setup, streams: tuple[Stream | TextStream, ...]) -> Setup:
        """Add streams to every phase."""
        mixture = Mixture(streams, "sum", weight=self.weight, last=self.last)
        return replace(setup, phases=tuple(replace(phase, mixture=mixture) for phase in setup.phases))


@dataclass(frozen=True)
class Hybrid(_Weighted):
    """Minimise weight * L(target) + (1 - weight) * L(source) in every step.

    The weight is fixed or moves linearly to `last`. In the paper the source is the pre-training objective, which is
    `hybrid-text` here; this one takes a labelled task.

    Source: Chronopoulou et al. 2019, arXiv:1902.10547. Held equal: labels, steps, batch size, rates, head of the
    target. Adds: a batch of the source in each step. Outside data: what the model was pre-trained on, and the source's
    labels, counted in the record. Cost: about twice fine-tuning's.

    Attributes:
        source: Source task; `auto` takes the task of the target's suite with most labels.
        weight: Share of the target at the first step.
        last: Share of the target at the last step of an ordinary fine-tuning.
    """

    source: str = "auto"
    weight: float = 0.7
    last: float = 1.0

    name = "hybrid"
    summary = "weight the target's loss and a source task's in every step"
    external_data = "labeled"

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Add the source to every phase."""
        found = offer.chosen(self.source, beside=True)
        streams = tuple(Stream(one.task, one.budget, one.setup) for one in found)
        return self._mixed(setup, streams) if streams else setup

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse the target itself, and a source that cannot be learned beside it."""
        return offer.refused(self.source, beside=True)


@dataclass(frozen=True)
class HybridText(_Weighted):
    """Minimise weight * L(target) + (1 - weight) * L(pre-training) in every step.

    The second loss is the pre-training objective of the model's family on unlabelled text, which keeps the model from
    forgetting; its weight is fixed or falls linearly. The text is packed, and each row masked once. What the target
    does not use of the model (an encoder-decoder's decoder, a masked model's output layer) moves with it, at the same
    rate; beside adapters it stays as it is. A sentence encoder lacks its output layer: it starts from random weights.

    Source: Chronopoulou et al. 2019, arXiv:1902.10547. Held equal: labels, steps, batch size, rates, head of the
    target. Adds: a batch of text in each step. Outside data: what the model was pre-trained on, and unlabelled text,
    counted in the record. Cost: fine-tuning's and as many steps of pre-training.

    Attributes:
        weight: Share of the target at the first step.
        last: Share of the target at the last step of an ordinary fine-tuning.
        corpus: `task` is the target's whole training side, `domain` the text of its domain.
        tokens: Tokens of text to draw from, about.
    """

    weight: float = 0.7
    last: float = 1.0
    corpus: str = "task"
    tokens: int = 500_000

    name = "hybrid-text"
    summary = "weight the target's loss and the pre-training objective's in every step"
    external_data = "unlabeled"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: a weight out of its range, another corpus, or no tokens.
        """
        super().__post_init__()
        if self.corpus not in ("task", "domain") or self.tokens < 1:
            raise ValueError("corpus is 'task' or 'domain', and tokens is at least 1")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Add the text to every phase."""
        corpus = self._found(offer)
        if offer.reading is None or corpus is None:
            return setup
        usual = offer.reading[0]
        text = TextStream(
            corpus, offer.corpora.get(corpus, {}), usual.objective, self.tokens, usual.length, usual.noise, usual.span
        )
        return self._mixed(setup, (text,))

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse tasks of whose domain no unlabelled text is known."""
        return None if self._found(offer) else "no unlabelled text of this task's domain is known here"

    def _found(self, offer: Offer) -> str | None:
        return "task" if self.corpus == "task" else next(iter(offer.corpora), None)
