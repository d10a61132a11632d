"""Extractive question answering: a span of the context, scored by words as SQuAD does, or by characters."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlbench.kinds import degeneracy
from tlbench.kinds.base import Kind
from tlbench.kinds.reduction import MeanMetric
from tlbench.task import QuestionExample, Span
from tlbench.words import spaced

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """Return an answer in lower case without ASCII punctuation, English articles and extra white space.

    The normalisation of the SQuAD evaluation script (Rajpurkar et al. 2016, 1606.05250). Words are what white
    space separates, so a Chinese answer would be one word (see `characters`).
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def characters(answer: str) -> str:
    """Return an answer in lower case without punctuation, with white space around each unspaced character.

    The normalisation for Chinese of the MLQA evaluation script (Lewis et al. 2020, 1910.07475): punctuation of any
    script goes, no article does, and each Chinese character is a word. Beyond that script, so is each kana (and each
    character of `tlbench.words.UNSPACED`). Chinese and Japanese texts in Latin letters keep their words. CMRC 2018
    (1810.07366) takes the same characters, but counts their longest common run instead of all that are shared.
    """
    kept = (c for c in answer.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    return " ".join(spaced("".join(kept)).split())


def token_f1(prediction: str, answer: str, normal: Callable[[str], str] = normalised) -> float:
    """Return the F1 of the words of normalised texts; without words on both sides 1, on one side 0."""
    given, gold = normal(prediction).split(), normal(answer).split()
    if not given or not gold:
        return float(given == gold)
    same = sum((Counter(given) & Counter(gold)).values())
    return 2 * same / (len(given) + len(gold))


def exact_match(prediction: str, answer: str, normal: Callable[[str], str] = normalised) -> float:
    """Return 1 if the normalised texts are equal, else 0."""
    return float(normal(prediction) == normal(answer))


class TokenF1(MeanMetric):
    """The mean over examples of the best token F1 among the accepted answers."""

    name = "token_f1"
    signature = "token_f1|norm:squad|answers:max|tlbench:1"

    def normal(self, answer: str) -> str:
        """Return an answer whose words are compared."""
        return normalised(answer)

    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return the best token F1 of each example."""
        return [max(token_f1(p.text, answer.text, self.normal) for answer in e.answers)
                for e, p in zip(examples, predictions, strict=True)]


class CharacterF1(TokenF1):
    """Token F1 of Chinese and Japanese: each of their characters is a token."""

    signature = "token_f1|norm:mlqa-zh,kana too|answers:max|tlbench:1"

    def normal(self, answer: str) -> str:
        """Return an answer whose characters are compared."""
        return characters(answer)


class ExactMatch(MeanMetric):
    """The share of examples whose answer equals an accepted one after normalisation."""

    name = "exact_match"
    signature = "exact_match|norm:squad|answers:max|tlbench:1"

    def normal(self, answer: str) -> str:
        """Return an answer as it is compared."""
        return normalised(answer)

    def values(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[float]:
        """Return 1 for each match, else 0."""
        return [max(exact_match(p.text, answer.text, self.normal) for answer in e.answers)
                for e, p in zip(examples, predictions, strict=True)]


class CharacterMatch(ExactMatch):
    """Exact match of Chinese and Japanese, in which their punctuation does not count."""

    signature = "exact_match|norm:mlqa-zh,kana too|answers:max|tlbench:1"

    def normal(self, answer: str) -> str:
        """Return an answer as it is compared."""
        return characters(answer)


class QuestionAnswering(Kind):
    """A span of the context that answers the question. Predictions are `Span`s; an empty one is no answer."""

    name = "question-answering"
    example = QuestionExample
    metrics = (TokenF1(), ExactMatch())

    def spoken(self, language: str) -> Kind:
        """Return the kind whose tokens are those of a language's script."""
        return UnspacedQuestionAnswering() if language.lower().partition("-")[0] in ("zh", "ja") else self

    def words(self, text: str) -> list[str]:
        """Return the words of a text, whose numbers are reported."""
        return text.split()

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
        given = [len(self.words(prediction.text)) for prediction in predictions]
        gold = [len(self.words(example.answers[0].text)) for example in examples]
        return {
            "scores": scores,
            "examples": len(examples),
            "empty": sum(length == 0 for length in given) / len(given),
            "words": {"prediction": sum(given) / len(given), "reference": sum(gold) / len(gold)},
        }


class UnspacedQuestionAnswering(QuestionAnswering):
    """Question answering in Chinese or Japanese, whose answers are compared character by character."""

    metrics = (CharacterF1(), CharacterMatch())

    def words(self, text: str) -> list[str]:
        """Return the words of a text; each unspaced character is one."""
        return spaced(text).split()
