"""What `test_domain_vectors.py` runs in processes of its own: ask for the vectors of a corpus, write down what came."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gensim.models
from tlbench_plugins.learners.vectors import Reader, Training

from tlbench import Example, Prediction
from tlbench.stages.kept import Kept
from tlbench.stages.store import stage_store

CORPUS = [f"the {'cat' if i % 2 else 'dog'} of house {i % 7} eats and sleeps" for i in range(100)]
Word2Vec = gensim.models.Word2Vec


class Nothing:
    """A linear model that learns nothing: only its vectors matter here."""

    vectors: Any

    def fit(self, train: Sequence[Example], validation: Sequence[Example]) -> dict[str, Any]:
        """Report nothing."""
        return {}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Answer nothing."""
        return []


class Alone:
    """One process."""

    rank, world = 0, 1

    def gather(self, items: Sequence[Any]) -> list[Any]:
        """Return the items of the only rank."""
        return list(items)


def main(folder: str, name: str, others: str, seconds: str) -> None:
    """Say that this process is ready, wait until the others are, ask, and write `<folder>/<name>.json`.

    Training takes so many seconds more; a file `<name>.training` says that it began.
    """
    root, trained = Path(folder), list[int]()

    def slow(*given: Any, **named: Any) -> Any:
        trained.append(1)
        (root / f"{name}.training").touch()
        time.sleep(float(seconds))
        return Word2Vec(*given, **named)

    gensim.models.Word2Vec = slow
    learner = Nothing()
    reader = Reader(learner, Training(width=8, window=5, least=1, epochs=2, seed=1))
    reader.read(CORPUS)
    reader.keep_in(Kept(stage_store(root / "cache"), Alone(), {"learner": "word2vec-domain"}, 0))
    (root / f"{name}.ready").touch()
    while not all((root / f"{other}.ready").exists() for other in others.split()):
        time.sleep(0.01)
    reader.fit([], [])
    shared = reader.shared()
    assert shared is not None
    content = hashlib.sha256()
    for word, row in learner.vectors.rows.items():
        content.update(word.encode() + row.tobytes())
    found = {"trained": len(trained), "seconds": shared.seconds, "spent": shared.spent, "content": content.hexdigest()}
    (root / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
