"""Teachers: trained on the cell's own labels, asked about its training examples, each computed once and shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tlbench.canonical import digest
from tlbench.data import CellData
from tlbench.engine.bench import Bench
from tlbench.engine.encoding import Encoded, Floats, Ragged
from tlbench.engine.forms import stacked
from tlbench.engine.predict import raw_rows
from tlbench.grid import Cell
from tlbench.stages.store import Arrays
from tlbench.task import Example, GenerationExample

Train = Callable[[Cell, int], Any]
"""Trains one teacher of a cell, by its number, and returns what `tlbench.engine.trained.train` does."""


@dataclass(frozen=True)
class Asked:
    """A teacher that was asked.

    Attributes:
        stage: Identity of what it said.
        seconds: What training and asking it cost when that was done.
        spent: What it cost this cell.
    """

    stage: str
    seconds: float
    spent: float


@dataclass(frozen=True)
class Lesson:
    """What the teachers of a cell say of its training examples.

    Attributes:
        soft: Softened outputs in task space, or `None` for generation.
        texts: Generated targets, for generation (sequence-level distillation, arXiv:1606.07947).
        teachers: Those who were asked, in order.
    """

    soft: tuple[Floats, ...] | None
    texts: tuple[str, ...] | None
    teachers: tuple[Asked, ...] = ()

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
    by_text = above.condition.task.kind == "text-generation"
    key = {
        "protocol": above.condition.protocol,
        "task": above.condition.task,
        "fingerprints": dict(data.task.fingerprints),
        "subset": data.fingerprint,
        "asked": digest(list(examples)),
        "copies": cell.condition.setup.augment,
        "model": above.condition.model,
        # All of the Teacher but what the student alone does with it.
        "teacher": replace(teacher, members=1, weight=0.0, temperature=1.0 if by_text else teacher.temperature),
        "budget": above.condition.budget,
        "replicate": cell.replicate,
        "numerics": bench.numerics,
    }
    said, teachers = list[Arrays](), list[Asked]()
    for member in range(1 if by_text else teacher.members):  # texts have no mean: the first teacher speaks
        own = {**key, "member": member}
        ask = partial(_asked, above, examples, train, bench, member, teacher.temperature)
        arrays, there = bench.stage("teacher", own, ask)
        stage, seconds = digest(own, 16), float(arrays["seconds"])
        said.append(arrays)
        teachers.append(Asked(stage, seconds, bench.charged(stage, 0.0 if there else seconds)))
    if by_text:
        return Lesson(None, tuple(str(text) for text in said[0]["texts"].tolist()), tuple(teachers))
    return Lesson(_mean(said), None, tuple(teachers))


def _asked(above: Cell, examples: Sequence[Example], train: Train, bench: Bench, member: int,
           temperature: float) -> Arrays:
    """Train one teacher and return what it says, with its seconds."""
    start = time.perf_counter()
    done = train(above, member)
    form = done.machine.form
    encoded = form.encode(examples)
    rows = raw_rows(done.machine, encoded, bench.precision, bench.place)
    said: dict[str, Any]
    if form.generates:
        said = {"texts": np.array(form.decode(examples, encoded, rows), dtype=np.str_)}
    else:
        made = stacked(form.taught(encoded, [form.soften(row, temperature) for row in rows]))
        said = {"flat": made.flat.astype(np.float32), "starts": made.starts}
    return {**said, "seconds": np.array(time.perf_counter() - start)}


def _mean(asked: Sequence[Arrays]) -> tuple[Floats, ...]:
    """Return the mean of what the teachers say of each example, float32 rows."""
    total = np.array(asked[0]["flat"], dtype=np.float32)
    for arrays in asked[1:]:
        total = total + np.asarray(arrays["flat"], dtype=np.float32)
    rows = Ragged(total / np.float32(len(asked)), np.asarray(asked[0]["starts"], dtype=np.int64))
    return tuple(np.asarray(rows.row(at), dtype=np.float32) for at in range(len(rows.lengths)))


def with_lesson(form: Any, encoded: Encoded, given: Lesson | None) -> Encoded:
    """Return the student's encoded training examples with what the teachers say of each."""
    if given is None or given.soft is None:
        return encoded
    taught: Encoded = form.learns(encoded, given.soft)
    return taught
