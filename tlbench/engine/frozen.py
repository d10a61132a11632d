"""Features of a trunk that stays frozen, in place of its tokens: computed once, kept as a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlbench.canonical import digest
from tlbench.engine.bench import Bench
from tlbench.engine.encoding import Encoded, Ragged
from tlbench.engine.machine import Machine
from tlbench.engine.predict import features
from tlbench.grid import PROTOCOL, Cell
from tlbench.setups import Pretrained, Setup


def frozen_phases(setup: Setup) -> int:
    """Return how many leading phases leave the trunk as it was loaded, so that its features stand for it."""
    if not isinstance(setup.weights, Pretrained) or setup.adapters:
        return 0
    return next((i for i, phase in enumerate(setup.phases) if phase.trainable != "head"), len(setup.phases))


def on_features(
    machine: Machine, encoded: dict[str, Encoded], to_the_end: bool, cell: Cell, bench: Bench
) -> dict[str, Encoded]:
    """Return the encoded parts with frozen features.

    At the budget `full` every replicate has the same examples, only in other parts and another order; where one vector
    stands for a text, the features are then those of all rows together, so that replicates share them (altered copies
    among the rows are each replicate's own). Features of every token stay apart: they are mapped from the disk.

    Args:
        machine: Its trunk makes the features.
        encoded: Encoded examples by part.
        to_the_end: Whether the trunk stays frozen to the end; if not, the test part keeps its tokens.
        cell: The cell.
        bench: What it runs on.
    """
    bench.place.in_step(lambda: machine.to(bench.place.device))
    wanted = {name: one for name, one in encoded.items() if len(one) and (to_the_end or name != "test")}
    if cell.condition.budget != "full" or not machine.form.pooled:
        hidden = {name: _features(machine, one, cell, bench) for name, one in wanted.items()}
    else:
        drawn = [name for name in wanted if name != "test"]
        hidden = dict(zip(drawn, _together(machine, [wanted[name] for name in drawn], cell, bench), strict=True))
        hidden |= {name: _features(machine, one, cell, bench) for name, one in wanted.items() if name == "test"}
    return {**encoded, **{name: replace(wanted[name], hidden=made) for name, made in hidden.items()}}


def _together(machine: Machine, parts: Sequence[Encoded], cell: Cell, bench: Bench) -> list[Ragged]:
    """Return the features of several parts, computed over all their rows in an order that only the rows decide."""
    read = [_what_is_read(part) for part in parts]
    rows = [(part, row) for part, one in enumerate(parts) for row in range(len(one))]
    rows.sort(key=lambda at: [ragged.row(at[1]).tobytes() for ragged in read[at[0]].values()])
    joined = {
        name: Ragged.of([read[part][name].row(row).tolist() for part, row in rows]) for name in read[0]
    }
    tokens = joined.pop("tokens")
    made = _features(machine, Encoded(tokens, np.arange(len(rows)), len(rows), joined), cell, bench)
    place = {at: number for number, at in enumerate(rows)}
    return [made.taken([place[part, row] for row in range(len(one))]) for part, one in enumerate(parts)]


def _what_is_read(encoded: Encoded) -> dict[str, Ragged]:
    """Return what a trunk reads of encoded examples, the tokens first."""
    return {"tokens": encoded.tokens, **{n: r for n, r in encoded.ragged.items() if n == "token_type_ids"}}


def _features(machine: Machine, encoded: Encoded, cell: Cell, bench: Bench) -> Ragged:
    """Return the frozen features of encoded examples from the stage store."""
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
    }

    def make() -> dict[str, np.ndarray[Any, Any]]:
        made = features(machine, encoded, bench.precision, bench.place)
        return {"flat": made.flat, "starts": made.starts}

    arrays, _ = bench.stage("features", made_from, make)
    return Ragged(arrays["flat"], np.asarray(arrays["starts"], dtype=np.int64))
