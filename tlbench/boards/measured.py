"""The section that says how a board was measured and what was held equal."""

from __future__ import annotations

from collections.abc import Iterable

from tlbench.boards import text
from tlbench.boards.values import Board, Row, Table

_FIRST = 12
"""Hex digits of a fingerprint that are shown; JSON has them all."""


def measured(board: Board) -> list[str]:
    """Return the markdown blocks of the section."""
    return [
        _facts(board),
        "**What was held equal**",
        text.bullets(held_equal(board)),
        "**Data**",
        _data(board.tables),
        *_models(board.rows),
        *_commands(board),
    ]


def held_equal(board: Board) -> list[str]:
    """Return what all rows of a table share, and what they do not, one sentence each."""
    differing = [table.id for table in board.tables if not table.same_subsets]
    labels = ("checked by the fingerprint of the ids drawn" if not differing
              else f"**except in {', '.join(differing)}**")
    capped = sum(row.capped for row in board.rows if not row.transfers)
    return [
        f"Labels: at each replicate all rows of a table train and select on the same examples ({labels}); validation "
        "labels count in the budget.",
        f"Test: the same examples for every row, read {_times(board.tables)} per cell, after every choice is frozen.",
        "Tuning: none; every strategy and baseline runs its published recipe once.",
        "Optimizer: by architecture, the same for pre-trained and random weights.",
        "**Not equal**: steps, tokens and time. Random weights have learning rates of their own and train until "
        "neither their loss nor their score improves"
        + (f"; {capped} baseline cells reached the step cap first." if capped else "; none reached the step "
                                                                                   "cap."),
        *_exposure(board.tables),
    ]


def _times(tables: Iterable[Table]) -> str:
    most = max((table.test_reads for table in tables), default=0)
    return "once" if most <= 1 else f"**up to {most} times**"


def _exposure(tables: Iterable[Table]) -> list[str]:
    lines = []
    for table in tables:
        shown = [_seen(row) for row in table.rows if row.cost.steps]
        if shown:
            lines.append(f"{table.id}, mean steps and training tokens seen: {'; '.join(shown)}.")
    return lines


def _seen(row: Row) -> str:
    tokens = f", {text.count(row.cost.tokens_seen)} tokens" if row.cost.tokens_seen else ""
    return f"{row.label} {text.count(row.cost.steps)}{tokens}"


def _facts(board: Board) -> str:
    header = board.header
    packages = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in header.packages.items())
    methods = sorted({f"{row.cost.flops_method}" for row in board.rows if row.cost.flops_method})
    memory = sorted({row.cost.memory_method for row in board.rows if row.cost.memory_method})
    facts = {
        "protocol": ", ".join(header.protocols),
        "tier": ", ".join(header.tiers),
        "overrides": "; ".join(header.overrides) or "none",
        "records": f"{header.n_records:,}" + (f", {header.retried} of them failed attempts before a success"
                                              if header.retried else ""),
        "made with": "; ".join(header.versions),
        "packages": packages,
        "system": "; ".join(header.systems),
        "hardware": "; ".join(header.hardware),
        "numerics": "; ".join(header.numerics) or "no neural learner",
        "FLOPs": "; ".join(methods),
        "peak memory": "; ".join(memory),
    }
    return text.table([{"fact": name, "value": value} for name, value in facts.items() if value])


def _data(tables: Iterable[Table]) -> str:
    rows = []
    for table in {(t.name, t.comparability): t for t in tables}.values():
        task = table.task
        prints = task.get("fingerprints", {})
        removed = task.get("notes", {}).get("test_duplicates_removed", {})
        shown = [f"{split} {value[:_FIRST]}" for split, value in sorted(prints.items()) if value]
        rows.append(
            {
                "task": table.id,
                "licence": str(task.get("licence", "")),
                "from": str(task.get("homepage", "")),
                "train / validation / test": " / ".join(
                    f"{task.get(split, 0):,}" for split in ("train", "validation", "test")
                ),
                "test duplicates removed": ", ".join(f"{split} {n}" for split, n in sorted(removed.items())),
                "row fingerprints": ", ".join(shown),
            }
        )
    return text.table(rows)


def _models(rows: Iterable[Row]) -> list[str]:
    models = {row.model: row for row in rows if row.outside.pretrained and row.n}
    if not models:
        return []
    listed = [
        {
            "model": name,
            "parameters": text.count(row.params_total),
            "declared training sources": ", ".join(row.outside.sources) or "not declared",
            "note": row.note,
        }
        for name, row in sorted(models.items())
    ]
    return ["**Models**", text.table(listed, right=("parameters",))]


def _commands(board: Board) -> list[str]:
    if not board.header.commands:
        return []
    lines = "\n".join(" ".join(command.split()) for command in board.header.commands)
    return ["**To reproduce**", f"```sh\n{lines}\n```"]
