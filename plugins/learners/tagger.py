"""The tagger of `linear`: an averaged structured perceptron."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlbench import Example, LearnerModel, Prediction, TokenExample
from tlbench.iob2 import entities

Array = NDArray[np.float64]
Indexes = NDArray[np.int64]
_FORBIDDEN = -1e9


class Tagger(LearnerModel):
    """An averaged structured perceptron over sparse word features that decodes legal IOB2 only.

    Training asks for a margin: each wrong tag gets a bonus of `margin` while it decodes. Where a sentence
    lacks gold tags, its best completion counts as gold.
    """

    margin = 1.0

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
        sentences = [self._encode(sentence) for sentence in names]
        self._train(sentences, [self._gold(example) for example in examples])
        biases = self.biases if held_out else (0.0,)
        tables = [self._scores(self._encode(word_features(example.words))) for example in held_out]
        scores = {bias: self._validation_f1(held_out, tables, bias) for bias in biases}
        self.bias = max(scores, key=lambda bias: (scores[bias], -bias))
        return {"bias": self.bias, "validation_f1": scores[self.bias], "features": len(self.vocabulary)}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one tag per word."""
        if self.tags == ["O"]:
            return [("O",) * len(example.words) for example in _token_examples(examples)]
        sentences = [self._encode(word_features(example.words)) for example in _token_examples(examples)]
        return [self._tag(self._scores(words), self.bias) for words in sentences]

    def _encode(self, sentence: Sequence[Sequence[str]]) -> list[Indexes]:
        rows = self.vocabulary
        return [np.array([rows[name] for name in word if name in rows], dtype=np.int64) for word in sentence]

    def _gold(self, example: TokenExample) -> list[int]:
        """Return tag numbers, -1 for a word without a gold tag."""
        column = {tag: index for index, tag in enumerate(self.tags)}
        return [-1 if tag is None else column[tag] for tag in example.tags]

    def _train(self, sentences: Sequence[list[Indexes]], gold: Sequence[list[int]]) -> None:
        """Learn weights averaged over time: their end value less the updates, weighted by when they came."""
        size, rng, time = len(self.tags), np.random.default_rng(self.seed), 1
        self.emission = np.zeros((len(self.vocabulary), size))
        self.transition = np.zeros((size + 1, size))
        late_emission, late_transition = np.zeros_like(self.emission), np.zeros_like(self.transition)
        for _ in range(self.epochs):
            for index in rng.permutation(len(sentences)):
                words = sentences[index]
                scores, wrong = self._scores(words), self._wrong(gold[index])
                guess = self._decode(scores + self.margin * wrong)
                truth = self._decode(scores + _FORBIDDEN * wrong)
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

    def _scores(self, words: Sequence[Indexes]) -> Array:
        """Return the score of each tag at each word, shape (words, tags)."""
        rows = [self.emission[word].sum(axis=0) for word in words]
        return np.array(rows).reshape(len(rows), len(self.tags))

    def _wrong(self, gold: Sequence[int]) -> Array:
        """Return 1 for each tag other than the gold one, 0 where there is none; shape (words, tags)."""
        tags = np.array(gold, dtype=np.int64)[:, None]
        wrong: Array = ((tags >= 0) & (tags != np.arange(len(self.tags)))).astype(float)
        return wrong

    def _decode(self, scores: Array) -> list[int]:
        """Return the best legal tag numbers for scores of shape (words, tags), by Viterbi."""
        if not len(scores):
            return []
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

    def _tag(self, scores: Array, bias: float) -> tuple[str, ...]:
        costs = bias * (np.array(self.tags) == "O")
        return tuple(self.tags[number] for number in self._decode(scores - costs))

    def _validation_f1(
        self, examples: Sequence[TokenExample], tables: Sequence[Array], bias: float
    ) -> float:
        hits = found = wanted = 0
        for example, scores in zip(examples, tables, strict=True):
            guess = self._tag(scores, bias)
            pairs = zip(guess, example.tags, strict=True)
            left = entities(["O" if truth is None else tag for tag, truth in pairs])
            right = entities([tag or "O" for tag in example.tags])
            hits, found, wanted = hits + len(left & right), found + len(left), wanted + len(right)
        return 2 * hits / (found + wanted) if hits else 0.0


def _token_examples(examples: Sequence[Example]) -> list[TokenExample]:
    return [example for example in examples if isinstance(example, TokenExample)]


def _legal_transitions(tags: Sequence[str]) -> Array:
    """Return 0 for legal and a large negative number for illegal moves, shape (tags + start, tags)."""
    table = np.zeros((len(tags) + 1, len(tags)))
    for column, tag in enumerate(tags):
        if tag.startswith("I-"):
            legal = {f"B-{tag[2:]}", tag}
            illegal = [row for row, before in enumerate([*tags, "start"]) if before not in legal]
            table[illegal, column] = _FORBIDDEN
    return table


def _shape(word: str) -> str:
    kinds = ("X" if c.isupper() else "x" if c.islower() else "0" if c.isdigit() else c for c in word)
    return re.sub(r"(.)\1+", r"\1\1", "".join(kinds))[:12]


def word_features(words: Sequence[str]) -> list[list[str]]:
    """Return the features of each word by name: itself, shape, affixes and two neighbours either side."""
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
