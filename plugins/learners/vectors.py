"""The learners of `word2vec`: linear models on static word vectors."""

from __future__ import annotations

import re
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench import Example, LearnerModel, Prediction, Shared, TextExample, TokenExample, spaced
from tlbench.iob2 import legal

from .texts import Classifier, Regressor

Array = NDArray[np.float64]
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Training:
    """How vectors are trained: skip-gram with negative sampling (Mikolov et al. 2013, arXiv:1310.4546).

    Attributes:
        width: Size of a vector.
        window: Words looked at on each side.
        least: Occurrences below which a word has no vector.
        epochs: Passes over the text.
        seed: Seed of vectors and samples.
    """

    width: int
    window: int
    least: int
    epochs: int
    seed: int


class Vectors:
    """Word vectors; a word without one is a row of zeros."""

    def __init__(self, texts: Sequence[str], training: Training) -> None:
        """Train vectors on texts; one worker and a fixed hash, so that equal text gives equal vectors."""
        from gensim.models import Word2Vec

        sentences = [tokens(text) for text in texts]
        counts = Counter(word for sentence in sentences for word in sentence)
        self.width = training.width
        self.rows: Mapping[str, Array] = {}
        if any(count >= training.least for count in counts.values()):
            made = Word2Vec(
                sentences, vector_size=training.width, window=training.window, min_count=training.least, sg=1,
                negative=5, epochs=training.epochs, workers=1, seed=training.seed, hashfxn=_fixed_hash,
            )
            self.rows = {word: made.wv[word].astype(np.float64) for word in made.wv.index_to_key}

    def of(self, words: Sequence[str]) -> Array:
        """Return the vectors of words, (words, width)."""
        nothing = np.zeros(self.width)
        return np.array([self.rows.get(word.lower(), nothing) for word in words]).reshape(len(words), self.width)

    def mean(self, text: str) -> Array:
        """Return the mean vector of a text's known words, (width,); zeros without any."""
        found = [self.rows[word] for word in tokens(text) if word in self.rows]
        return np.mean(found, axis=0) if found else np.zeros(self.width)


def tokens(text: str) -> list[str]:
    """Return the words and punctuation marks of a text in lower case; a Chinese character is a word."""
    return _TOKEN.findall(spaced(text.lower()))


def _fixed_hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=2)
def of_corpus(texts: tuple[str, ...], training: Training) -> tuple[Vectors, float]:
    """Return the vectors of a corpus, trained once per process and shared by all cells, and their wall time."""
    start = time.perf_counter()
    return Vectors(texts, training), time.perf_counter() - start


class Reader(LearnerModel):
    """A learner on vectors of an unlabelled corpus or, without one, of the texts that it is fitted on."""

    def __init__(self, learner: Any, training: Training) -> None:
        self.learner, self.training = learner, training
        self.corpus: tuple[str, ...] = ()
        self.made: Shared | None = None

    def read(self, texts: Sequence[str]) -> None:
        """Take the corpus."""
        self.corpus = tuple(texts)

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Train vectors, unless they are there, and the model on them."""
        own = tuple(text for example in train for text in _texts(example))
        vectors = self._of_corpus() if self.corpus else Vectors(own, self.training)
        self.learner.vectors = vectors
        return {"vectors": len(vectors.rows), **self.learner.fit(train, validation)}

    def shared(self) -> Shared | None:
        """Return the vectors of the corpus, if there is one."""
        return self.made

    def _of_corpus(self) -> Vectors:
        start = time.perf_counter()
        vectors, seconds = of_corpus(self.corpus, self.training)
        waited = min(seconds, time.perf_counter() - start)  # next to nothing where they are there already
        self.made = Shared("unlabelled text of the domain", seconds, waited)
        return vectors

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict with the model."""
        found: list[Prediction] = self.learner.predict(examples)
        return found


def _texts(example: Example) -> list[str]:
    if isinstance(example, TextExample):
        return [example.text] if example.text_pair is None else [example.text, example.text_pair]
    return [" ".join(example.words)] if isinstance(example, TokenExample) else []


