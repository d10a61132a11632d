"""Linear models on sparse features of the text: the strongest baselines that need no outside data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench import (
    Example,
    GenerationExample,
    Learner,
    LearnerModel,
    Offer,
    Prediction,
    QuestionExample,
    Setup,
    Span,
    Strategy,
    TextExample,
    TokenExample,
    UnsupportedError,
)

Array = NDArray[np.float64]
Indexes = NDArray[np.int64]
_FORBIDDEN = -1e9


@dataclass(frozen=True)
class Linear(Strategy):
    """Train a linear model on sparse features of the cell's own texts.

    - Classification: TF-IDF of words (1 to 2) and of characters (2 to 5, inside words), logistic regression
      (Wang and Manning 2012 is the classic case for such baselines). The cost is the one with the smallest
      validation loss.
    - Regression: the same features; for a pair |a-b|, a*b and the similarities of both texts; ridge regression,
      penalty by validation error.
    - Tagging: words, shapes, affixes and neighbours in an averaged structured perceptron with Viterbi decoding
      (Collins 2002, W02-1001) that can only produce legal IOB2; a bias against `O` by validation F1.
    - Question answering: a ridge ranker over candidate spans (Rajpurkar et al. 2016, 1606.05250, describe a
      like baseline). Sentences and clauses where training answers are long; word n-grams of the best-matching
      sentences where they are short (median of at most `longest` words). Penalty by validation F1.
    - Generation: the target of the nearest training source by TF-IDF of characters.

    Nothing is refitted on the validation labels. Held equal: the labels, training and validation. Outside data:
    none. Cost: seconds on one core.

    Attributes:
        costs: Inverse penalties tried by logistic regression.
        penalties: Penalties tried by the ridge regressions.
        epochs: Passes of the perceptron.
        biases: Biases against `O` tried after training.
        longest: Words of the longest n-gram answer.
    """

    costs: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    epochs: int = 8
    biases: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0, 12.0)
    longest: int = 8

    name = "linear"
    summary = "TF-IDF and linear models, a linear tagger, ranked answer spans, nearest source's target"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy and its settings as the learner."""
        config = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(setup, learner=Learner(self.name, config))

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the learner of `kind`; only the tagger is random (the order of its training sentences)."""
        learners: dict[str, Callable[[], LearnerModel]] = {
            "text-classification": lambda: Classifier(config["costs"]),
            "text-regression": lambda: Regressor(config["penalties"]),
            "token-classification": lambda: Tagger(config["epochs"], config["biases"], seed),
            "question-answering": lambda: SpanRanker(config["penalties"], config["longest"]),
            "text-generation": NearestSource,
        }
        if kind not in learners:
            raise UnsupportedError(f"strategy 'linear' has no learner for kind {kind!r}")
        return learners[kind]()


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
        lengths = np.array([[len(example.text), len(example.text_pair or "")] for example in examples], dtype=float)
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
        self.features = PairFeatures(examples)
        if len(counts) == 1 or self.features.empty:
            reason = "one class" if len(counts) == 1 else "no feature"
            return {"fallback": f"{reason} in training: always predicts {self.majority!r}"}
        matrix, inputs = self.features(examples), self.features(held_out) if held_out else None
        trials = []
        for cost in self.costs if held_out else (10.0,):
            model = LogisticRegression(C=cost, max_iter=500, tol=1e-3).fit(matrix, labels)
            trials.append((_log_loss(model, inputs, held_out), cost, model))
        loss, cost, self.model = min(trials, key=lambda trial: trial[:2])
        return {"cost": cost, "validation_loss": loss, "features": matrix.shape[1],
                "iterations": int(self.model.n_iter_.max())}

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
        self.features = PairFeatures(examples)
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
    """The first target of the training source with the largest cosine of character TF-IDF; the first of several."""

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


class Tagger(LearnerModel):
    """An averaged structured perceptron over sparse word features that decodes legal IOB2 only."""

    def __init__(self, epochs: int, biases: Sequence[float], seed: int) -> None:
        self.epochs, self.biases, self.seed = epochs, biases, seed
        self.bias = 0.0

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Train, then choose the bias against `O` by strict entity F1 on the validation examples."""
        examples, held_out = _token_examples(train), _token_examples(validation)
        self.tags = sorted({tag for example in examples for tag in example.tags if tag is not None} | {"O"})
        self.legal = _legal_transitions(self.tags)
        names = [word_features(example.words) for example in examples]
        counts = Counter(name for sentence in names for word in sentence for name in word)
        self.vocabulary = {name: row for row, name in enumerate(sorted(counts))}
        if self.tags == ["O"]:
            return {"fallback": "no entity in training: always predicts O"}
        self._train([self._encode(sentence) for sentence in names], [self._gold(example) for example in examples])
        scores = {bias: self._validation_f1(held_out, bias) for bias in self.biases} if held_out else {0.0: 0.0}
        self.bias = max(scores, key=lambda bias: (scores[bias], -bias))
        return {"bias": self.bias, "validation_f1": scores[self.bias], "features": len(self.vocabulary)}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one tag per word."""
        if self.tags == ["O"]:
            return [("O",) * len(example.words) for example in _token_examples(examples)]
        return [self._tag(self._encode(word_features(example.words)), self.bias)
                for example in _token_examples(examples)]

    def _encode(self, sentence: Sequence[Sequence[str]]) -> list[Indexes]:
        known = self.vocabulary
        return [np.array([known[name] for name in word if name in known], dtype=np.int64) for word in sentence]

    def _gold(self, example: TokenExample) -> list[int]:
        """Return tag numbers, -1 for a word without a gold tag."""
        column = {tag: index for index, tag in enumerate(self.tags)}
        return [-1 if tag is None else column[tag] for tag in example.tags]

    def _train(self, sentences: Sequence[list[Indexes]], gold: Sequence[list[int]]) -> None:
        """Average the weights over all updates by the usual trick: total - (updates weighted by time) / time."""
        size, rng, time = len(self.tags), np.random.default_rng(self.seed), 1
        self.emission = np.zeros((len(self.vocabulary), size))
        self.transition = np.zeros((size + 1, size))
        late_emission, late_transition = np.zeros_like(self.emission), np.zeros_like(self.transition)
        for _ in range(self.epochs):
            for index in rng.permutation(len(sentences)):
                words = sentences[index]
                guess = self._decode(words, 0.0)
                truth = [found if right < 0 else right for found, right in zip(guess, gold[index], strict=True)]
                if guess != truth:
                    for sign, tags in ((1.0, truth), (-1.0, guess)):
                        for word, (before, tag) in zip(words, pairwise([size, *tags]), strict=True):
                            self.emission[word, tag] += sign
                            late_emission[word, tag] += sign * time
                            self.transition[before, tag] += sign
                            late_transition[before, tag] += sign * time
                time += 1
        self.emission -= late_emission / time
        self.transition -= late_transition / time

    def _decode(self, words: Sequence[Indexes], bias: float) -> list[int]:
        """Return the best legal tag numbers (Viterbi); scores have shape (words, tags)."""
        if not words:
            return []
        scores = np.stack([self.emission[word].sum(axis=0) for word in words])
        scores[:, self.tags.index("O")] -= bias
        moves = self.transition + self.legal
        best, back = scores[0] + moves[-1], []
        for row in scores[1:]:
            paths = best[:, None] + moves[:-1]
            back.append(paths.argmax(axis=0))
            best = paths.max(axis=0) + row
        path = [int(best.argmax())]
        for pointers in reversed(back):
            path.append(int(pointers[path[-1]]))
        return path[::-1]

    def _tag(self, words: Sequence[Indexes], bias: float) -> tuple[str, ...]:
        return tuple(self.tags[number] for number in self._decode(words, bias))

    def _validation_f1(self, examples: Sequence[TokenExample], bias: float) -> float:
        hits = found = wanted = 0
        for example in examples:
            guess = self._tag(self._encode(word_features(example.words)), bias)
            scored = [tag if right is not None else "O" for tag, right in zip(guess, example.tags, strict=True)]
            left, right = _entities(scored), _entities([tag or "O" for tag in example.tags])
            hits, found, wanted = hits + len(left & right), found + len(left), wanted + len(right)
        return 2 * hits / (found + wanted) if hits else 0.0


def _token_examples(examples: Sequence[Example]) -> list[TokenExample]:
    return [example for example in examples if isinstance(example, TokenExample)]


def _legal_transitions(tags: Sequence[str]) -> Array:
    """Return 0 for legal and a large negative number for illegal moves, shape (tags + start, tags)."""
    table = np.zeros((len(tags) + 1, len(tags)))
    for column, tag in enumerate(tags):
        if tag.startswith("I-"):
            allowed = {f"B-{tag[2:]}", tag}
            table[[row for row, before in enumerate([*tags, "start"]) if before not in allowed], column] = _FORBIDDEN
    return table


def _entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Return (start, end, type) of each entity of legal IOB2 tags."""
    starts = [index for index, tag in enumerate(tags) if tag.startswith("B-")]
    entities = set()
    for start in starts:
        end = start + 1
        while end < len(tags) and tags[end] == f"I-{tags[start][2:]}":
            end += 1
        entities.add((start, end, tags[start][2:]))
    return entities


