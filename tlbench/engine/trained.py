"""A trained machine: build it, give it examples, train it phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from tlbench.data import CellData
from tlbench.engine.bench import Bench
from tlbench.engine.distillation import Lesson, with_lesson
from tlbench.engine.encoding import Encoded, Ragged
from tlbench.engine.families import Source
from tlbench.engine.fit import Fitted, Job, fit
from tlbench.engine.forms import Form, Frame
from tlbench.engine.frozen import frozen_phases, on_features
from tlbench.engine.machine import Machine, build
from tlbench.engine.place import Place
from tlbench.engine.predict import likelihoods, predict
from tlbench.engine.probe import predictors
from tlbench.engine.streams import Streams, without_idle_text
from tlbench.grid import Cell, stream
from tlbench.kinds import kind_of
from tlbench.kinds.likelihood import Likelihood
from tlbench.learned import Used
from tlbench.strategy import Prediction
from tlbench.task import Example
from tlbench.transforms import augmented

LAST_STEP_BUDGET = 100
"""Up to this budget the validation part is too small to choose by: the last step is taken."""


@dataclass(frozen=True)
class Trained:
    """A machine after its last phase.

    Attributes:
        machine: The machine, in eval mode.
        encoded: Its examples by part, with frozen features where a phase used them.
        fitted: What training reports.
        flops: Floating-point operations of training, estimated.
        counts: How many weights there are and how many of them moved in the last phase.
        features: Whether frozen features stand for the trunk to the end.
        kept: The stages that hold frozen features.
        copies: Altered copies among the training examples.
        beside: Tasks and text learned at the same time.
        texts: Unlabelled texts among them.
        predictors: What an upstream trunk's frozen features said of the training labels.
    """

    machine: Machine
    encoded: dict[str, Encoded]
    fitted: Fitted
    flops: float
    counts: dict[str, int]
    features: bool
    kept: tuple[Used, ...]
    copies: int
    beside: tuple[Used, ...]
    texts: frozenset[str]
    predictors: Mapping[str, float]

    def predict(self, name: str, examples: Sequence[Example], bench: Bench) -> list[Prediction]:
        """Return the predictions on one part, in task space; none for a part without examples."""
        if not examples:
            return []
        return predict(self.machine, examples, self._read(name), bench.precision, bench.place)

    def likelihoods(self, name: str, examples: Sequence[Example], bench: Bench) -> list[Likelihood]:
        """Return what a machine that generates states about the references of one part; nothing without examples."""
        if not examples:
            return []
        return likelihoods(self.machine, examples, self._read(name), bench.precision, bench.place)

    def _read(self, name: str) -> Encoded:
        """Return one part as the machine reads it now: its frozen features count only if none came after them."""
        encoded = self.encoded[name]
        return encoded if self.features else replace(encoded, hidden=None)


@dataclass(frozen=True)
class Before:
    """What lies before a training, beside the cell's own examples and model.

    Attributes:
        state: Weights of an upstream trunk to start from, or `None`.
        lesson: What teachers say of the training examples, or `None`.
        member: Number of a teacher, which has random streams of its own; `None` for the cell itself.
        probe: Ask the trunk, before it is trained, what it can tell of the training labels.
    """

    state: dict[str, torch.Tensor] | None = None
    lesson: Lesson | None = None
    member: int | None = None
    probe: bool = False


def train(
    cell: Cell, data: CellData, source: Source, bench: Bench, micro: int, before: Before | None = None
) -> Trained:
    """Build the machine of a cell and train it.

    Args:
        cell: The cell.
        data: Its examples.
        source: Its model.
        bench: What it runs on.
        micro: Examples that fit into memory at once.
        before: What it starts from and learns from besides.

    Raises:
        UserError: weights or tokenizer cannot be loaded, or do not fit.
    """
    before = before or Before()
    setup, kind, lesson = cell.condition.setup, cell.condition.task.kind, before.lesson
    seeds = seeds_of(cell, before.member)
    asked = data.train + copies(cell, data)
    parts = {"train": lesson.targets(asked) if lesson else asked, "validation": data.validation, "test": data.test}
    machine, encoded = bench.place.in_step(
        lambda: _prepared(build(source, setup, kind, data.task.labels, seeds, before.state), parts, lesson)
    )
    bench.clock.lap("prepare")
    told: Mapping[str, float] = {}
    if before.probe:
        told = predictors(machine, data.train, bench)
        bench.clock.lap("predictors")
    plain = _job(cell, data, machine, encoded, seeds)
    frozen = frozen_phases(setup)
    to_the_end = frozen == len(setup.phases)
    encoded, kept = on_features(machine, encoded, to_the_end, cell, bench) if frozen else (encoded, [])
    plain = replace(plain, precision=bench.precision, micro_batch=micro, progress=bench.progress)
    headed = replace(plain, train=encoded["train"], validation=encoded["validation"])
    streams = Streams(cell, data, source, bench, machine)
    phases = [without_idle_text(phase, machine.form.generates) for phase in setup.phases]
    jobs = bench.place.in_step(lambda: [
        replace(headed if i < frozen else plain, phase=phase, sides=streams.sides(phase))
        for i, phase in enumerate(phases)
    ])
    fitted, flops = _fit(machine, jobs, bench.place)
    extra = len(asked) - len(data.train)
    return Trained(
        machine, encoded, fitted, flops, machine.counts(), to_the_end, tuple(kept), extra, tuple(streams.used),
        streams.texts, told,
    )


def seeds_of(cell: Cell, member: int | None = None) -> dict[str, int]:
    """Return the seeds of a training's streams; each teacher has its own."""
    suffix = "" if member is None else f"|teacher {member}"
    return {purpose: stream(cell, purpose + suffix) for purpose in ("init", "head", "adapters", "order", "dropout")}


