"""Prediction: one canonical plan of batches, shared out among ranks, gathered by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tlbench.engine.encoding import Encoded, Ragged, evaluation_batches
from tlbench.engine.forms import stacked
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

    def raw(rows: list[int]) -> Sequence[Any]:
        with autocast(precision, place.device):
            return machine.form.raw(machine, encoded.batch(rows, place.device))

    return _by_row(encoded, evaluation_batches(encoded.tokens.lengths), raw, place)


@torch.no_grad()
def likelihoods(
    machine: Machine, examples: Sequence[Example], encoded: Encoded, precision: Precision, place: Place
) -> list[Likelihood]:
    """Return what a generating machine states about each example's first reference, the same on every rank.

    Returns:
        One for each example in order; none at all where a likelihood is not finite, since training diverged.
    """
    form = machine.form
    assert isinstance(form, GenerationForm)
    machine.eval()

    def nats(rows: list[int]) -> Sequence[float]:
        batch = encoded.batch(rows, place.device)
        with autocast(precision, place.device):
            found: list[float] = form.nats(form.scores(machine, batch), batch).tolist()
        return found

    plan = evaluation_batches(encoded.tokens.lengths, rows=form.rows_at_once(machine))
    found = _by_row(encoded, plan, nats, place)
    if not all(map(math.isfinite, found)):
        return []
    stated: list[Likelihood] = place.in_step(lambda: form.likelihoods(examples, encoded, found))
    return stated


@torch.no_grad()
def features(machine: Machine, encoded: Encoded, precision: Precision, place: Place) -> Ragged:
    """Return the frozen trunk's features: one vector per row where the form pools, else one per token.

    Exact by construction: the canonical plan, and the trunk in eval mode.

    Returns:
        Float32 rows of shape (tokens or 1, width).
    """
    machine.eval()

    def vectors(rows: list[int]) -> Sequence[Any]:
        batch = encoded.batch(rows, place.device)
        with autocast(precision, place.device):
            states = _states(machine, batch).float().cpu().numpy()
        sizes = [1] * len(rows) if machine.form.pooled else encoded.tokens.lengths[rows].tolist()
        return [state[:size] for state, size in zip(states, sizes, strict=True)]

    return stacked(_by_row(encoded, evaluation_batches(encoded.tokens.lengths), vectors, place))


def _by_row(
    encoded: Encoded, plan: Sequence[list[int]], each: Callable[[list[int]], Sequence[Any]], place: Place
) -> list[Any]:
    """Return what `each` says of the rows of every batch of a plan, in the order of the rows, on every rank."""

    def mine() -> list[tuple[int, Any]]:
        return [pair for rows in plan[place.rank :: place.world] for pair in zip(rows, each(rows), strict=True)]

    by_row = dict(gathered := place.gather(place.in_step(mine)))
    if len(gathered) != len(encoded) or len(by_row) != len(encoded):
        raise RuntimeError(
            f"{len(gathered)} rows came back for {len(encoded)} examples' rows: a rank lost or repeated some"
        )
    return [by_row[row] for row in range(len(encoded))]


def _states(machine: Machine, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    if machine.form.generates:
        encoder: Any = machine.trunk.get_encoder()  # type: ignore[operator]
        states: torch.Tensor = encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
        return states
    states = machine.hidden(batch)
    return machine.form.pool(states, batch["attention_mask"]).unsqueeze(1) if machine.form.pooled else states
