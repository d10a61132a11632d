"""What a source model's frozen features say of the target's labels, before the target is learned."""

from __future__ import annotations

import numpy as np

from tlbench import transferability
from tlbench.engine.bench import Bench
from tlbench.engine.encoding import Encoded
from tlbench.engine.forms import IGNORED
from tlbench.engine.machine import Machine
from tlbench.engine.predict import features

MOST = 2000
"""Rows (texts, or words for tagging) that are looked at; the first ones."""


def predictors(machine: Machine, encoded: Encoded, own: int, bench: Bench) -> dict[str, float]:
    """Return the predictors of transfer for a machine that has not been trained on the target yet.

    Args:
        machine: Its trunk holds the source's weights.
        encoded: The target's training examples.
        own: How many of them are the cell's own; altered copies come after these.
        bench: What it runs on.

    Returns:
        Nothing for questions and generation, whose answers are no labels of a vector.
    """
    labels = encoded.per_row.get("labels")
    tags = encoded.ragged.get("labels")
    if machine.form.generates or (labels is None and tags is None):
        return {}
    rows = [row for row in range(len(encoded)) if encoded.owner[row] < own]
    bench.place.in_step(lambda: machine.to(bench.place.device))
    found = features(machine, encoded, bench.precision, bench.place)
    vectors = np.concatenate([found.row(row) for row in rows]).astype(np.float64)
    if labels is None:
        assert tags is not None
        labels = np.concatenate([tags.row(row) for row in rows])
    else:
        labels = labels[rows]
    if labels.dtype.kind == "f":
        return transferability.of_numbers(vectors[:MOST], labels[:MOST].astype(np.float64))
    known = labels != IGNORED
    return transferability.of_classes(vectors[known][:MOST], labels[known][:MOST].astype(np.int64))
