"""Can matching the last turn's name, or what that name meant in training answers, beat api-dialogue?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tlbench import Span
from tlbench.corpora import sentences


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", text.lower())


def parameter(question: str) -> str:
    return question.split()[-2]


def spans(context: str) -> list[Span]:
    found, at = [], 0
    for sentence in sentences(context):
        at = context.index(sentence, at)
        found.append(Span(sentence, at))
    return found


def alike(name: str, sentence: str) -> int:
    return sum(other.startswith(word[:4]) for word in words(name) for other in words(sentence))


def matching(train: Sequence[Any], test: Sequence[Any]) -> list[Span]:
    """the sentence that shares most word beginnings with the name, else most words with the reply"""
    found = []
    for example in test:
        name, told = parameter(example.question), {*words(example.question)}
        found.append(max(spans(example.context), key=lambda span, name=name, told=told: (
            alike(name, span.text), len(told & {*words(span.text)}))))
    return found


def memory(train: Sequence[Any], test: Sequence[Any]) -> list[Span]:
    """the sentence with the rarest words of all training answers about parameters of that name"""
    often = Counter(word for example in train for word in {*words(example.context)})
    meant: defaultdict[str, set[str]] = defaultdict(set)
    for example in train:
        meant[parameter(example.question)] |= {*words(example.answers[0].text)}

    def weight(name: str, sentence: str) -> float:
        known = sum(1 / (10 + often[word]) for word in {*words(sentence)} if word in meant[name])
        return known + 0.02 * alike(name, sentence)

    names = [parameter(example.question) for example in test]
    return [max(spans(example.context), key=lambda span, name=name: weight(name, span.text))
            for name, example in zip(names, test, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("rule", [matching, memory])
def test_matching_does_not_solve_api_dialogue(beaten: Callable[..., float], rule: Callable[..., list[Span]]) -> None:
    assert beaten("api-dialogue", rule) > 0.2
