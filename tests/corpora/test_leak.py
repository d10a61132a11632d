"""No test text of any embedded task is known to anything that may train."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tlbench_plugins

from tlbench import DataSource, Splits, registry
from tlbench.corpora.documents import embedded
from tlbench.corpora.duplicates import near_duplicates, normalise
from tlbench.corpora.signatures import signatures
from tlbench.published import FINGERPRINTS

TASKS = ("api-topic", "api-entities", "api-qa", "api-summary", "ui-translation", "api-dialogue",
         "api-continuation")
PACKAGED = sorted(path.parent for path in Path(tlbench_plugins.__file__).parent.glob("models/*/config.json"))
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
def test_no_interface_string_of_the_test_is_a_document_however_short(splits: dict[str, Splits]) -> None:
    read = embedded(DataSource())
    documents = {normalise(document) for document in (*read.texts, *read.scarce)}
    tested = {normalise(text) for example in splits["ui-translation"].test for text in texts(example)}
    assert len(tested) > 1000
    assert not tested & documents


@pytest.mark.slow
@pytest.mark.parametrize("model", PACKAGED)
def test_packaged_models_have_read_the_corpus_that_is_tested_here(model: Path) -> None:
    read = embedded(DataSource())
    found = {name: facts["fingerprint"] for name, facts in read.provenance.items()}
    if found != {"apidoc": FINGERPRINTS["apidoc"], "ui-strings": FINGERPRINTS["interface"]}:
        pytest.skip("other package versions than the published corpora's")
    facts = json.loads((model / "pretraining.json").read_text(encoding="utf-8"))
    assert facts["corpus"]["fingerprint"] == read.fingerprint
    training, _ = read.divide()
    known = np.load(model / "signatures.npy", allow_pickle=False)
    assert np.array_equal(known, signatures((*training.texts, *training.scarce)))


@pytest.mark.slow
def test_no_documented_object_is_on_both_sides(splits: dict[str, Splits]) -> None:
    trained = {example.group for split in splits.values() for example in split.train}
    assert not trained & {example.group for split in splits.values() for example in split.test}