class MeanFeatures:
    """Mean vectors, standardised on the training texts; of a pair, |a-b|, a*b and their cosine."""

    def __init__(self, vectors: Vectors, examples: Sequence[TextExample]) -> None:
        """Fit the scale."""
        self.vectors = vectors
        raw = self._raw(examples)
        self.centre, spread = raw.mean(axis=0), raw.std(axis=0)
        self.scale = np.where(spread > 0, spread, 1.0)

    @property
    def empty(self) -> bool:
        """Whether no word has a vector."""
        return not self.vectors.rows

    def __call__(self, examples: Sequence[TextExample]) -> Array:
        """Return features of shape (examples, width), or (examples, 2 * width + 1) for pairs."""
        scaled: Array = (self._raw(examples) - self.centre) / self.scale
        return scaled

    def _raw(self, examples: Sequence[TextExample]) -> Array:
        left = np.stack([self.vectors.mean(example.text) for example in examples])
        if all(example.text_pair is None for example in examples):
            return left
        right = np.stack([self.vectors.mean(example.text_pair or "") for example in examples])
        sizes = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        cosine = (left * right).sum(axis=1) / np.maximum(sizes, 1e-12)
        return np.hstack([np.abs(left - right), left * right, cosine[:, None]])


class VectorClassifier(Classifier):
    """Logistic regression on mean vectors."""

    vectors: Vectors

    def featurize(self, examples: Sequence[TextExample]) -> Any:
        """Return what makes features of texts."""
        return MeanFeatures(self.vectors, examples)


class VectorRegressor(Regressor):
    """Ridge regression on mean vectors."""

    vectors: Vectors

    def featurize(self, examples: Sequence[TextExample]) -> Any:
        """Return what makes features of texts."""
        return MeanFeatures(self.vectors, examples)


class WindowTagger(LearnerModel):
    """Logistic regression on the standardised vectors of a word and its two neighbours.

    An `I-` without a beginning becomes `B-`.
    """

    vectors: Vectors

    def __init__(self, costs: Sequence[float]) -> None:
        self.costs = costs
        self.model: Any = None

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Fit with rising costs until the validation loss rises; untagged words are left out."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import log_loss
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        inputs, tags = self._tagged(train)
        if len(set(tags)) < 2 or not self.vectors.rows:
            return {"fallback": "nothing to tell apart in training: always predicts O"}
        held, gold = self._tagged([example for example in validation if isinstance(example, TokenExample)])
        trials = []
        for cost in sorted(self.costs) if gold else (1.0,):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=cost, max_iter=1000)).fit(inputs, tags)
            known = [i for i, tag in enumerate(gold) if tag in model.classes_]
            chances = model.predict_proba(held[known]) if known else None
            loss = 0.0 if chances is None else log_loss([gold[i] for i in known], chances, labels=model.classes_)
            trials.append((float(loss), cost, model))
            if loss > trials[-2:][0][0]:  # weaker penalties only overfit further, and take ever longer
                break
        loss, cost, self.model = min(trials, key=lambda trial: trial[:2])
        return {"cost": cost, "validation_loss": loss, "features": inputs.shape[1],
                "iterations": int(self.model[-1].n_iter_.max())}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one tag per word."""
        return [self._tags(example.words) for example in examples if isinstance(example, TokenExample)]

    def _tags(self, words: Sequence[str]) -> tuple[str, ...]:
        if self.model is None or not words:
            return ("O",) * len(words)
        return legal([str(tag) for tag in self.model.predict(self._windows(words))])

    def _tagged(self, examples: Sequence[Example]) -> tuple[Array, list[str]]:
        rows, tags = [np.zeros((0, 3 * self.vectors.width))], []
        for example in examples:
            if isinstance(example, TokenExample) and example.words:
                kept = [i for i, tag in enumerate(example.tags) if tag is not None]
                rows.append(self._windows(example.words)[kept])
                tags += [str(example.tags[i]) for i in kept]
        return np.concatenate(rows), tags

    def _windows(self, words: Sequence[str]) -> Array:
        """Return the vectors of each word's left neighbour, of itself and of its right neighbour, side by side."""
        own = self.vectors.of(words)
        edge = np.zeros((1, self.vectors.width))
        return np.hstack([np.concatenate([edge, own[:-1]]), own, np.concatenate([own[1:], edge])])
