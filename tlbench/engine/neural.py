"""The neural learner: build a machine, train it phase by phase, predict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlbench.canonical import digest
from tlbench.data import CellData
from tlbench.engine.encoding import Encoded, Ragged
from tlbench.engine.families import Source
from tlbench.engine.fit import Fitted, Job, fit
from tlbench.engine.machine import Machine, build
from tlbench.engine.measure import Clock, numerics
from tlbench.engine.place import AgreedMemoryError, Place, out_of_memory
from tlbench.engine.precision import Precision
from tlbench.engine.predict import features, predict
from tlbench.grid import PROTOCOL, Cell, stream
from tlbench.kinds import kind_named
from tlbench.learned import Learned
from tlbench.setups import FixedSteps, Phase, Plateau, Random
from tlbench.stages.store import StageStore
from tlbench.task import Example

_SCHEDULES = {FixedSteps: "linear warm-up, linear to 0", Plateau: "linear warm-up, constant, linear to 0"}
LAST_STEP_BUDGET = 100
"""Up to this budget the validation part is too small to choose by: the last step is taken."""


@dataclass(frozen=True)
class Bench:
    """What the neural learner runs on.

    Attributes:
        place: Device and ranks.
        precision: Resolved precision.
        stages: Store of frozen features.
        clock: The cell's clock.
        progress: Called with the share of the work done.
    """

    place: Place
    precision: Precision
    stages: StageStore
    clock: Clock
    progress: Callable[[float], None]


def learn(cell: Cell, data: CellData, source: Source, bench: Bench) -> Learned:
    """Train and predict with the smallest number of micro-batches that fits into memory.

    Out of memory starts the cell again with half the micro-batch at the same effective batch; the record says
    which one was used. Among several ranks all start again, or none: the error must be one that all of them raise.
    """
    micro = math.ceil(cell.condition.setup.phases[0].recipe.batch_size / bench.place.world)
    while True:
        try:
            return _learn(cell, data, source, bench, micro)
        except (AgreedMemoryError, RuntimeError) as error:
            known = isinstance(error, AgreedMemoryError) or bench.place.world == 1
            if micro == 1 or not (known and out_of_memory(error)):
                raise
            micro = max(1, micro // 2)
        finally:
            bench.place.release()


def _learn(cell: Cell, data: CellData, source: Source, bench: Bench, micro: int) -> Learned:
    condition = cell.condition
    seeds = {purpose: stream(cell, purpose) for purpose in ("init", "head", "adapters", "order", "dropout")}
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    machine, encoded = bench.place.in_step(lambda: _prepared(cell, data, source, seeds, parts))
    counts = machine.counts()
    bench.clock.lap("prepare")
    phase = condition.setup.phases[0]
    # Features stand for the trunk only if no phase moves it.
    frozen = all(p.trainable == "head" for p in condition.setup.phases) and not isinstance(
        condition.setup.weights, Random
    )
    if frozen:
        bench.place.in_step(lambda: machine.to(bench.place.device))
        encoded = {name: _with_features(machine, parts[name], one, cell, bench) for name, one in encoded.items()}
    small = condition.budget != "full" and condition.budget <= LAST_STEP_BUDGET
    job = Job(
        encoded["train"],
        encoded["validation"],
        phase,
        small,
        seeds,
        bench.precision,
        micro,
        None if small else _scorer(cell, data, machine, encoded["validation"]),
        bench.progress,
    )
    fitted = _fit(machine, job, condition.setup.phases, bench.place)
    bench.clock.lap("train")
    validation = (
        predict(machine, data.validation, encoded["validation"], bench.precision, bench.place)
        if data.validation
        else []
    )
    test = predict(machine, data.test, encoded["test"], bench.precision, bench.place)
    bench.clock.lap("evaluate")
    training = {
        "optimizer": phase.recipe.optimizer,
        "batch_size": phase.recipe.batch_size,
        "micro_batch": micro,
        "schedule": _SCHEDULES[type(phase.stop)],
        **asdict(fitted),
    }
    model = {**counts, "init": "random" if isinstance(condition.setup.weights, Random) else "pretrained"}
    return Learned(validation, test, training, model, _flops(counts, fitted, encoded, frozen))


def _prepared(
    cell: Cell, data: CellData, source: Source, seeds: dict[str, int], parts: Mapping[str, tuple[Example, ...]]
) -> tuple[Machine, dict[str, Encoded]]:
    """Return the machine before training, and the encoded examples by part."""
    machine = build(source, cell.condition.setup, cell.condition.task.kind, data.task.labels, seeds)
    encoded = {name: machine.form.encode(part) for name, part in parts.items() if part}
    encoded.setdefault("validation", _nothing(encoded["train"]))
    return machine, encoded


def _scorer(
    cell: Cell, data: CellData, machine: Machine, validation: Encoded
) -> Callable[[Sequence[Any]], float] | None:
    """Return what scores the machine's raw output on the validation examples while it trains.

    `None` without examples, for regression (its loss is as good) and for generation (decoding costs too much).
    """
    task = cell.condition.task
    if not data.validation or task.kind in ("text-regression", "text-generation"):
        return None
    metric = kind_named(task.kind).metric(task.metric)

    def score(rows: Sequence[Any]) -> float:
        predictions = machine.form.decode(data.validation, validation, rows)
        return float(metric.score(metric.statistics(data.validation, predictions, data.task.all_labels))[0])

    return score


def _fit(machine: Machine, first: Job, phases: tuple[Phase, ...], place: Place) -> Fitted:
    """Train the phases one after the other and add up what they report."""
    total = Fitted()
    for number, phase in enumerate(phases):
        if number:
            machine.release(phase.trainable)
        seeds = {purpose: (seed + number) % 2**63 for purpose, seed in first.seeds.items()}
        fitted = fit(machine, replace(first, phase=phase, seeds=seeds), place)
        shifted = [{**point, "step": point["step"] + total.steps} for point in fitted.curve]
        total = replace(
            fitted,
            steps=total.steps + fitted.steps,
            best_step=total.steps + fitted.best_step,
            examples_seen=total.examples_seen + fitted.examples_seen,
            tokens_seen=total.tokens_seen + fitted.tokens_seen,
            seconds=total.seconds + fitted.seconds,
            curve=[*total.curve, *shifted],
        )
    return total


def _with_features(
    machine: Machine, examples: tuple[Example, ...], encoded: Encoded, cell: Cell, bench: Bench
) -> Encoded:
    """Return the encoded examples with frozen features from the stage store."""
    if not encoded.examples:
        return encoded
    condition = cell.condition
    assert condition.model is not None
    made_from = {
        "protocol": PROTOCOL,
        "model": condition.model,
        "kind": condition.task.kind,
        "precision": bench.precision,
        "numerics": numerics(bench.place, bench.precision)["class"],
        "tokens": digest(
            [
                encoded.tokens.flat.tolist(),
                encoded.tokens.starts.tolist(),
                {name: r.flat.tolist() for name, r in encoded.ragged.items() if name == "token_type_ids"},
            ]
        ),
    }

    def make() -> dict[str, np.ndarray[Any, Any]]:
        made = features(machine, encoded, bench.precision, bench.place)
        return {"flat": made.flat, "starts": made.starts}

    arrays = make() if bench.place.world > 1 else bench.stages.get_or_make("features", made_from, make)
    return replace(encoded, hidden=Ragged(arrays["flat"], np.asarray(arrays["starts"], dtype=np.int64)))


def _nothing(like: Encoded) -> Encoded:
    """Return an encoding of no examples."""
    return Encoded(Ragged.of([]), np.zeros(0, dtype=np.int64), 0, {name: Ragged.of([]) for name in like.ragged})


def _flops(counts: Mapping[str, int], fitted: Fitted, encoded: Mapping[str, Encoded], frozen: bool) -> float:
    """Return 2 operations per weight and token forward and 4 backward (Kaplan 2020); attention left out."""
    total, moving = counts["params_total"], counts["params_trainable"]
    seen_once = sum(float(part.tokens.lengths.sum()) for part in encoded.values())
    if frozen:
        return 2.0 * total * seen_once + 6.0 * moving * fitted.tokens_seen
    return (4.0 * total + 2.0 * moving) * fitted.tokens_seen + 2.0 * total * float(encoded["test"].tokens.lengths.sum())


def feature_root(cache: Path) -> StageStore:
    """Return the stage store inside the cache folder."""
    return StageStore(cache / "stages")
