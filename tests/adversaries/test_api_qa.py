"""Can matching words, or a memory of what a parameter's name meant elsewhere, beat api-qa?"""

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
    return question.split()[4]


def spans(context: str) -> list[Span]:
    found, at = [], 0
    for sentence in sentences(context):
        at = context.index(sentence, at)
        found.append(Span(sentence, at))
    return found


def alike(name: str, sentence: str) -> int:
    return sum(other.startswith(word[:4]) for word in words(name) for other in words(sentence))


def matching(train: Sequence[Any], test: Sequence[Any]) -> list[Span]:
    """the sentence that shares the most word beginnings with the parameter's name"""
    names = [parameter(example.question) for example in test]
    return [max(spans(example.context), key=lambda span, name=name: alike(name, span.text))
            for name, example in zip(names, test, strict=True)]


def memory(train: Sequence[Any], test: Sequence[Any]) -> list[Span]:
    """the same, and the rare words of all training answers about parameters of that name"""
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
def test_matching_does_not_solve_api_qa(beaten: Callable[..., float], rule: Callable[..., list[Span]]) -> None:
    assert beaten("api-qa", rule) > 0.2
