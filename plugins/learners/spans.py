"""The question answering of `linear`: a ridge ranker over candidate spans."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench import Example, LearnerModel, Prediction, QuestionExample, Span
from tlbench.words import UNSPACED, sentences

Array = NDArray[np.float64]
Indexes = NDArray[np.int64]

_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+|[^\w\s]|_")
_SUBWORD = re.compile(rf"[{UNSPACED}]|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_]+")
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
    thinning = 5  # one in five of the candidates that miss the answer is trained on

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
        for penalty in self.penalties if pools else (0.1,):
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

    def _best(self, pool: Candidates, weights: NDArray[np.floating[Any]]) -> int:
        width = pool.features.shape[1]
        own = weights[width * (1 + pool.asks):width * (2 + pool.asks)]
        return int((pool.features @ (weights[:width] + own)).argmax())

    def _count_words(self, examples: Sequence[QuestionExample]) -> None:
        """Count in how many training sentences each subword stands, and the commonest tokens."""
        contexts = sorted({example.context for example in examples})
        pieces = [context[start:end] for context in contexts for start, end in sentences(context)]
        counts = Counter(part for piece in pieces for part in set(_subwords(piece)))
        self.rarity = {part: float(np.log((1 + len(pieces)) / (1 + count))) for part, count in counts.items()}
        self.unseen = float(np.log(1 + len(pieces)))
        tokens = Counter(token.lower() for piece in pieces for token in _TOKEN.findall(piece))
        common = sorted(tokens, key=lambda token: (-tokens[token], token))[:24]
        self.common = {token: index for index, token in enumerate(common)}

    def _weigh(self, parts: set[str]) -> float:
        return sum(self.rarity.get(part, self.unseen) for part in sorted(parts))

    def _moments(self, examples: Sequence[QuestionExample]) -> tuple[Array, Array]:
        """Return X'X and X'y; each feature counts once for all questions, once for those of its kind."""
        pools = [self._candidates(example) for example in examples]
        width, blocks = pools[0].features.shape[1], 1 + len(_ASKS) + 1
        gram, moment = np.zeros((blocks, width, blocks, width)), np.zeros((blocks, width))
        for pool, example in zip(pools, examples, strict=True):
            gains = _f1(pool, example)
            kept = np.flatnonzero((gains > 0) | (np.arange(len(gains)) % self.thinning == 0))
            features, gains = pool.features[kept], gains[kept]
            features, gains = features - features.mean(axis=0), gains - gains.mean()
            inner, outer = features.T @ features / len(kept), features.T @ gains / len(kept)
            for row in (0, 1 + pool.asks):
                moment[row] += outer
                for column in (0, 1 + pool.asks):
                    gram[row, :, column] += inner
        return gram.reshape(blocks * width, -1), moment.ravel()

    def _candidates(self, example: QuestionExample) -> Candidates:
        """Return the candidates of all considered sentences; the empty span for an empty context."""
        question = set(_subwords(example.question))
        found = sentences(example.context)
        matches = self._matches(example.context, question, found)
        chosen = list(range(len(found)))
        if self.short:
            chosen = sorted(sorted(chosen, key=lambda at: (-matches[at, 0], at))[:self.best_sentences])
        parts = [self._spans(example.context, found[at], question, matches[at]) for at in chosen]
        starts, ends, features = (np.concatenate(column) for column in zip(*parts, strict=True))
        asked = f" {' '.join(_subwords(example.question))} "
        asks = next((index for index, words in enumerate(_ASKS) if f" {words} " in asked), len(_ASKS))
        return Candidates(starts, ends, features, asks)

    def _matches(
        self, context: str, question: set[str], sentences: Sequence[tuple[int, int]]
    ) -> Array:
        """Return what is known of each sentence as a whole, shape (sentences, 8)."""
        grams, total = _grams(question), max(self._weigh(question), 1e-9)
        rows = []
        for at, (start, end) in enumerate(sentences):
            parts = set(_subwords(context[start:end]))
            words = self._weigh(parts & question) / total
            letters = len(grams & _grams(parts)) / max(len(grams), 1)
            density = words / np.sqrt(1 + len(parts))
            rows.append([words, letters, density, float(at == 0), at / len(sentences)])
        table = np.array(rows)
        leaders = table[:, :2] == table[:, :2].max(axis=0)
        return np.hstack([table, leaders, np.roll(table[:, :1], 1, axis=0)])

    def _spans(
        self, context: str, sentence: tuple[int, int], question: set[str], match: Array
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
        before = sums[first] - sums[np.maximum(first - 4, 0)]
        behind = sums[np.minimum(last + 5, count)] - sums[last + 1]
        whole = ((first == 0) & (last >= count - 2)).astype(float)[:, None]
        edges = [self._edge(tokens, first - 1), self._edge(tokens, last + 1), self._edge(tokens, first)]
        features = np.hstack([np.repeat(match[None], len(first), axis=0), inside / size, inside[:, :3],
                              np.log(size), size == 1, whole, whole * match[:2], traits[first], traits[last],
                              before[:, 3:5], behind[:, 3:5], *edges])
        begins, stops = np.array([token[0] for token in tokens]), np.array([token[1] for token in tokens])
        return begins[first], stops[last], features

    def _pairs(self, tokens: Sequence[str]) -> tuple[Indexes, Indexes]:
        """Return first and last token of each candidate: n-grams or clauses, and the sentence."""
        count = len(tokens)
        pairs = {(0, count - 1), (0, max(count - 2, 0))}
        if self.short:
            wordy = [token.isalnum() or token in "$%\u00a3\u20ac\u00b0" for token in tokens]
            words = [at for at in range(count) if wordy[at]]
            pairs |= {(a, b) for a in words for b in words if a <= b < a + self.longest}
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
        outside = (at < 0) | (at >= len(rows))
        numbers = np.array([*rows, len(self.common) + 1])[np.where(outside, len(rows), at)]
        one_hot: Array = np.eye(len(self.common) + 2)[numbers]
        return one_hot


def _questions(examples: Sequence[Example]) -> list[QuestionExample]:
    return [example for example in examples if isinstance(example, QuestionExample)]


def _subwords(text: str) -> list[str]:
    return [part.lower() for part in _SUBWORD.findall(text)]


def _grams(parts: set[str]) -> set[str]:
    return {part[at:at + 4] for part in parts for at in range(max(len(part) - 3, 1))}


def _f1(pool: Candidates, example: QuestionExample) -> Array:
    """Return the F1 of the characters that candidate and best answer share, shape (candidates,)."""
    scores = [np.zeros(len(pool.starts))]
    for answer in example.answers:
        stop = answer.start + len(answer.text)
        shared = np.maximum(np.minimum(pool.ends, stop) - np.maximum(pool.starts, answer.start), 0)
        scores.append(2 * shared / np.maximum(pool.ends - pool.starts + len(answer.text), 1))
    best: Array = np.max(scores, axis=0)
    return best