def _job(
    cell: Cell, data: CellData, machine: Machine, encoded: Mapping[str, Encoded], seeds: dict[str, int]
) -> Job:
    """Return the first phase's job, on tokens and in full precision."""
    phase = cell.condition.setup.phases[0]
    small = cell.condition.budget != "full" and cell.condition.budget <= LAST_STEP_BUDGET
    return Job(
        encoded["train"],
        encoded["validation"],
        phase,
        small,
        seeds,
        "fp32",
        phase.recipe.batch_size,
        None if small else _scorer(cell, data, machine, encoded["validation"]),
        counted=int((encoded["train"].owner < len(data.train)).sum()),
    )


def _prepared(
    machine: Machine, parts: Mapping[str, tuple[Example, ...]], given: Lesson | None
) -> tuple[Machine, dict[str, Encoded]]:
    """Return the machine and its encoded examples by part, the training ones with what teachers say."""
    machine.form = machine.form.fitted(parts["train"])
    encoded = {name: _encoded(type(machine.form), machine.form.frame, part) for name, part in parts.items() if part}
    encoded["train"] = with_lesson(machine.form, encoded["train"], given)
    encoded.setdefault("validation", _nothing(encoded["train"]))
    return machine, encoded


@lru_cache(maxsize=16)
def _encoded(form: type[Form], frame: Frame, examples: tuple[Example, ...]) -> Encoded:
    """Return the encoded examples; a warm process tokenizes what several cells share once."""
    return form(frame).encode(examples)


def _scorer(
    cell: Cell, data: CellData, machine: Machine, validation: Encoded
) -> Callable[[Sequence[Any]], float] | None:
    """Return what scores the machine's raw output on the validation examples while it trains.

    `None` without examples, for regression (its loss is as good) and for generation (decoding costs too much).
    """
    task = cell.condition.task
    if not data.validation or task.kind in ("text-regression", "text-generation"):
        return None
    metric = kind_of(task).metric(task.metric)

    def score(rows: Sequence[Any]) -> float:
        predictions = machine.form.decode(data.validation, validation, rows)
        return metric.value(data.validation, predictions, data.task.all_labels)

    return score


def copies(cell: Cell, data: CellData) -> tuple[Example, ...]:
    """Return the altered copies of the training examples that the Setup asks for."""
    wanted = cell.condition.setup.augment
    return augmented(data.train, cell.condition.task.kind, wanted, stream(cell, "augment")) if wanted else ()


def _fit(machine: Machine, jobs: Sequence[Job], place: Place) -> tuple[Fitted, float]:
    """Train phase after phase and return what they report together, and the floating-point operations of it.

    2 per weight and token forward and 4 backward (Kaplan 2020, arXiv:2001.08361), attention left out; on frozen
    features only the weights that move. What is learned beside counts with the weights that read it.
    """
    total, flops = Fitted(), 0.0
    for number, job in enumerate(jobs):
        if number:
            machine.release(job.phase.trainable)
        seeds = {purpose: (seed + number) % 2**63 for purpose, seed in job.seeds.items()}
        fitted = fit(machine, replace(job, seeds=seeds), place)
        weights = machine.counts()
        moving = weights["params_trainable"]
        each = 6.0 * moving if job.train.hidden is not None else 4.0 * weights["params_total"] + 2.0 * moving
        flops += each * (fitted.tokens_seen - sum(fitted.tokens_beside))
        for side, tokens in zip(job.sides, fitted.tokens_beside, strict=True):
            flops += 6.0 * sum(p.numel() for p in side.module.parameters()) * tokens
        shifted = [{**point, "step": point["step"] + total.steps} for point in fitted.curve]
        total = replace(
            fitted,
            steps=total.steps + fitted.steps,
            best_step=total.steps + fitted.best_step,
            examples_seen=total.examples_seen + fitted.examples_seen,
            tokens_seen=total.tokens_seen + fitted.tokens_seen,
            tokens_beside=[*total.tokens_beside, *fitted.tokens_beside],
            seconds=total.seconds + fitted.seconds,
            curve=[*total.curve, *shifted],
        )
    return total, flops


def _nothing(like: Encoded) -> Encoded:
    """Return an encoding of no examples."""
    return Encoded(Ragged.of([]), np.zeros(0, dtype=np.int64), 0, {name: Ragged.of([]) for name in like.ragged})
