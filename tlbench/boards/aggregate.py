"""Model x strategy over tables: averaged deltas, harm, coverage. Raw scores are never averaged over tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from tlbench.boards.values import Aggregate, Row, Table

Setup = tuple[str, str]
"""Model and strategy."""
Held = Mapping[str, Mapping[Setup, Row]]
"""Table id to its rows that transfer."""


def aggregates(tables: Sequence[Table]) -> tuple[Aggregate, ...]:
    """Aggregate every setup that transfers.

    Deltas are averaged over the tables in which all such setups have one. If there is no such table, then per
    kind, kinds that the same setups share taken together; if a kind has none either, over each setup's own
    tables. Harm is counted over all tables of a setup.
    """
    held = {
        table.id: {(row.model, row.strategy): row for row in table.rows if row.transfers} for table in tables
    }
    if _shared(held):
        return _scope("all tables", held)
    kinds: dict[frozenset[Setup], list[str]] = {}
    for kind in dict.fromkeys(table.kind for table in tables):
        kinds.setdefault(frozenset(_setups(_within(tables, held, [kind]))), []).append(kind)
    return tuple(
        found for names in kinds.values()
        for found in _scope(f"tables of {', '.join(names)}", _within(tables, held, names))
    )


def _within(tables: Sequence[Table], held: Held, kinds: Sequence[str]) -> Held:
    return {table.id: held[table.id] for table in tables if table.kind in kinds}


def _setups(held: Held) -> list[Setup]:
    return sorted({setup for rows in held.values() for setup in rows})


def _shared(held: Held) -> list[str]:
    """Return the tables in which every setup has a delta."""
    setups = _setups(held)
    return [table for table, rows in held.items()
            if setups and all(s in rows and rows[s].best.value is not None for s in setups)]


def _scope(name: str, held: Held) -> tuple[Aggregate, ...]:
    shared = _shared(held)
    if shared and len(shared) < len(held):
        name = f"{len(shared)} of {len(held)} {name.removeprefix('all ')} that all setups share: {', '.join(shared)}"
    tables = shared or list(held)
    found = [_aggregate(name, setup, tables, held) for setup in _setups(held)]
    return tuple(
        sorted(found, key=lambda a: (a.delta_best is None, -(a.delta_best or 0.0), a.model, a.strategy))
    )


def _aggregate(scope: str, setup: Setup, tables: Sequence[str], held: Held) -> Aggregate:
    own = {table: rows[setup] for table, rows in held.items()
           if setup in rows and rows[setup].best.value is not None}
    averaged = [own[table] for table in tables if table in own]
    verdicts = [row.best.verdict for row in own.values() if row.best.verdict]
    worst = min(
        ((row.best.value, table) for table, row in own.items() if row.best.value is not None), default=None
    )
    return Aggregate(
        model=setup[0],
        strategy=setup[1],
        scope=scope,
        tables=tuple(table for table in tables if table in own),
        offered=len(held),
        delta_best=_macro((row.task, row.best.value) for row in averaged),
        delta_own=_macro((row.task, row.best.value) for row in own.values()),
        delta_scratch=_macro((row.task, row.scratch.value) for row in averaged),
        with_scratch=sum(row.scratch.value is not None for row in averaged),
        harmed=verdicts.count("HARMS"),
        judged=len(verdicts),
        worst=None if worst is None else (worst[1], worst[0]),
    )


def _macro(values: Iterable[tuple[str, float | None]]) -> float | None:
    """Average over the budgets of a task, then over tasks."""
    tasks: dict[str, list[float]] = {}
    for task, value in values:
        if value is not None:
            tasks.setdefault(task, []).append(value)
    return fmean(fmean(values) for values in tasks.values()) if tasks else None
