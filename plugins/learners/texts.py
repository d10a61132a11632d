"""The text learners of `linear`: classification, regression, nearest source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlbench import Example, GenerationExample, LearnerModel, Prediction, TextExample


class TextFeatures:
    """TF-IDF of words and of characters; texts without any feature get an empty row."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        word = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        char = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        self.vectorizers = [vectorizer for vectorizer in (word, char) if _fits(vectorizer, texts)]

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """Return one sparse matrix of shape (texts, features) per vectorizer, rows of length 1 or 0."""
        return [vectorizer.transform(texts) for vectorizer in self.vectorizers]


def _fits(vectorizer: Any, texts: Sequence[str]) -> bool:
    try:
        vectorizer.fit(texts)
    except ValueError:  # sklearn's answer to texts without a single word, as "" or "?!"
        return False
    return True


class PairFeatures:
    """Features of one text, or of a pair: |a-b|, a*b and dense similarities."""

    weight = 3.0  # the few similarities are penalised less than the many sparse features

    def __init__(self, examples: Sequence[TextExample]) -> None:
        self.text = TextFeatures([text for example in examples for text in _texts(example)])

    @property
    def empty(self) -> bool:
        """Whether no training text has a feature."""
        return not self.text.vectorizers

    def __call__(self, examples: Sequence[TextExample]) -> Any:
        """Return a sparse matrix of shape (examples, features)."""
        from scipy import sparse

        left = self.text([example.text for example in examples])
        if all(example.text_pair is None for example in examples):
            return sparse.hstack(left).tocsr()
        right = self.text([example.text_pair or "" for example in examples])
        products = [a.multiply(b) for a, b in zip(left, right, strict=True)]
        cosines = np.hstack([np.asarray(product.sum(axis=1)) for product in products])
        sizes = [[len(example.text), len(example.text_pair or "")] for example in examples]
        lengths = np.array(sizes, dtype=float)
        contrast = np.abs(lengths[:, :1] - lengths[:, 1:]) / np.maximum(lengths.sum(axis=1, keepdims=True), 1)
        dense = sparse.csr_matrix(self.weight * np.hstack([cosines, cosines**2, contrast]))
        gaps = [abs(a - b) for a, b in zip(left, right, strict=True)]
        return sparse.hstack([dense, *gaps, *products]).tocsr()


class Classifier(LearnerModel):
    """Logistic regression on TF-IDF; the only class, where training holds no other."""

    def __init__(self, costs: Sequence[float]) -> None:
        self.costs = costs
        self.model: Any = None

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Fit one model per cost and keep the one with the smallest validation loss."""
        from sklearn.linear_model import LogisticRegression

        examples, held_out = _text_examples(train), _text_examples(validation)
        labels = [str(example.label) for example in examples]
        counts = Counter(labels)
        self.majority = min(counts, key=lambda name: (-counts[name], name))
        self.features = self.featurize(examples)
        if len(counts) == 1 or self.features.empty:
            reason = "one class" if len(counts) == 1 else "no feature"
            return {"fallback": f"{reason} in training: always predicts {self.majority!r}"}
        matrix, inputs = self.features(examples), self.features(held_out) if held_out else None
        trials = []
        for cost in self.costs if held_out else (10.0,):
            model = LogisticRegression(C=cost, max_iter=500).fit(matrix, labels)
            trials.append((_log_loss(model, inputs, held_out), cost, model))
        loss, cost, self.model = min(trials, key=lambda trial: trial[:2])
        return {"cost": cost, "validation_loss": loss, "features": matrix.shape[1],
                "iterations": int(self.model.n_iter_.max())}

    def featurize(self, examples: Sequence[TextExample]) -> Any:
        """Return what makes features of texts: called with examples, it returns one row for each."""
        return PairFeatures(examples)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the most probable class of each text."""
        if self.model is None or not examples:
            return [self.majority] * len(examples)
        return [str(name) for name in self.model.predict(self.features(_text_examples(examples)))]


def _log_loss(model: Any, inputs: Any, examples: Sequence[TextExample]) -> float:
    """Return the mean negative log probability; a class that training lacks counts as probability 1e-6."""
    if not examples:
        return 0.0
    column = {name: index for index, name in enumerate(model.classes_)}
    rows = model.predict_proba(inputs)
    chances = [row[column[str(example.label)]] if str(example.label) in column else 0.0
               for row, example in zip(rows, examples, strict=True)]
    return float(-np.log(np.maximum(chances, 1e-6)).mean())


class Regressor(LearnerModel):
    """Ridge regression on TF-IDF; the mean, where no text has a feature."""

    def __init__(self, penalties: Sequence[float]) -> None:
        self.penalties = penalties
        self.model: Any = None

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Fit one model per penalty and keep the one with the smallest squared validation error."""
        from sklearn.linear_model import Ridge

        examples, held_out = _text_examples(train), _text_examples(validation)
        labels = np.array([float(example.label) for example in examples])
        self.mean = float(labels.mean())
        self.features = self.featurize(examples)
        if self.features.empty or np.ptp(labels) == 0:
            return {"fallback": f"nothing to learn in training: always predicts {self.mean:g}"}
        matrix, inputs = self.features(examples), self.features(held_out) if held_out else None
        gold = np.array([float(example.label) for example in held_out])
        trials = []
        for penalty in self.penalties if held_out else (3.0,):
            model = Ridge(alpha=penalty, solver="sparse_cg").fit(matrix, labels)
            error = float(((model.predict(inputs) - gold) ** 2).mean()) if held_out else 0.0
            trials.append((error, penalty, model))
        error, penalty, self.model = min(trials, key=lambda trial: trial[:2])
        return {"penalty": penalty, "validation_mse": error, "features": matrix.shape[1]}

    def featurize(self, examples: Sequence[TextExample]) -> Any:
        """Return what makes features of texts: called with examples, it returns one row for each."""
        return PairFeatures(examples)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one number per text."""
        if self.model is None or not examples:
            return [self.mean] * len(examples)
        return [float(value) for value in self.model.predict(self.features(_text_examples(examples)))]


def _text_examples(examples: Sequence[Example]) -> list[TextExample]:
    return [example for example in examples if isinstance(example, TextExample)]


def _texts(example: TextExample) -> list[str]:
    return [example.text] if example.text_pair is None else [example.text, example.text_pair]


class NearestSource(LearnerModel):
    """The first target of the training source that is nearest by the cosine of character TF-IDF."""

    block = 256

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Index the training sources."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        examples = [example for example in train if isinstance(example, GenerationExample)]
        self.targets = [example.targets[0] for example in examples]
        self.vectorizer: Any = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
        sources = [example.source for example in examples]
        if not _fits(self.vectorizer, sources):
            self.vectorizer = None
            return {"fallback": "no feature in training: always the first training target"}
        self.index = self.vectorizer.transform(sources)
        return {"sources": len(sources), "features": self.index.shape[1]}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one training target per source."""
        sources = [example.source for example in examples if isinstance(example, GenerationExample)]
        if self.vectorizer is None:
            return [self.targets[0]] * len(sources)
        nearest: list[int] = []
        for start in range(0, len(sources), self.block):
            rows = self.vectorizer.transform(sources[start:start + self.block])
            nearest.extend((rows @ self.index.T).toarray().argmax(axis=1).tolist())
        return [self.targets[row] for row in nearest]
