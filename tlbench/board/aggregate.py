"""Model x strategy over tables: averaged deltas, harm, coverage. Raw scores are never averaged over tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from tlbench.board.values import Aggregate, Row, Table

Setup = tuple[str, str]
"""Model and strategy."""


def aggregates(tables: Sequence[Table]) -> tuple[Aggregate, ...]:
    """Aggregate every setup that transfers.

    Over the tables in which all such setups have a delta; if there is none, per kind over the tables that all
    setups of that kind share, or else over each setup's own tables, with coverage.
    """
    held = {table.id: {(row.model, row.strategy): row for row in table.rows if row.transfers} for table in tables}
    setups = sorted({setup for rows in held.values() for setup in rows})
    common = _shared(held, setups)
    if common:
        return _sorted(_aggregate("common", setup, common, held) for setup in setups)
    found: list[Aggregate] = []
    for kind in dict.fromkeys(table.kind for table in tables):
        within = {table.id: held[table.id] for table in tables if table.kind == kind}
        members = sorted({setup for rows in within.values() for setup in rows})
        scope = _shared(within, members) or list(within)
        found += _sorted(_aggregate(kind, setup, scope, within) for setup in members)
    return tuple(found)


def _shared(held: Mapping[str, Mapping[Setup, Row]], setups: Sequence[Setup]) -> list[str]:
    return [table for table, rows in held.items()
            if setups and all(s in rows and rows[s].best.value is not None for s in setups)]


def _aggregate(scope: str, setup: Setup, tables: Sequence[str], held: Mapping[str, Mapping[Setup, Row]]) -> Aggregate:
    found = {table: held[table][setup] for table in tables if setup in held[table]}
    rows = {table: row for table, row in found.items() if row.best.value is not None}
    deltas = [(row.best.value, table) for table, row in rows.items() if row.best.value is not None]
    verdicts = [row.best.verdict for row in rows.values() if row.best.verdict]
    worst = min(deltas, default=None)
    return Aggregate(
        model=setup[0], strategy=setup[1], scope=scope, tables=tuple(rows), offered=len(tables),
        delta_best=_macro((row.task, row.best.value) for row in rows.values()),
        delta_scratch=_macro((row.task, row.scratch.value) for row in rows.values()),
        harmed=verdicts.count("HARMS"), judged=len(verdicts),
        worst=None if worst is None else (worst[1], worst[0]),
    )


def _macro(values: Iterable[tuple[str, float | None]]) -> float | None:
    """Average over the budgets of a task, then over tasks."""
    tasks: dict[str, list[float]] = {}
    for task, value in values:
        if value is not None:
            tasks.setdefault(task, []).append(value)
    return fmean(fmean(values) for values in tasks.values()) if tasks else None


def _sorted(found: Iterable[Aggregate]) -> tuple[Aggregate, ...]:
    return tuple(sorted(found, key=lambda a: (a.delta_best is None, -(a.delta_best or 0.0), a.model, a.strategy)))
