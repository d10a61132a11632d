"""The neural learner: build a machine, train it phase by phase, predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from tlbench.engine.measure import Clock
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision
from tlbench.engine.predict import features, predict
from tlbench.grid import PROTOCOL, Cell, stream
from tlbench.learned import Learned
from tlbench.setups import Phase, Random
from tlbench.stages.store import StageStore
from tlbench.task import Example

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
    condition = cell.condition
    seeds = {purpose: stream(cell, purpose) for purpose in ("init", "head", "adapters", "order", "dropout")}
    machine = build(source, condition.setup, condition.task.kind, data.task.labels, seeds)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    encoded = {name: machine.form.encode(part) for name, part in parts.items() if part}
    encoded.setdefault("validation", _nothing(encoded["train"]))
    counts = machine.counts()
    bench.clock.lap("prepare")
    phase = condition.setup.phases[0]
    frozen = phase.trainable == "head" and not isinstance(condition.setup.weights, Random)
    if frozen:
        machine.to(bench.place.device)
        encoded = {name: _with_features(machine, parts[name], one, cell, bench) for name, one in encoded.items()}
    small = condition.budget != "full" and condition.budget <= LAST_STEP_BUDGET
    fitted = _fit(machine, encoded, condition.setup.phases, bench, seeds, micro, small)
    bench.clock.lap("train")
    validation = (
        predict(machine, data.validation, encoded["validation"], bench.precision, bench.place)
        if data.validation
        else []
    )
    test = predict(machine, data.test, encoded["test"], bench.precision, bench.place)
    bench.clock.lap("evaluate")
    bench.place.release()
    training = {
        "optimizer": phase.recipe.optimizer,
        "batch_size": phase.recipe.batch_size,
        "micro_batch": micro,
        "schedule": "linear warm-up, constant"
        if fitted.stop_reason in ("plateau", "cap")
        else "linear warm-up, linear to 0",
        **asdict(fitted),
    }
    model = {**counts, "init": "random" if isinstance(condition.setup.weights, Random) else "pretrained"}
    return Learned(validation, test, training, model, _flops(counts, fitted, encoded, frozen))


def _fit(
    machine: Machine,
    encoded: Mapping[str, Encoded],
    phases: tuple[Phase, ...],
    bench: Bench,
    seeds: dict[str, int],
    micro: int,
    small: bool,
) -> Fitted:
    """Train the phases one after the other and add up what they report."""
    total = Fitted()
    for number, phase in enumerate(phases):
        if number:
            machine.release(phase.trainable)
        job = Job(encoded["train"], encoded["validation"], phase, small, seeds, bench.precision, micro, bench.progress)
        fitted = fit(machine, job, bench.place)
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
        "place": [str(bench.place.device.type), torch.get_num_threads(), torch.__version__],
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
