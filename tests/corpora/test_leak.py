"""No test text of any embedded task is known to anything that may train."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tlbench import DataSource, Splits, registry
from tlbench.corpora.documents import embedded
from tlbench.corpora.duplicates import near_duplicates, normalise

TASKS = ("api-topic", "api-entities", "api-qa", "api-summary", "ui-translation", "api-dialogue",
         "api-continuation")
MIN_WORDS = 6
"""Below, texts are phrases ("Fit the model.") that say nothing about an example."""


def texts(example: Any) -> Iterator[str]:
    """Yield the input of an example, and its target where that is a text of its own."""
    for field in ("text", "context", "source"):
        if hasattr(example, field):
            yield getattr(example, field)
    if hasattr(example, "words"):
        yield " ".join(example.words)
    yield from getattr(example, "targets", ())


@pytest.fixture(scope="module")
def splits() -> dict[str, Splits]:
    tasks = registry.load()
    return {name: tasks.task(name).load(DataSource()) for name in TASKS}


@pytest.fixture(scope="module")
def tested(splits: dict[str, Splits]) -> list[str]:
    found = {text for split in splits.values() for example in split.test for text in texts(example)}
    return sorted(text for text in found if len(text.split()) >= MIN_WORDS)


def known(training: list[str], tested: list[str]) -> list[tuple[str, str]]:
    """Return (training text, test text) of what is known: exact copies and near-duplicates."""
    exact = {normalise(text) for text in training} & {normalise(text) for text in tested}
    pairs = [(training[i], tested[j]) for i, j in near_duplicates(training, tested)]
    return [*((text, text) for text in exact), *pairs]


@pytest.mark.slow
def test_no_task_trains_on_a_test_text(splits: dict[str, Splits], tested: list[str]) -> None:
    training = {text for split in splits.values() for example in split.train for text in texts(example)}
    assert known(sorted(training), tested) == []


@pytest.mark.slow
def test_no_pre_training_text_holds_a_test_text(tested: list[str]) -> None:
    read = embedded(DataSource())
    documents = [*read.texts, *read.scarce]
    passages = [passage for document in documents for passage in re.split(r"\n\s*\n", document)]
    assert len(documents) > 30_000
    assert known(sorted({*documents, *passages}), tested) == []


@pytest.mark.slow
def test_no_documented_object_is_on_both_sides(splits: dict[str, Splits]) -> None:
    trained = {example.group for split in splits.values() for example in split.train}
    assert not trained & {example.group for split in splits.values() for example in split.test}
