"""What a source model's frozen features say of the target's labels, before the target is learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlbench import transferability
from tlbench.engine.bench import Bench
from tlbench.engine.forms import IGNORED, ClassificationForm, TaggingForm
from tlbench.engine.machine import Machine
from tlbench.engine.predict import features
from tlbench.task import Example

MOST = 1000
"""Training examples that are looked at: the first ones."""
WORDS = 2000
"""Words that are looked at for tagging: the first ones of these examples."""


def predictors(machine: Machine, examples: Sequence[Example], bench: Bench) -> dict[str, float]:
    """Return the predictors of transfer for a machine that has not been trained on the target yet.

    Args:
        machine: Its trunk holds the source's weights.
        examples: The target's training examples.
        bench: What it runs on.

    Returns:
        Nothing for questions and generation, whose answers are no labels of a vector, and where the source model
        is broken (it diverged, or says the same of everything).
    """
    form = machine.form
    if form.generates or not isinstance(form, ClassificationForm | TaggingForm):
        return {}
    encoded = bench.place.in_step(lambda: form.encode(examples[:MOST]))
    bench.place.in_step(lambda: machine.to(bench.place.device))
    vectors = features(machine, encoded, bench.precision, bench.place).flat
    labels = encoded.per_row["labels"] if form.pooled else encoded.ragged["labels"].flat
    return bench.place.in_step(lambda: _told(vectors, labels))


def _told(vectors: NDArray[np.generic], labels: NDArray[np.generic]) -> dict[str, float]:
    if labels.dtype.kind == "f":
        rows, numbers = vectors.astype(np.float64), labels.astype(np.float64)
        return transferability.of_numbers(rows, numbers) if _usable(rows) else {}
    known = np.flatnonzero(labels != IGNORED)[:WORDS]
    rows = vectors[known].astype(np.float64)
    return transferability.of_classes(rows, labels[known].astype(np.int64)) if _usable(rows) else {}


def _usable(rows: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(rows).all() and np.ptp(rows, axis=0).any()) if len(rows) else False
