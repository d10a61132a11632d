"""Which setup to take: of those that are as good as the best on a task, the one that costs least."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlbench.boards import text
from tlbench.boards.values import Advice, Board, Row, Table, seeds_only
from tlbench.verdicts import REPLICATES


def advise(rows: Sequence[Row], margin: float, floor: Row | None) -> Advice | None:
    """Return which of a table's rows to take; `None` where no setup with transfer has a standing.

    Args:
        rows: All rows of the table.
        margin: Its equality margin e.
        floor: The row of them that knows no text, if there is one.
    """
    best = next((row for row in rows if row.standing and row.label == row.standing.best), None)
    if best is None or not any(row.transfers and row.standing for row in rows):
        return None
    assert best.score.mean is not None
    learned = math.inf if floor is None or floor.score.mean is None else best.score.mean - floor.score.mean
    if learned <= margin and best is not floor:
        return Advice(best.label, reason="e is as large as all that was learned beyond the floor")
    if best.cost.standalone_seconds is None:
        return Advice(best.label, reason="its time is not known")
    unpaired = sum(row.n >= REPLICATES and row.standing is None and not seeds_only(row.strategy) for row in rows)
    standing = [row for row in rows if row.standing]
    comparable = [(row.cost.standalone_seconds, row.label) for row in standing if row.standing and row.standing.as_good
                  and row.cost.standalone_seconds is not None and row.cost.hardware == best.cost.hardware]
    elsewhere = sum(row.cost.hardware != best.cost.hardware or row.cost.standalone_seconds is None for row in standing)
    return Advice(best.label, min(comparable)[1], "", unpaired, elsewhere)


def section(board: Board) -> list[str]:
    """Return the board's section on what to take, a line per table with advice whose rows are in view."""
    lines = [line for table in board.tables if not table.label_noise and (line := _line(table)) is not None]
    if not lines:
        return []
    right = ("score", "time", "its score", "at worst", "its time", "e")
    return ["## Which to take", text.table(lines, right=right), _LEGEND]


def _line(table: Table) -> dict[str, str] | None:
    found = table.advice
    rows = {row.label: row for row in table.rows}
    if found is None or found.best not in rows or (found.choice is not None and found.choice not in rows):
        return None
    best, choice = rows[found.best], rows.get(found.choice or "")
    other = choice if choice is not None and choice is not best else None
    left = {"unpaired": found.unpaired, "other hardware": found.elsewhere}
    return {
        "table": table.id, "highest mean": _name(best), "score": text.share(best.score.mean), "time": _time(best),
        "cheapest as good": "the same" if choice is best else f"- ({found.reason})" if other is None else _name(other),
        "its score": "" if other is None else text.share(other.score.mean),
        "at worst": "" if other is None or other.standing is None else text.signed(other.standing.at_worst),
        "its time": "" if other is None else _time(other),
        "e": text.share(table.margin),
        "rows not compared": ", ".join(f"{count} {why}" for why, count in left.items() if count),
    }


def _name(row: Row) -> str:
    marks = (text.BASELINE if row.best_baseline else "") + (text.LEAK if row.outside.leak == "yes" else "")
    return " ".join(filter(None, (row.label, marks)))


def _time(row: Row) -> str:
    return text.seconds(row.cost, row.cost.standalone_seconds)


_LEGEND = (
    "As good: shown not to be worse than the highest mean by the equality margin e or more (one-sided, steadied, "
    "Holm-adjusted over the table's rows) and told apart from no more better rows than it. **at worst**: the plain "
    "one-sided 95 % lower bound of its difference; whether that is little is for you to say. Time is that of one cell "
    "with the stages that tlbench ran before it, as if it had run them alone; a model's pre-training is not in it, nor "
    "what using the model costs later. Cheapest is among rows that can be paired with the highest mean and ran on its "
    "hardware; lines may be of different machines, and the order of two upper bounds (≤) is not sure."
)
