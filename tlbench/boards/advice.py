"""Which setup to take: of those that are as good as the best on a task, the one that costs least."""

from __future__ import annotations

from collections.abc import Sequence

from tlbench.boards import text
from tlbench.boards.values import Board, Row, Table


def section(board: Board) -> list[str]:
    """Return the board's section on what to take, a row per table; nothing where no table has three replicates."""
    found = [(table, chosen) for table in board.tables if (chosen := chosen_from(table)) is not None]
    if not found:
        return []
    rows = [_line(table, *chosen) for table, chosen in found]
    return ["## Which to take", text.table(rows, right=("score", "time", "its score", "its time", "e")), _LEGEND]


def chosen_from(table: Table) -> tuple[Row, Row] | None:
    """Return the row with the highest mean and the cheapest that is as good; `None` if they are not known or hidden.

    Times compare only on one hardware, so rows that ran elsewhere than the best one are left out.
    """
    standing = next((row.standing for row in table.rows if row.standing), None)
    best = next((row for row in table.rows if standing and row.label == standing.best), None)
    if best is None:
        return None
    return best, min(_as_good(table.rows, best), key=lambda row: (row.cost.standalone_seconds or 0.0, row.label))


def _as_good(rows: Sequence[Row], best: Row) -> list[Row]:
    """Return the rows as good as the best one whose time can be compared with its own, itself among them."""
    if best.cost.standalone_seconds is None:
        return [best]
    return [best, *(row for row in rows if row.standing and row.standing.as_good
                    and row.cost.hardware == best.cost.hardware and row.cost.standalone_seconds is not None)]


def _line(table: Table, best: Row, cheapest: Row) -> dict[str, str]:
    return {
        "table": table.id, "highest mean": best.label, "score": text.share(best.score.mean), "time": _time(best),
        "as good and cheapest": "the same" if cheapest is best else cheapest.label,
        "its score": "" if cheapest is best else text.share(cheapest.score.mean),
        "its time": "" if cheapest is best else _time(cheapest),
        "e": text.share(table.margin),
    }


def _time(row: Row) -> str:
    return text.seconds(row.cost, row.cost.standalone_seconds)


_LEGEND = (
    "As good: shown not to be worse than the highest mean by the equality margin e or more (one-sided p below 0.05, "
    "steadied, one comparison at a time) and not told apart from it. Whether e is little is for you to say: where it "
    "is not, run more replicates, or a larger test. Time is that of one cell, with all stages before it as if it had "
    "made them alone, on one hardware; what using the model costs later is not in it."
)
