"""A toy corpus, and one tiny student per family."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tlbench.corpora.documents import Documents, documents_of
from tlbench.engine.place import Place
from tlbench.engine.pretraining.training import Bench, Job
from tlbench.recipes import default_pretraining
from tlbench.setups import Pretraining, Shape

FAMILIES = ("encoder", "decoder", "encoder-decoder")
WORDS = ("the", "a", "model", "reads", "text", "file", "every", "row", "table", "returns", "number", "of", "element",
         "list", "value", "key", "name")


@dataclass(frozen=True)
class Toys:
    """What the tests of pre-training share."""

    documents: Documents
    cache: Path
    place: Place

    def recipe(self, family: str, **given: Any) -> Pretraining:
        """Return a recipe of six steps."""
        usual = default_pretraining(family, "t5", goes_on=False)
        return replace(usual, **{"tokens": 6 * 4 * 48, "batch": 4, "length": 48, **given})

    def job(self, family: str, **given: Any) -> Job:
        """Return a job of six steps from a shape of one layer."""
        return Job(self.documents, Shape(family, 1, 16, 500, heads=2), self.recipe(family, **given))  # type: ignore[arg-type]

    def bench(self, name: str = "cache", **given: Any) -> Bench:
        """Return a bench with a cache folder of its own."""
        return Bench(self.place, "fp32", self.cache / name, **given)


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 20))) + f" {number}." for number in range(count)]


@pytest.fixture(scope="session")
def text() -> Callable[[int], list[str]]:
    return sentences


@pytest.fixture
def pretraining_toys(tmp_path: Path) -> Toys:
    return Toys(documents_of(sentences(120)), tmp_path, Place())