def _shape(word: str) -> str:
    kinds = ("X" if c.isupper() else "x" if c.islower() else "0" if c.isdigit() else c for c in word)
    return re.sub(r"(.)\1+", r"\1\1", "".join(kinds))[:12]


def word_features(words: Sequence[str]) -> list[list[str]]:
    """Return the names of the features of each word: itself, shape, affixes and two neighbours either side."""
    lower = ["^", "^", *(word.lower() for word in words), "$", "$"]
    shapes = ["^", "^", *(_shape(word) for word in words), "$", "$"]
    found = []
    for at, word in enumerate(lower[2:-2], start=2):
        names = ["always", f"word={word}", f"shape={shapes[at]}", f"shapes={shapes[at - 1]} {shapes[at]}",
                 f"shape-1={shapes[at - 1]}", f"shape+1={shapes[at + 1]}"]
        names += [f"{step:+d}={lower[at + step]}" for step in (-2, -1, 1, 2)]
        names += [f"start={word[:size]}" for size in range(1, min(5, len(word)))]
        names += [f"end={word[-size:]}" for size in range(1, min(5, len(word)))]
        found.append(names)
    return found


_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CHARACTERS}]|[^\W_{_CHARACTERS}]+|[^\w\s]|_")
_SUBWORD = re.compile(rf"[{_CHARACTERS}]|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_]+")
_STOP = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?![a-z])|(?<=[\u3002\uff01\uff1f])|\n+")
_CLAUSE = frozenset(",;:()\u2014\u2013\uff0c\uff1b\uff1a\u3001")
_ASKS = ("how many", "how much", "how", "who", "when", "where", "which", "why", "what")


