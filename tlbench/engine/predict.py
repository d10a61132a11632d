"""Prediction: one canonical plan of batches, shared out among ranks, gathered by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tlbench.engine.encoding import Encoded, Ragged, evaluation_batches
from tlbench.engine.generation import GenerationForm
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.engine.precision import Precision, autocast
from tlbench.kinds.likelihood import Likelihood
from tlbench.strategy import Prediction
from tlbench.task import Example


def predict(
    machine: Machine, examples: Sequence[Example], encoded: Encoded, precision: Precision, place: Place
) -> list[Prediction]:
    """Return one prediction per example, in task space, in order, the same on every rank."""
    rows = raw_rows(machine, encoded, precision, place)
    decoded: list[Prediction] = place.in_step(lambda: machine.form.decode(examples, encoded, rows))
    return decoded


@torch.no_grad()
def raw_rows(machine: Machine, encoded: Encoded, precision: Precision, place: Place) -> list[Any]:
    """Return the raw output of each row, in order, the same on every rank.

    Ranks share out whole batches of a plan that depends on lengths alone, so that 1 and N ranks run the very
    same batches; every row is gathered by its number and counted once.

    Raises:
        RuntimeError: a row was lost or predicted twice.
    """
    machine.eval()
    plan = evaluation_batches(encoded.tokens.lengths)

    def mine() -> list[tuple[int, Any]]:
        found: list[tuple[int, Any]] = []
        for rows in plan[place.rank :: place.world]:
            with autocast(precision, place.device):
                found += zip(rows, machine.form.raw(machine, encoded.batch(rows, place.device)), strict=True)
        return found

    by_row = dict(gathered := place.gather(place.in_step(mine)))
    if len(gathered) != len(encoded) or len(by_row) != len(encoded):
        raise RuntimeError(
            f"{len(gathered)} rows came back for {len(encoded)} examples' rows: a rank lost or repeated some"
        )
    return [by_row[row] for row in range(len(encoded))]


@torch.no_grad()
def likelihoods(
    machine: Machine, examples: Sequence[Example], encoded: Encoded, precision: Precision, place: Place
) -> list[Likelihood]:
    """Return what a generating machine states about each example's first reference, the same on every rank."""
    form = machine.form
    assert isinstance(form, GenerationForm)
    machine.eval()
    plan = evaluation_batches(encoded.tokens.lengths, rows=form.rows_at_once(machine))

    def mine() -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        for rows in plan[place.rank :: place.world]:
            batch = encoded.batch(rows, place.device)
            with autocast(precision, place.device):
                nats = form.nats(form.scores(machine, batch), batch)
            found += zip(rows, nats.tolist(), strict=True)
        return found

    by_row = dict(place.gather(place.in_step(mine)))
    return form.likelihoods(examples, encoded, [by_row[row] for row in range(len(encoded))])


@torch.no_grad()
def features(machine: Machine, encoded: Encoded, precision: Precision, place: Place) -> Ragged:
    """Return the frozen trunk's features: one vector per row where the form pools, else one per token.

    Exact by construction: the canonical plan, and the trunk in eval mode.

    Returns:
        Float32 rows of shape (tokens or 1, width).
    """
    machine.eval()
    plan = evaluation_batches(encoded.tokens.lengths)

    def mine() -> list[tuple[int, Any]]:
        found: list[tuple[int, Any]] = []
        for rows in plan[place.rank :: place.world]:
            batch = encoded.batch(rows, place.device)
            with autocast(precision, place.device):
                states = _states(machine, batch).float().cpu().numpy()
            sizes = [1] * len(rows) if machine.form.pooled else encoded.tokens.lengths[rows].tolist()
            found += [(row, state[:size]) for row, state, size in zip(rows, states, sizes, strict=True)]
        return found

    by_row = dict(place.gather(place.in_step(mine)))
    rows_in_order = [by_row[row] for row in range(len(encoded))]
    starts = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows_in_order], out=starts[1:])
    return Ragged(np.concatenate(rows_in_order), starts)


def _states(machine: Machine, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    if machine.form.generates:
        encoder: Any = machine.trunk.get_encoder()  # type: ignore[operator]
        states: torch.Tensor = encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
        return states
    states = machine.hidden(batch)
    return machine.form.pool(states, batch["attention_mask"]).unsqueeze(1) if machine.form.pooled else states
