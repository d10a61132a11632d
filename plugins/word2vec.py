"""Static word vectors: what was transferred before models were pre-trained."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from tlbench import Learner, LearnerModel, Offer, Reads, Setup, Strategy, UserError, added


@dataclass(frozen=True)
class Word2Vec(Strategy):
    """Train word vectors on the cell's own texts, and a linear model on them.

    Source: skip-gram with negative sampling (Mikolov et al. 2013, arXiv:1310.4546), by gensim. Words are in lower case.
    Texts are the mean of their words' vectors, pairs |a-b|, a*b and the cosine, a word to be tagged is itself and its
    two neighbours, all standardised; one with punctuation inside has no vector. Logistic or ridge regression, penalty
    by the validation examples. Questions and generation are unsupported.

    Held equal: the labels. Adds: nothing. Outside data: none, so it is a baseline. Cost: seconds on one core.

    Attributes:
        width: Size of a vector.
        window: Words looked at on each side.
        least: Occurrences below which a word has no vector.
        epochs: Passes over the text.
        costs: Inverse penalties tried by logistic regression.
        penalties: Penalties tried by ridge regression.
    """

    width: int = 100
    window: int = 5
    least: int = 1
    epochs: int = 20
    costs: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    penalties: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0)

    name = "word2vec"
    version = 3
    summary = "word vectors of the cell's own texts and a linear model on them"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not self.costs or not self.penalties:
            raise ValueError("costs and penalties must hold a number each")
        if min(*self.costs, *self.penalties) <= 0 or min(self.width, self.window, self.least, self.epochs) < 1:
            raise ValueError("costs and penalties must be above 0, width, window, least and epochs 1 or more")

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy and its settings as the learner."""
        config = {field.name: getattr(self, field.name) for field in fields(Word2Vec)}
        return replace(setup, learner=Learner(self.name, config))

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse what a mean of vectors cannot answer."""
        if offer.kind in ("question-answering", "text-generation"):
            return "word vectors alone can neither find an answer nor write a text"
        return None

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the learner of `kind`.

        Raises:
            UserError: gensim is not installed.
        """
        from .learners.threads import OneThread
        from .learners.vectors import Reader, Training, VectorClassifier, VectorRegressor, WindowTagger

        learners: dict[str, Callable[[], LearnerModel]] = {
            "text-classification": lambda: VectorClassifier(config["costs"]),
            "text-regression": lambda: VectorRegressor(config["penalties"]),
            "token-classification": lambda: WindowTagger(config["costs"]),
        }
        if importlib.util.find_spec("gensim") is None:
            raise UserError("strategy 'word2vec' trains its vectors with gensim: pip install 'tlbench[word2vec]'")
        training = Training(config["width"], config["window"], config["least"], config["epochs"], seed=1)
        return OneThread(Reader(learners[kind](), training))


@dataclass(frozen=True)
class Word2VecDomain(Word2Vec):
    """Train word vectors on unlabelled text of the domain, and a linear model on them for the task.

    Source: as `word2vec`, skip-gram with negative sampling (Mikolov et al. 2013, arXiv:1310.4546), but the vectors
    come from text beside the cell's own. They are computed once, kept in the cache, and shared by all tasks of the
    domain and all replicates, which narrows the spread over replicates; `redraw=True` trains them for each replicate.

    Held equal: the labels. Adds: the domain's text, counted in the record, and the training of its vectors. Outside
    data: unlabelled domain text. Cost: about 62 seconds on one core for the embedded text, once; then a cell's own
    second.

    Attributes:
        least: As in `word2vec`; here rarer words go.
        epochs: As in `word2vec`; here there is more text.
        redraw: Train vectors for each replicate, with a seed of its own.
    """

    least: int = 3
    epochs: int = 5
    redraw: bool = added(False)

    name = "word2vec-domain"
    summary = "word vectors of the domain's unlabelled text and a linear model on them"
    external_data = "unlabeled"
    transfers = True

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Let the learner read the domain's text."""
        setup = super().prepare(setup, offer)
        for name in offer.corpora:
            reads = Reads(name, offer.corpora[name])
            return replace(setup, learner=replace(setup.learner, reads=reads, shared=not self.redraw))
        return setup

    def unsupported(self, offer: Offer) -> str | None:
        """Refuse tasks of whose domain no unlabelled text is known."""
        if not len(offer.corpora):
            return "no unlabelled text of this task's domain is known here"
        return super().unsupported(offer)