@dataclass(frozen=True)
class Candidates:
    """Candidate spans of one question.

    Attributes:
        starts: First characters, shape (candidates,).
        ends: Characters behind the last, shape (candidates,).
        features: Float64 of shape (candidates, features).
        asks: Which kind of question word the question has.
    """

    starts: Indexes
    ends: Indexes
    features: Array
    asks: int


class SpanRanker(LearnerModel):
    """Ridge regression of a candidate's character F1 on its features, differences within a question only."""

    best_sentences = 4

    def __init__(self, penalties: Sequence[float], longest: int) -> None:
        self.penalties, self.longest = penalties, longest

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Fit all penalties and keep the one with the largest validation F1."""
        examples, held_out = _questions(train), _questions(validation)
        self._count_words(examples)
        sizes = [len(_TOKEN.findall(span.text)) for example in examples for span in example.answers[:1]]
        self.short = bool(sizes) and float(np.median(sizes)) <= self.longest
        gram, moment = self._moments(examples)
        pools = [self._candidates(example) for example in held_out]
        trials = []
        for penalty in self.penalties if pools else (3.0,):
            weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), moment)
            scores = [_f1(pool, example)[self._best(pool, weights)]
                      for pool, example in zip(pools, held_out, strict=True)]
            trials.append((-float(np.mean(scores)) if scores else 0.0, penalty, weights))
        loss, penalty, self.weights = min(trials, key=lambda trial: trial[:2])
        return {"candidates": "n-grams" if self.short else "sentences and clauses", "penalty": penalty,
                "validation_f1": -loss, "features": len(gram)}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the best candidate of each question."""
        return [self._answer(example) for example in _questions(examples)]

    def _answer(self, example: QuestionExample) -> Span:
        pool = self._candidates(example)
        best = self._best(pool, self.weights)
        return Span(example.context[pool.starts[best]:pool.ends[best]], int(pool.starts[best]))

    def _best(self, pool: Candidates, weights: Array) -> int:
        width = pool.features.shape[1]
        own = weights[width * (1 + pool.asks):width * (2 + pool.asks)]
        return int((pool.features @ (weights[:width] + own)).argmax())

    def _count_words(self, examples: Sequence[QuestionExample]) -> None:
        """Count in how many training sentences each subword stands, and the commonest tokens."""
        contexts = sorted({example.context for example in examples})
        pieces = [context[start:end] for context in contexts for start, end in _sentences(context)]
        counts = Counter(part for piece in pieces for part in set(_subwords(piece)))
        self.rarity = {part: float(np.log((1 + len(pieces)) / (1 + count))) for part, count in counts.items()}
        self.unseen = float(np.log(1 + len(pieces)))
        tokens = Counter(token.lower() for piece in pieces for token in _TOKEN.findall(piece))
        common = sorted(tokens, key=lambda token: (-tokens[token], token))[:40]
        self.common = {token: index for index, token in enumerate(common)}

    def _weigh(self, parts: set[str]) -> float:
        return sum(self.rarity.get(part, self.unseen) for part in sorted(parts))

    def _moments(self, examples: Sequence[QuestionExample]) -> tuple[Array, Array]:
        """Return X'X and X'y of all questions; a feature counts once for all and once for its question word."""
        blocks = 1 + len(_ASKS) + 1
        gram, moment, width = np.zeros((0, 0)), np.zeros(0), 0
        for example in examples:
            pool = self._candidates(example)
            if not width:
                width = pool.features.shape[1]
                gram, moment = np.zeros((blocks * width,) * 2), np.zeros(blocks * width)
            centred = pool.features - pool.features.mean(axis=0)
            gains = _f1(pool, example)
            inner, outer = centred.T @ centred / len(gains), centred.T @ (gains - gains.mean()) / len(gains)
            shared, own = slice(0, width), slice(width * (1 + pool.asks), width * (2 + pool.asks))
            for rows in (shared, own):
                moment[rows] += outer
                for columns in (shared, own):
                    gram[rows, columns] += inner
        return gram, moment

    def _candidates(self, example: QuestionExample) -> Candidates:
        """Return the candidates of all considered sentences; the empty span for an empty context."""
        question = set(_subwords(example.question))
        sentences = _sentences(example.context)
        matches = self._matches(example, question, sentences)
        chosen = range(len(sentences))
        if self.short:
            chosen = sorted(sorted(chosen, key=lambda at: (-matches[at, 0], at))[:self.best_sentences])
        parts = [self._spans(example.context, sentences[at], question, matches[at]) for at in chosen]
        starts, ends, features = (np.concatenate(column) for column in zip(*parts, strict=True))
        asked = example.question.lower()
        asks = next((index for index, words in enumerate(_ASKS) if words in asked), len(_ASKS))
        return Candidates(starts, ends, features, asks)

    def _matches(self, example: QuestionExample, question: set[str], sentences: Sequence[tuple[int, int]]) -> Array:
        """Return what is known of each sentence as a whole, shape (sentences, 8)."""
        grams, total = _grams(question), max(self._weigh(question), 1e-9)
        rows = []
        for at, (start, end) in enumerate(sentences):
            parts = set(_subwords(example.context[start:end]))
            words = self._weigh(parts & question) / total
            letters = len(grams & _grams(parts)) / max(len(grams), 1)
            rows.append([words, letters, words / np.sqrt(1 + len(parts)), float(at == 0), at / len(sentences)])
        table = np.array(rows)
        return np.hstack([table, table[:, :2] == table[:, :2].max(axis=0), np.roll(table[:, :1], 1, axis=0)])

    def _spans(self, context: str, sentence: tuple[int, int], question: set[str], match: Array
               ) -> tuple[Indexes, Indexes, Array]:
        """Return starts, ends and features of the candidates in one sentence."""
        tokens = [(hit.start() + sentence[0], hit.end() + sentence[0], hit.group())
                  for hit in _TOKEN.finditer(context[slice(*sentence)])]
        if not tokens:
            tokens = [(sentence[0], sentence[0], "")]
        first, last = self._pairs([token for _, _, token in tokens])
        traits = np.array([self._traits(token, question) for _, _, token in tokens])
        sums = np.vstack([np.zeros(traits.shape[1]), traits.cumsum(axis=0)])
        inside, size = sums[last + 1] - sums[first], (last - first + 1)[:, None]
        count = len(tokens)
        near = [sums[first] - sums[np.maximum(first - 4, 0)], sums[np.minimum(last + 5, count)] - sums[last + 1]]
        whole = ((first == 0) & (last >= count - 2)).astype(float)[:, None]
        edges = [self._edge(tokens, first - 1), self._edge(tokens, last + 1), self._edge(tokens, first)]
        features = np.hstack([np.repeat(match[None], len(first), axis=0), inside / size, inside[:, :3], np.log(size),
                              size == 1, whole, whole * match[:2], traits[first], traits[last],
                              *(part[:, 3:5] for part in near), *edges])
        begins, stops = np.array([token[0] for token in tokens]), np.array([token[1] for token in tokens])
        return begins[first], stops[last], features

    def _pairs(self, tokens: Sequence[str]) -> tuple[Indexes, Indexes]:
        """Return first and last token of each candidate: n-grams or clauses, and the sentence."""
        count = len(tokens)
        pairs = {(0, count - 1), (0, max(count - 2, 0))}
        if self.short:
            wordy = [token.isalnum() or token in "$%\u00a3\u20ac\u00b0" for token in tokens]
            pairs |= {(start, end) for start in range(count) for end in range(start, min(start + self.longest, count))
                      if wordy[start] and wordy[end]}
        else:
            cuts = [-1, *(at for at, token in enumerate(tokens) if token in _CLAUSE), count]
            pairs |= {(left + 1, right - 1) for left, right in pairwise(cuts) if right - left > 1}
        table = np.array(sorted(pairs))
        return table[:, 0], table[:, 1]

    def _traits(self, token: str, question: set[str]) -> list[float]:
        rarity = self.rarity.get(token.lower(), self.unseen) / self.unseen if self.unseen else 0.0
        asked = float(any(part in question for part in _subwords(token)))
        return [float(token[:1].isupper()), float(token[:1].isdigit()), float(not token.isalnum()), asked,
                asked * rarity, rarity, float(len(token) == 4 and token.isdigit())]

    def _edge(self, tokens: Sequence[tuple[int, int, str]], at: Indexes) -> Array:
        """Return which common token stands at each position, one-hot; the last column is "outside"."""
        rows = [self.common.get(token.lower(), len(self.common)) for _, _, token in tokens]
        numbers = np.array([*rows, len(self.common) + 1])[np.where((at < 0) | (at >= len(rows)), len(rows), at)]
        return np.eye(len(self.common) + 2)[numbers]


def _questions(examples: Sequence[Example]) -> list[QuestionExample]:
    return [example for example in examples if isinstance(example, QuestionExample)]


def _subwords(text: str) -> list[str]:
    return [part.lower() for part in _SUBWORD.findall(text)]


def _grams(parts: set[str]) -> set[str]:
    return {part[at:at + 4] for part in parts for at in range(max(len(part) - 3, 1))}


def _sentences(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence; the empty one for a text without any."""
    edges = [0, *(edge for match in _STOP.finditer(text) for edge in match.span()), len(text)]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if text[a:b].strip()] or [(0, 0)]


def _f1(pool: Candidates, example: QuestionExample) -> Array:
    """Return the F1 of the characters that candidate and best answer share, shape (candidates,)."""
    scores = [np.zeros(len(pool.starts))]
    for answer in example.answers:
        stop = answer.start + len(answer.text)
        shared = np.maximum(np.minimum(pool.ends, stop) - np.maximum(pool.starts, answer.start), 0)
        scores.append(2 * shared / np.maximum(pool.ends - pool.starts + len(answer.text), 1))
    return np.max(scores, axis=0)
