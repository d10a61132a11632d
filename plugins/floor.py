"""Floor: what is scored without learning anything from the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from tlbench.words import UNSPACED, sentences

_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


@dataclass(frozen=True)
class Floor(Strategy):
    """Predict by the simplest rule of each kind, the level that any learner has to beat.

    Classes: the most frequent one. Numbers: the mean. Tags: no entity at all. Questions: the sentence that
    shares most words with the question. Generation: the first sentence, or the whole source, whichever
    overlaps more with the training targets (for one-sentence sources, as in translation, both are a copy of
    the source).

    Source: common practice; choosing a sentence by shared words is near to a baseline of Rajpurkar et al. 2016,
    arXiv:1606.05250, the first sentence to the lead of summarization (See et al. 2017, arXiv:1704.04368). Held equal:
    the training examples and the test. Adds: nothing. Outside data: none. Cost: none worth measuring.
    """

    name = "floor"
    summary = "majority class, mean, no entity, best-matching sentence, lead sentence or copy"
    uses_model = False
    transfers = False
    writes = frozenset({"learner"})

    def prepare(self, setup: Setup, offer: Offer) -> Setup:
        """Name this strategy as the learner."""
        return replace(setup, learner=Learner(self.name))

    def learner(self, config: Mapping[str, Any], kind: str, seed: int) -> LearnerModel:
        """Return the rule of `kind`; nothing is random, so the seed changes nothing."""
        rules: dict[str, Callable[[], LearnerModel]] = {
            "text-classification": MajorityClass,
            "text-regression": MeanLabel,
            "token-classification": NoEntity,
            "question-answering": SharedWords,
            "text-generation": LeadOrCopy,
        }
        if kind not in rules:
            raise UnsupportedError(f"strategy 'floor' has no rule for kind {kind!r}")
        return rules[kind]()


class MajorityClass(LearnerModel):
    """The most frequent class of the training examples; the alphabetically first of several."""

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Count the classes."""
        counts = Counter(str(example.label) for example in train if isinstance(example, TextExample))
        self.answer = min(counts, key=lambda name: (-counts[name], name))
        return {"rule": "majority class", "prediction": self.answer,
                "share": counts[self.answer] / counts.total()}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the class, once per example."""
        return [self.answer] * len(examples)


class MeanLabel(LearnerModel):
    """The mean of the training labels."""

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Average the labels."""
        labels = [float(example.label) for example in train if isinstance(example, TextExample)]
        self.answer = sum(labels) / len(labels)
        return {"rule": "mean", "prediction": self.answer}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the mean, once per example."""
        return [self.answer] * len(examples)


class NoEntity(LearnerModel):
    """The tag `O` for every word."""

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Learn nothing."""
        return {"rule": "no entity"}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one `O` per word."""
        return [("O",) * len(example.words) for example in examples if isinstance(example, TokenExample)]


class SharedWords(LearnerModel):
    """The sentence of the context that shares most words with the question; the first of several."""

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Learn nothing."""
        return {"rule": "sentence with most words in common with the question"}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one sentence as a span per question."""
        return [self._answer(example) for example in examples if isinstance(example, QuestionExample)]

    def _answer(self, example: QuestionExample) -> Span:
        question = set(words(example.question))
        return max(spans_of_sentences(example.context), key=lambda span: len(question & set(words(span.text))))


class LeadOrCopy(LearnerModel):
    """The first sentence of the source, or all of it: whichever overlaps more with the training targets."""

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> Mapping[str, Any]:
        """Compare both rules by mean word F1 with the first target; the first sentence wins a draw."""
        examples = [example for example in train if isinstance(example, GenerationExample)]
        pairs = [(example.source, example.targets[0]) for example in examples]
        lead = sum(overlap(spans_of_sentences(source)[0].text, target) for source, target in pairs)
        copy = sum(overlap(source, target) for source, target in pairs)
        self.copies = copy > lead
        return {"rule": "copy source" if self.copies else "lead sentence",
                "train_word_f1": {"lead": lead / len(pairs), "copy": copy / len(pairs)}}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one text per source."""
        sources = [example.source for example in examples if isinstance(example, GenerationExample)]
        return sources if self.copies else [spans_of_sentences(source)[0].text for source in sources]


def words(text: str) -> list[str]:
    """Return lower-case words; each Chinese, Japanese or Korean character is a word."""
    return _WORD.findall(text.lower())


def spans_of_sentences(text: str) -> list[Span]:
    """Return the sentences with their offsets, no white space around; one empty span for a text without any."""
    pieces = [(text[start:end], start) for start, end in sentences(text)]
    return [Span(piece.strip(), start + len(piece) - len(piece.lstrip())) for piece, start in pieces]


def overlap(candidate: str, reference: str) -> float:
    """Return the F1 of the words of two texts, counted with multiplicity; 0 if either has none."""
    left, right = Counter(words(candidate)), Counter(words(reference))
    shared = (left & right).total()
    return 2 * shared / (left.total() + right.total()) if shared else 0.0
