"""Linear models on sparse features of the text: the strongest baselines that need no outside data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from tlbench import Learner, LearnerModel, Offer, Setup, Strategy, UnsupportedError


@dataclass(frozen=True)
class Linear(Strategy):
    """Train a linear model on sparse features of the cell's own texts.

    - Classification: TF-IDF of words (1 to 2) and of characters (2 to 5, inside words), logistic regression. The cost
      is the one with the smallest validation loss.
    - Regression: the same features; for a pair |a-b|, a*b and the similarities of both texts; ridge
      regression, penalty by validation error. A pair's classes are told from the same features.
    - Tagging: words, shapes, affixes and neighbours in an averaged structured perceptron with Viterbi
      decoding that can only produce legal IOB2; a bias against `O` by validation F1.
    - Question answering: a ridge ranker over candidate spans. Sentences and clauses where training answers are long;
      word n-grams of the best-matching sentences where they are short (median of at most `longest` words). Penalty by
      validation F1.
    - Generation: the target of the nearest training source by TF-IDF of characters.

    Nothing is refitted on the validation labels.

    Source: Wang and Manning 2012, P12-2018, make the case for such baselines; Collins 2002, W02-1001, for tagging;
    Rajpurkar et al. 2016, arXiv:1606.05250, describe a ranker like that of answers. Held equal: the labels, training
    and validation. Adds: nothing. Outside data: none. Cost: seconds on one core.

    Attributes:
        costs: Inverse penalties tried by logistic regression.
        penalties: Penalties tried by ridge regression on texts.
        span_penalties: Penalties tried by the ranker of answer spans.
        epochs: Passes of the perceptron.
        biases: Biases against `O` tried after training.
        longest: Words of the longest n-gram answer.
    """

    costs: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    span_penalties: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    epochs: int = 8
    biases: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0, 12.0)
    longest: int = 8

    name = "linear"
    summary = "TF-IDF and linear models, a linear tagger, ranked answer spans, nearest source's target"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not all((self.costs, self.penalties, self.span_penalties, self.biases)):
            raise ValueError("costs, penalties, span_penalties and biases must hold a number each")
        if min(*self.costs, *self.penalties, *self.span_penalties) <= 0 or min(self.epochs, self.longest) < 1:
            raise ValueError("costs and penalties must be above 0, epochs and longest 1 or more")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy and its settings as the learner."""
        config = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(setup, learner=Learner(self.name, config))

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the learner of `kind`; only the tagger is random (the order of its training sentences)."""
        from .learners.spans import SpanRanker
        from .learners.tagger import Tagger
        from .learners.texts import Classifier, NearestSource, Regressor
        from .learners.threads import OneThread

        learners: dict[str, Callable[[], LearnerModel]] = {
            "text-classification": lambda: Classifier(config["costs"]),
            "text-regression": lambda: Regressor(config["penalties"]),
            "token-classification": lambda: Tagger(config["epochs"], config["biases"], seed),
            "question-answering": lambda: SpanRanker(config["span_penalties"], config["longest"]),
            "text-generation": NearestSource,
        }
        if kind not in learners:
            raise UnsupportedError(f"strategy 'linear' has no learner for kind {kind!r}")
        return OneThread(learners[kind]())
