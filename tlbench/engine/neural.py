"""The neural learner: build a machine, train it phase by phase, predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlbench.canonical import digest
from tlbench.data import CellData
from tlbench.engine.encoding import Encoded, Ragged
from tlbench.engine.families import Source
from tlbench.engine.fit import Fitted, Job, fit
from tlbench.engine.machine import Machine, build
from tlbench.engine.measure import Clock, numerics
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision
from tlbench.engine.predict import features, predict
from tlbench.grid import PROTOCOL, Cell, stream
from tlbench.kinds import kind_named
from tlbench.learned import Learned
from tlbench.setups import FixedSteps, Plateau, Random, Setup
from tlbench.stages.store import StageStore
from tlbench.task import Example
from tlbench.transforms import augmented

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
    which one was used.
    """
    micro = cell.condition.setup.phases[0].recipe.batch_size
    while True:
        try:
            return _learn(cell, data, source, bench, micro)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error) or micro == 1:
                raise
            micro = max(1, micro // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _learn(cell: Cell, data: CellData, source: Source, bench: Bench, micro: int) -> Learned:
    setup, kind = cell.condition.setup, cell.condition.task.kind
    seeds = {purpose: stream(cell, purpose) for purpose in ("init", "head", "adapters", "order", "dropout")}
    machine = build(source, setup, kind, data.task.labels, seeds)
    parts = {"train": data.train + copies(cell, data), "validation": data.validation, "test": data.test}
    encoded = {name: machine.form.encode(part) for name, part in parts.items() if part}
    encoded.setdefault("validation", _nothing(encoded["train"]))
    counts = machine.counts()
    bench.clock.lap("prepare")
    small = cell.condition.budget != "full" and cell.condition.budget <= LAST_STEP_BUDGET
    first = Job(
        encoded["train"],
        encoded["validation"],
        setup.phases[0],
        small,
        seeds,
        bench.precision,
        micro,
        None if small else _scorer(cell, data, machine, encoded["validation"]),
        bench.progress,
        int((encoded["train"].owner < len(data.train)).sum()),
    )
    frozen = _frozen_phases(setup)
    if frozen:
        encoded = _on_features(machine, encoded, frozen == len(setup.phases), cell, bench)
    on_features = replace(first, train=encoded["train"], validation=encoded["validation"])
    jobs = [replace(on_features if i < frozen else first, phase=phase) for i, phase in enumerate(setup.phases)]
    fitted = _fit(machine, jobs, bench.place)
    bench.clock.lap("train")
    held_out = replace(encoded["validation"], hidden=encoded["validation"].hidden if frozen == len(jobs) else None)
    validation = predict(machine, data.validation, held_out, bench.precision, bench.place) if data.validation else []
    test = predict(machine, data.test, encoded["test"], bench.precision, bench.place)
    bench.clock.lap("evaluate")
    bench.place.release()
    training = {**_training(setup, micro, len(parts["train"]) - len(data.train)), **asdict(fitted)}
    model = {**counts, "init": "random" if isinstance(setup.weights, Random) else "pretrained"}
    return Learned(validation, test, training, model, _flops(counts, fitted, encoded, frozen == len(jobs)))


def _on_features(
    machine: Machine, encoded: Mapping[str, Encoded], to_the_end: bool, cell: Cell, bench: Bench
) -> dict[str, Encoded]:
    """Return the encoded parts with frozen features; the test part only if the trunk stays frozen to the end."""
    machine.to(bench.place.device)
    return {
        name: _with_features(machine, one, cell, bench) if to_the_end or name != "test" else one
        for name, one in encoded.items()
    }


def _training(setup: Setup, micro: int, altered: int) -> dict[str, Any]:
    """Return what the record's `training` group says of the recipe."""
    last = setup.phases[-1]
    return {
        "optimizer": last.recipe.optimizer,
        "batch_size": last.recipe.batch_size,
        "micro_batch": micro,
        "schedule": _SCHEDULES[type(last.stop)],
        **({"phases": len(setup.phases)} if len(setup.phases) > 1 else {}),
        **({"copies": altered} if setup.augment else {}),
    }


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


def copies(cell: Cell, data: CellData) -> tuple[Example, ...]:
    """Return the altered copies of the training examples that the Setup asks for."""
    wanted = cell.condition.setup.augment
    return augmented(data.train, cell.condition.task.kind, wanted, stream(cell, "augment")) if wanted else ()


def _frozen_phases(setup: Setup) -> int:
    """Return how many leading phases leave the trunk as it was loaded, so that its features stand for it."""
    if isinstance(setup.weights, Random) or setup.adapters:
        return 0
    return next((i for i, phase in enumerate(setup.phases) if phase.trainable != "head"), len(setup.phases))


def _fit(machine: Machine, jobs: Sequence[Job], place: Place) -> Fitted:
    """Train phase after phase and add up what they report."""
    total = Fitted()
    for number, job in enumerate(jobs):
        if number:
            machine.release(job.phase.trainable)
        seeds = {purpose: (seed + number) % 2**63 for purpose, seed in job.seeds.items()}
        fitted = fit(machine, replace(job, seeds=seeds), place)
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


def _with_features(machine: Machine, encoded: Encoded, cell: Cell, bench: Bench) -> Encoded:
    """Return the encoded examples with frozen features from the stage store."""
    if not encoded.examples:
        return encoded
    condition = cell.condition
    assert condition.model is not None
    made_from = {
        "protocol": PROTOCOL,
        "model": condition.model,
        "kind": condition.task.kind,
        **({"ties": condition.setup.ties} if condition.setup.ties else {}),
        **({"readout": condition.setup.readout} if condition.setup.readout else {}),
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
