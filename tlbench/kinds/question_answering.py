"""Extractive question answering: a span of the context, scored by words as SQuAD does."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tlbench.kinds import degeneracy
from tlbench.kinds.base import Kind
from tlbench.kinds.reduction import MeanMetric
from tlbench.task import QuestionExample, Span

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """Return an answer in lower case without ASCII punctuation, English articles and extra white space.

    The normalisation of the SQuAD evaluation script (Rajpurkar et al. 2016, 1606.05250). Words are what white
    space separates, so a Chinese answer is one word: there, token F1 is nearly exact match.
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def token_f1(prediction: str, answer: str) -> float:
    """Return the F1 of normalised words; without words on both sides 1, on one side 0."""
    given, gold = normalised(prediction).split(), normalised(answer).split()
    if not given or not gold:
        return float(given == gold)
    same = sum((Counter(given) & Counter(gold)).values())
    return 2 * same / (len(given) + len(gold))


def exact_match(prediction: str, answer: str) -> float:
    """Return 1 if the normalised texts are equal, else 0."""
    return float(normalised(prediction) == normalised(answer))


class TokenF1(MeanMetric):
    """The mean over examples of the best token F1 among the accepted answers."""

    name = "token_f1"
    signature = "token_f1|norm:squad|answers:max|tlbench:1"

    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return the best token F1 of each example."""
        return [max(token_f1(p.text, answer.text) for answer in e.answers)
                for e, p in zip(examples, predictions, strict=True)]


class ExactMatch(MeanMetric):
    """The share of examples whose answer equals an accepted one after normalisation."""

    name = "exact_match"
    signature = "exact_match|norm:squad|answers:max|tlbench:1"

    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return 1 for each match, else 0."""
        return [max(exact_match(p.text, answer.text) for answer in e.answers)
                for e, p in zip(examples, predictions, strict=True)]


class QuestionAnswering(Kind):
    """A span of the context that answers the question. Predictions are `Span`s; an empty one is no answer."""

    name = "question-answering"
    example = QuestionExample
    metrics = (TokenF1(), ExactMatch())

    def check(self, example: Any) -> str | None:
        """Return what is wrong with an example: each answer must stand in the context where it says."""
        if not isinstance(example.question, str) or not isinstance(example.context, str):
            return "its question or its context is not a string"
        if not example.answers:
            return "it has no answer"
        for number, answer in enumerate(example.answers):
            if not answer.text.strip():
                return f"its answer {number} is empty"
            if answer.start < 0 or not example.context.startswith(answer.text, answer.start):
                return f"its answer {number} does not stand at offset {answer.start} of the context"
        return None

    def text(self, example: Any) -> str:
        """Return the question and, on the next line, the context."""
        return f"{example.question}\n{example.context}"

    def gold(self, example: Any) -> list[dict[str, Any]]:
        """Return the accepted answers."""
        return [self.to_json(answer) for answer in example.answers]

    def degenerate(self, predictions: Sequence[Any]) -> str | None:
        """Return whether nearly all answers are empty or identical."""
        return degeneracy.texts([prediction.text for prediction in predictions], "answer")

    def to_json(self, prediction: Any) -> dict[str, Any]:
        """Return text and start of a span."""
        return {"text": str(prediction.text), "start": int(prediction.start)}

    def from_json(self, value: Any) -> Span:
        """Return the span."""
        return Span(value["text"], value["start"])

    def report(
        self, examples: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return both scores, the share of empty answers, and mean lengths in words."""
        scores = {metric.name: metric.value(examples, predictions, labels) for metric in self.metrics}
        given = [len(prediction.text.split()) for prediction in predictions]
        gold = [len(example.answers[0].text.split()) for example in examples]
        return {
            "scores": scores,
            "examples": len(examples),
            "empty": sum(length == 0 for length in given) / len(given),
            "words": {"prediction": sum(given) / len(given), "reference": sum(gold) / len(gold)},
        }
