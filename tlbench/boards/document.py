"""A board as JSON types: what `board.json` holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlbench.boards.facts import Delta
from tlbench.boards.headline import headline
from tlbench.boards.measured import held_equal
from tlbench.boards.notes import row_notes, statistics_notes, table_notes
from tlbench.boards.values import Aggregate, Board, Row, Table

SCHEMA = 1
"""Version of the layout. New fields may be added; a removed or changed one raises it."""
_DIGITS = 6


def as_json(board: Board) -> dict[str, Any]:
    """Return the board as JSON types: headline, header, rows, tables, aggregates, families, notes.

    Floats are rounded to 6 significant digits, so that the last bits of different machines do not show.
    """
    document = {
        "schema": SCHEMA,
        "headline": " ".join(headline(board)),
        "header": {**_fields(board.header), "held_equal": held_equal(board)},
        "rows": [_row(row) for row in board.rows],
        "tables": [_table(table) for table in board.tables],
        "aggregates": [_aggregate(found) for found in board.aggregates],
        "families": [_fields(family) for family in board.families],
        "notes": statistics_notes(board),
    }
    rounded = _rounded(document)
    assert isinstance(rounded, dict)
    return rounded


def _row(row: Row) -> dict[str, Any]:
    return {
        "model": None if row.model == "-" else row.model,
        "strategy": row.strategy, "task": row.task, "budget": row.budget, "n": row.n,
        "score": {"mean": row.score.mean, "sd": row.score.sd},
        "delta_scratch": _delta(row.scratch), "delta_best": _delta(row.best),
        "states": _fields(row.states),
        "table": row.table, "condition": row.condition, "rank": row.ranks and row.ranks[0],
        "rank_last": row.ranks and row.ranks[1], "tier": row.tier,
        "transfers": row.transfers, "classical": row.classical, "best_baseline": row.best_baseline,
        "below_floor": row.below_floor, "capped": row.capped,
        "validation": row.score.validation, "metrics": dict(row.score.others),
        "params": {"total": row.params_total, "trainable": row.params_trainable},
        "outside": _fields(row.outside), "leak": row.outside.leak, "cost": _fields(row.cost),
        "labels_saved": row.saved and _fields(row.saved), "reach": row.reach and _fields(row.reach),
        "standing": row.standing and _fields(row.standing), "shared_stage": row.shared_stage,
        "reasons": list(row.reasons), "notes": row_notes(row), "model_note": row.note,
        "further": list(row.further), "keys": list(row.keys),
    }


def _delta(delta: Delta) -> dict[str, Any]:
    first = ("value", "lo", "hi", "p", "verdict", "baseline")
    fields = _fields(delta)
    rest = [name for name in fields if name not in (*first, "kind")]
    return {name: fields[name] for name in (*first, *rest)}


def _table(table: Table) -> dict[str, Any]:
    fields = {name: value for name, value in _fields(table).items() if name != "rows"}
    fields["contributions"] = [{**_fields(one), "delta": _delta(one.delta)} for one in table.contributions]
    return {**fields, "baseline": table.baseline[0] if table.baseline else None,
            "advice": table.advice and _fields(table.advice), "notes": table_notes(table)}


def _aggregate(found: Aggregate) -> dict[str, Any]:
    worst = None if found.worst is None else {"table": found.worst[0], "value": found.worst[1]}
    return {**_fields(found), "worst": worst, "coverage": f"{len(found.tables)}/{found.offered}"}


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(name): _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
