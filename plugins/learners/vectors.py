"""The learners of `word2vec`: linear models on static word vectors."""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench import Example, LearnerModel, Prediction, Shared, Stages, TextExample, TokenExample, UserError, spaced
from tlbench.iob2 import legal

from .texts import Classifier, Regressor

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.generic]]
_LIBRARIES = ("gensim", "numpy", "scipy")
"""What computes vectors; gensim takes its linear algebra from scipy."""
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

    def __init__(self, words: Sequence[str], rows: NDArray[np.float32]) -> None:
        """Take words, the most frequent first, and their vectors, float32 of shape (words, width)."""
        self.width: int = rows.shape[1]
        self.rows: Mapping[str, Array] = dict(zip(words, rows.astype(np.float64), strict=True))

    @classmethod
    def trained(cls, texts: Sequence[str], training: Training) -> Vectors:
        """Train vectors on texts; one worker and a fixed hash, so that equal text gives equal vectors."""
        from gensim.models import Word2Vec

        sentences = [tokens(text) for text in texts]
        counts = Counter(word for sentence in sentences for word in sentence)
        if not any(count >= training.least for count in counts.values()):
            return cls((), np.zeros((0, training.width), np.float32))
        made = Word2Vec(
            sentences, vector_size=training.width, window=training.window, min_count=training.least, sg=1,
            negative=5, epochs=training.epochs, workers=1, seed=training.seed, hashfxn=_fixed_hash,
        )
        return cls(made.wv.index_to_key, made.wv.vectors)

    @classmethod
    def opened(cls, arrays: Arrays, width: int) -> Vectors:
        """Return the vectors that `arrays` laid out.

        Raises:
            KeyError, TypeError, ValueError: it did not lay out these, or they have another width.
        """
        text = arrays["words"].tobytes().decode("utf-8", "surrogatepass")
        words = text.split("\n") if text else []
        return cls(words, np.asarray(arrays["rows"], dtype=np.float32).reshape(len(words), width))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return `words`, UTF-8 bytes with a line break between two (no token holds one), and `rows`, float32."""
        words = "\n".join(self.rows).encode("utf-8", "surrogatepass")
        rows = np.array(list(self.rows.values()), dtype=np.float32).reshape(len(self.rows), self.width)
        return {"words": np.frombuffer(words, dtype=np.uint8), "rows": rows}

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


def _digest(texts: Sequence[str]) -> str:
    """Return the SHA-256 of texts, their borders and their order."""
    state = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()


class Reader(LearnerModel):
    """A learner on vectors of an unlabelled corpus or, without one, of the texts that it is fitted on."""

    stages: Stages

    def __init__(self, learner: Any, training: Training) -> None:
        self.learner, self.training = learner, training
        self.corpus: tuple[str, ...] = ()
        self.made: Shared | None = None

    def read(self, texts: Sequence[str]) -> None:
        """Take the corpus."""
        self.corpus = tuple(texts)

    def keep_in(self, stages: Stages) -> None:
        """Take what keeps the vectors of the corpus."""
        self.stages = stages

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Train vectors, unless they are there, and the model on them."""
        own = tuple(text for example in train for text in _texts(example))
        vectors = self._of_corpus() if self.corpus else Vectors.trained(own, self.training)
        self.learner.vectors = vectors
        return {"vectors": len(vectors.rows), **self.learner.fit(train, validation)}

    def shared(self) -> Shared | None:
        """Return the vectors of the corpus, if there is one."""
        return self.made

    def _of_corpus(self) -> Vectors:
        """Return the vectors of the corpus, from the cache if a cell of whatever process trained them before.

        Raises:
            UserError: what is there are other arrays.
        """
        training = replace(self.training, seed=self.training.seed + self.stages.draw)
        versions = {name: metadata.version(name) for name in _LIBRARIES}
        made_from = {"texts": _digest(self.corpus), "training": training, "versions": versions}
        start = time.perf_counter()
        arrays, there = self.stages.get_or_make(made_from, lambda: _timed(self.corpus, training))
        waited = time.perf_counter() - start  # next to nothing where they are there already, and nobody is making them
        try:
            vectors, seconds = Vectors.opened(arrays, training.width), float(arrays["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("the word vectors in the cache are damaged: delete its folder 'stages/learners', the next "
                            "run trains them again") from error
        self.made = Shared("unlabelled text of the domain", seconds, min(seconds, waited) if there else seconds)
        return vectors

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict with the model."""
        found: list[Prediction] = self.learner.predict(examples)
        return found


def _timed(texts: Sequence[str], training: Training) -> Arrays:
    """Return new vectors as arrays, with the seconds that they took."""
    start = time.perf_counter()
    arrays = Vectors.trained(texts, training).arrays()
    return {**arrays, "seconds": np.array(time.perf_counter() - start)}


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
