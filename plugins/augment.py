"""Augmentation: altered copies of the training examples."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tlbench import Augment, Offer, Setup, Strategy


@dataclass(frozen=True)
class Augmentation(Strategy):
    """Train on the examples and on altered copies of them (EDA).

    Copies are made once, before training, from the cell's own training examples; validation and test stay as
    they are. `dropout` loses words, `swap` exchanges neighbours, `noise` misspells, `neighbour` puts a word that
    these very texts use alike, `mention` (tagging only) exchanges an entity for another of its type. Entities
    and answers are never edited otherwise. Each word is edited with the probability `share`; a copy that came out
    unchanged is drawn again. A Chinese, Japanese or Korean character is a word, too short for `noise`.

    Source: Wei and Zou 2019, arXiv:1901.11196. Held equal: labels, steps (so each example is seen less often), batch
    size, rates, head. Adds: the copies. Outside data: what the model was pre-trained on. Cost: that of fine-tuning.

    Attributes:
        methods: Methods, one a copy in turn.
        copies: Copies of each training example.
        share: Share of the words that a copy alters, at least one word wherever one can be.
    """

    methods: tuple[str, ...] = ("dropout", "swap", "noise")
    copies: int = 3
    share: float = 0.1

    name = "augment"
    version = 2
    summary = "train on altered copies of the examples too; steps unchanged"
    writes = frozenset({"augment"})

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: an unknown method, or a number out of its range.
        """
        known = ("dropout", "swap", "noise", "neighbour", "mention")
        wrong = [method for method in self.methods if method not in known]
        if wrong or not self.methods:
            raise ValueError(f"methods is {self.methods!r}: use some of {', '.join(known)}")
        if self.copies < 1 or not 0 < self.share < 1:
            raise ValueError("give 1 copy or more and a share between 0 and 1")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Declare the copies."""
        return replace(setup, augment=Augment(self.methods, self.copies, self.share))

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse the exchange of entities where there are none."""
        if "mention" in self.methods and offer.kind != "token-classification":
            return "augmentation by 'mention' exchanges entities, which only token classification has"
        return None
