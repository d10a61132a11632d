"""Nearest centroid: a class is the mean of its texts' words."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tlbench import Example, Learner, LearnerModel, Offer, Prediction, Setup, Strategy, TextExample


@dataclass(frozen=True)
class NearestCentroid(Strategy):
    """Predict the class whose mean word vector has the largest cosine (Rocchio 1971; Han and Karypis 2000).

    Held equal: the labels, training only. Outside data: none. Cost: none worth measuring.

    Attributes:
        power: Exponent of a word's count; below 1 it damps repeated words.
    """

    power: float = 0.5

    name = "nearest-centroid"
    summary = "the class with the most similar mean word vector"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy and its settings as the learner."""
        return replace(setup, learner=Learner(self.name, asdict(self)))

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse all but classes."""
        if offer.kind == "text-classification":
            return None
        return f"nearest-centroid predicts classes, which {offer.kind} does not have"

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the learner; nothing is random, so the seed changes nothing."""
        return Centroids(config["power"])


class Centroids(LearnerModel):
    """One mean word vector per class."""

    def __init__(self, power: float) -> None:
        self.power = power
        self.centroids: dict[str, Counter[str]] = {}

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Add up the word vectors of each class, each scaled to length 1."""
        sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for example in train:
            assert isinstance(example, TextExample)
            sums[str(example.label)].update(self._vector(example))
        self.centroids = {label: _unit(sums[label]) for label in sorted(sums)}
        return {"classes": len(self.centroids)}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the nearest class of each text; ties go to the first name."""
        return [self._nearest(self._vector(example)) for example in examples]

    def _nearest(self, vector: Mapping[str, float]) -> str:
        def similarity(label: str) -> float:
            return sum(weight * self.centroids[label][word] for word, weight in vector.items())

        return max(self.centroids, key=similarity)

    def _vector(self, example: Any) -> Counter[str]:
        words = f"{example.text} {example.text_pair or ''}".lower().split()
        return _unit({word: count**self.power for word, count in Counter(words).items()})


def _unit(vector: Mapping[str, float]) -> Counter[str]:
    length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
    return Counter({word: value / length for word, value in vector.items()})
