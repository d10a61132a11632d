"""Learning curves: how scores change with the label budget, as a table and, with matplotlib, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tlbench.boards import text
from tlbench.boards.conditions import budget_order
from tlbench.boards.pictures import picture
from tlbench.boards.reach import Question, question
from tlbench.boards.values import Board, Row, Table
from tlbench.task import Budget

Curve = Mapping[Budget, Row]


def section(board: Board) -> list[str]:
    """Return the board's section on budgets, a table per task with several of them; nothing without such a task."""
    blocks = []
    for task, tables in _several(board).items():
        budgets = sorted({table.budget for table in tables}, key=budget_order)
        rows = [{"strategy": strategy, "model": model, **{f"{b}": _point(curve.get(b)) for b in budgets}}
                for (strategy, model), curve in _curves(tables).items()]
        blocks += [
            f"{task}, {tables[0].metric} by labels:",
            text.table(rows, right=[f"{b}" for b in budgets]),
            _crossings(tables),
            *_savings(task, tables),
        ]
    return ["## Learning curves", *filter(None, blocks)] if blocks else []


def plot(board: Board, folder: Path) -> list[Path]:
    """Write one PNG for each task with two or more budgets and return the paths.

    Raises:
        UserError: matplotlib is not installed.
    """
    return [
        picture(folder / f"curve-{task}.png", (7, 4.5), partial(_draw, task, tables))
        for task, tables in _several(board).items()
    ]


def _several(board: Board) -> dict[str, list[Table]]:
    """Return the tables of tasks that asked one question at two or more budgets; of several questions the first."""
    asked: dict[Question, dict[Budget, Table]] = {}
    for table in board.tables:
        if (key := question(table)) is not None:
            asked.setdefault(key, {}).setdefault(table.budget, table)
    found: dict[str, list[Table]] = {}
    for tables in (list(each.values()) for each in asked.values() if len(each) > 1):
        found.setdefault(tables[0].name, tables)
    return found


def _curves(tables: Sequence[Table]) -> dict[tuple[str, str], dict[Budget, Row]]:
    curves: dict[tuple[str, str], dict[Budget, Row]] = {}
    for table in tables:
        for row in table.rows:
            curves.setdefault((row.strategy, row.model), {})[table.budget] = row
    return dict(sorted(curves.items()))


def _point(row: Row | None) -> str:
    if row is None:
        return ""
    return text.score(row) + (f" {text.BASELINE}" if row.best_baseline else "")


def _crossings(tables: Sequence[Table]) -> str:
    """Say at which budgets each setup with transfer helps against the best baseline."""
    lines = []
    for (strategy, model), curve in _curves(tables).items():
        points = sorted(((b, r) for b, r in curve.items() if r.transfers and r.best.value is not None),
                        key=lambda point: budget_order(point[0]))
        if points:
            shown = ", ".join(f"{budget}: {text.signed(row.best.value)} "
                              f"{text.verdict(row.best)}" for budget, row in points)
            lines.append(f"- {strategy} ({model}) against the best baseline: {shown}.")
    return "\n".join(lines)


def _savings(task: str, tables: Sequence[Table]) -> list[str]:
    """Return a table of the labels that each setup with transfer saves; nothing where it is not known."""
    curves = {name: curve for name, curve in _curves(tables).items() if any(row.saved for row in curve.values())}
    known = {budget for curve in curves.values() for budget, row in curve.items() if row.saved}
    budgets = [table.budget for table in tables if table.budget in known]
    rows = [{"strategy": strategy, "model": model,
             **{f"{b}": text.saved(curve[b].saved) if b in curve else "" for b in budgets}}
            for (strategy, model), curve in curves.items()]
    legend = ("Labels that the best baseline without transfer needs for the mean score which a setup has with those of "
              "the column: with the first number it is still below, with the second no longer; > and ≤ where no budget "
              "that was run says more. Means alone are compared, so a small difference can move an end by a whole "
              "budget; labels of source tasks are not counted.")
    return [f"{task}, labels saved:", text.table(rows, right=[f"{b}" for b in budgets]), legend] if rows else []


def _draw(task: str, tables: Sequence[Table], figure: Any) -> None:
    axes = figure.subplots()
    budgets = sorted({table.budget for table in tables}, key=budget_order)
    places = {budget: place for place, budget in enumerate(budgets)}
    for (strategy, model), curve in _curves(tables).items():
        points = [
            (places[b], r.score) for b, r in sorted(curve.items(), key=lambda c: budget_order(c[0])) if r.n
        ]
        transfers = any(row.transfers for row in curve.values())
        axes.errorbar(
            [x for x, _ in points],
            [s.mean for _, s in points],
            yerr=[s.sd or 0.0 for _, s in points],
            marker="o",
            capsize=3,
            linestyle="-" if transfers else "--",
            label=strategy if model == "-" else f"{strategy} ({model})",
        )
    axes.set_xticks(list(places.values()), [f"{budget}" for budget in budgets])
    axes.set(title=f"{task} (dashed: no transfer; bars: SD over "
                   "replicates)", xlabel="labels", ylabel=tables[0].metric)
    axes.legend(fontsize="small")
