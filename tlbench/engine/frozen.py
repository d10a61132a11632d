"""Features of a trunk that stays frozen, in place of its tokens: computed once, kept as a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tlbench.canonical import digest
from tlbench.engine.bench import Bench
from tlbench.engine.encoding import Encoded, Ragged
from tlbench.engine.machine import Machine
from tlbench.engine.predict import features
from tlbench.grid import PROTOCOL, Cell
from tlbench.learned import Used
from tlbench.setups import Pretrained, Setup


def frozen_phases(setup: Setup) -> int:
    """Return how many leading phases leave the trunk as it was loaded, so that its features stand for it."""
    if not isinstance(setup.weights, Pretrained) or setup.adapters:
        return 0
    return next((i for i, phase in enumerate(setup.phases) if phase.trainable != "head"), len(setup.phases))


def on_features(
    machine: Machine, encoded: dict[str, Encoded], to_the_end: bool, cell: Cell, bench: Bench
) -> tuple[dict[str, Encoded], list[Used]]:
    """Return the encoded parts with frozen features, and what these cost.

    At the budget `full` every replicate has the same examples, only in other parts and another order; where one vector
    stands for a text, the features are then those of all rows together, so that replicates share them (altered copies
    among the rows are each replicate's own). Features of every token stay apart: they are mapped from the disk.

    Args:
        machine: Its trunk makes the features.
        encoded: Encoded examples by part.
        to_the_end: Whether the trunk stays frozen to the end; if not, the test part keeps its tokens.
        cell: The cell.
        bench: What it runs on.

    Returns:
        The same parts; `hidden` holds float32 rows of shape (1 or tokens, width) where features stand for tokens. And
        the stages that hold them, for the record.
    """
    bench.place.in_step(lambda: machine.to(bench.place.device))
    wanted = {name: one for name, one in encoded.items() if len(one) and (to_the_end or name != "test")}
    shared = cell.condition.budget == "full" and machine.form.pooled
    together = {name: one for name, one in wanted.items() if shared and name != "test"}
    used: list[Used] = []
    make = partial(_features, machine, cell=cell, bench=bench, used=used)
    hidden = {name: make(one) for name, one in wanted.items() if name not in together}
    if together:
        hidden |= _together(together, make)
    bench.clock.lap("upstream")
    return {**encoded, **{name: replace(wanted[name], hidden=made) for name, made in hidden.items()}}, used


def _together(parts: Mapping[str, Encoded], make: Callable[[Encoded], Ragged]) -> dict[str, Ragged]:
    """Return the features of several parts, computed over all their rows in an order that only the rows decide."""
    read = [_what_is_read(part) for part in parts.values()]
    whole = {name: Ragged.joined([one[name] for one in read]) for name in read[0]}
    count = len(whole["tokens"].lengths)
    order = sorted(range(count), key=lambda row: [ragged.row(row).tobytes() for ragged in whole.values()])
    rows = {name: ragged.taken(order) for name, ragged in whole.items()}
    made = make(Encoded(rows.pop("tokens"), np.arange(count), count, rows))
    places = np.split(np.argsort(order), np.cumsum([len(part) for part in parts.values()])[:-1])
    return {name: made.taken(place.tolist()) for name, place in zip(parts, places, strict=True)}


def _what_is_read(encoded: Encoded) -> dict[str, Ragged]:
    """Return what a trunk reads of encoded examples, the tokens first."""
    return {"tokens": encoded.tokens, **{n: r for n, r in encoded.ragged.items() if n == "token_type_ids"}}


def _features(machine: Machine, encoded: Encoded, cell: Cell, bench: Bench, used: list[Used]) -> Ragged:
    """Return the frozen features of encoded examples from the stage store, which is added to `used`."""
    condition = cell.condition
    assert condition.model is not None
    read = _what_is_read(encoded)
    tokens = read.pop("tokens")
    made_from = {
        "protocol": PROTOCOL,
        "model": condition.model,
        "kind": condition.task.kind,
        **({"ties": condition.setup.ties} if condition.setup.ties else {}),
        **({"readout": condition.setup.readout} if condition.setup.readout else {}),
        "precision": bench.precision,
        "numerics": bench.numerics,
        "tokens": digest(
            [tokens.flat.tolist(), tokens.starts.tolist(), {name: r.flat.tolist() for name, r in read.items()}]
        ),
        "timed": True,  # features that were kept before their time was have another address
    }

    def make() -> dict[str, np.ndarray[Any, Any]]:
        start = time.perf_counter()
        made = features(machine, encoded, bench.precision, bench.place)
        return {"flat": made.flat, "starts": made.starts, "seconds": np.array(time.perf_counter() - start)}

    arrays, there = bench.stage("features", made_from, make)
    stage, seconds = digest(made_from, 16), float(arrays["seconds"])
    spent = bench.charged(stage, 0.0 if there else seconds)
    used.append(Used("frozen features", stage=stage, seconds=seconds, spent=spent))
    return Ragged(arrays["flat"], np.asarray(arrays["starts"], dtype=np.int64))
