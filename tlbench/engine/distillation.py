"""Teachers: trained on the cell's own labels, asked about its training examples, computed once and shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlbench.canonical import digest
from tlbench.data import CellData
from tlbench.engine.bench import Bench
from tlbench.engine.encoding import Encoded, Floats, Ragged
from tlbench.engine.forms import stacked
from tlbench.engine.predict import raw_rows
from tlbench.grid import Cell
from tlbench.setups import Teacher
from tlbench.stages.store import Arrays
from tlbench.task import Example, GenerationExample

Train = Callable[[Cell, int], Any]
"""Trains one teacher of a cell, by its number, and returns what `tlbench.engine.trained.train` does."""


@dataclass(frozen=True)
class Lesson:
    """What the teachers of a cell say of its training examples.

    Attributes:
        stage: Identity of the stage's content.
        soft: Softened outputs in task space, or `None` for generation.
        texts: Generated targets, for generation (sequence-level distillation, arXiv:1606.07947).
        seconds: What teaching cost when it was computed.
        spent: What it cost this cell.
    """

    stage: str
    soft: tuple[Floats, ...] | None
    texts: tuple[str, ...] | None
    seconds: float
    spent: float

    def targets(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Return the examples with the teachers' texts for targets where these teach by text."""
        if self.texts is None:
            return tuple(examples)
        pairs = zip(examples, self.texts, strict=True)
        return tuple(
            replace(e, targets=(text,)) if isinstance(e, GenerationExample) and text else e for e, text in pairs
        )


def teacher_cell(cell: Cell) -> Cell:
    """Return the cell of a student's teachers: the same labels, the teachers' model and Setup."""
    teacher = cell.condition.setup.teacher
    assert teacher is not None
    model = teacher.model or cell.condition.model
    return replace(cell, condition=replace(cell.condition, model=model, setup=teacher.setup))


def lesson(cell: Cell, data: CellData, examples: Sequence[Example], train: Train, bench: Bench) -> Lesson:
    """Return what the teachers say of the training examples, from the store if they were asked before.

    Args:
        cell: The student's cell.
        data: Its examples; teachers see exactly these labels.
        examples: What they are asked about: the training examples and their altered copies.
        train: Trains one teacher.
        bench: What it runs on.
    """
    teacher = cell.condition.setup.teacher
    assert teacher is not None
    above = teacher_cell(cell)
    key = {
        "protocol": above.condition.protocol,
        "task": above.condition.task,
        "fingerprints": dict(data.task.fingerprints),
        "subset": data.fingerprint,
        "asked": digest(list(examples)),
        "copies": cell.condition.setup.augment,
        "model": above.condition.model,
        "teacher": _speaking(teacher, above.condition.task.kind),
        "budget": above.condition.budget,
        "replicate": cell.replicate,
        "numerics": bench.numerics,
    }
    arrays, there = bench.stage("teachers", key, lambda: _asked(above, examples, train, bench, teacher.members,
                                                               teacher.temperature))
    seconds = float(arrays["seconds"])
    texts = tuple(str(text) for text in arrays["texts"].tolist()) if "texts" in arrays else None
    soft = None
    if texts is None:
        rows = Ragged(np.array(arrays["flat"]), np.asarray(arrays["starts"], dtype=np.int64))
        soft = tuple(np.asarray(rows.row(i), dtype=np.float32) for i in range(len(rows.lengths)))
    return Lesson(digest(key, 16), soft, texts, seconds, 0.0 if there else seconds)


def _speaking(teacher: Teacher, kind: str) -> Teacher:
    """Return a teacher with the settings that do not change what it says set to fixed values."""
    return replace(teacher, weight=0.0, temperature=1.0 if kind == "text-generation" else teacher.temperature)


def _asked(
    above: Cell, examples: Sequence[Example], train: Train, bench: Bench, members: int, temperature: float
) -> Arrays:
    """Train the teachers one after the other and return the mean of what they say."""
    start = time.perf_counter()
    total: list[Floats] = []
    for member in range(members):
        done = train(above, member)
        form = done.machine.form
        encoded = form.encode(examples)
        rows = raw_rows(done.machine, encoded, bench.precision, bench.place)
        if form.generates:  # texts have no mean: the first teacher speaks
            said = form.decode(examples, encoded, rows)
            return {"texts": np.array(said, dtype=np.str_), "seconds": np.array(time.perf_counter() - start)}
        taught = form.taught(encoded, [form.soften(row, temperature) for row in rows])
        total = taught if not total else [a + b for a, b in zip(total, taught, strict=True)]
    made = stacked([row / np.float32(members) for row in total])
    return {
        "flat": made.flat.astype(np.float32), "starts": made.starts, "seconds": np.array(time.perf_counter() - start)
    }


def with_lesson(form: Any, encoded: Encoded, given: Lesson | None) -> Encoded:
    """Return the student's encoded training examples with what the teachers say of each."""
    if given is None or given.soft is None:
        return encoded
    taught: Encoded = form.learns(encoded, given.soft)
    return taught
