"""Which setup to take: the cheapest of those that are as good as the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from tlbench.boards import as_json, build, render, select
from tlbench.boards.advice import chosen_from
from tlbench.boards.facts import Standing
from tlbench.boards.values import Board, Table
from tlbench.records import Store

Write = Callable[..., Store]


def took(seconds: float, upstream: float = 0.0, spent: float = 0.0) -> Mapping[str, Any]:
    stage = {"task": "source", "labels": 9, "stage": "abc", "shared": True, "seconds": upstream, "spent": spent}
    training = {"optimizer": "adamw", "steps": 200, "stop_reason": "steps", "curve": [],
                "upstream": [stage] if upstream else []}
    return {"cost": {"seconds": {"total": seconds}}, "training": training}


def chosen(table: Table) -> tuple[str, str] | None:
    found = chosen_from(table)
    return None if found is None else (found[0].strategy, found[1].strategy)


def standing(board: Board, strategy: str) -> Standing:
    found = next(row.standing for row in board.rows if row.strategy == strategy)
    assert found is not None
    return found


def test_the_cheapest_row_that_is_as_good_is_named(toy: SimpleNamespace, write: Write) -> None:
    board = build(write(
        toy.replicates(3, "linear", 0.5, test=2000, extra=took(1)),  # cheaper, but worse
        toy.replicates(3, "feature-extraction", 0.72, test=2000, extra=took(10)),
        toy.replicates(3, "finetune", 0.726, test=2000, extra=took(100)),
        toy.replicates(3, "intermediate", 0.72, test=2000, extra=took(8, upstream=90)),  # its source is charged
    ))
    assert chosen(board.tables[0]) == ("finetune", "feature-extraction")
    assert standing(board, "finetune") == Standing("finetune (mini)", 0.0, as_good=True)
    assert standing(board, "intermediate").as_good
    assert not standing(board, "linear").as_good
    assert standing(board, "linear").value < -0.15
    text = render(board)
    line = next(line for line in text.splitlines() if line.startswith("| topic@300"))
    cells = [cell.strip() for cell in line.split("|")[2:8]]
    assert (cells[0], cells[2:4], cells[5]) == ("finetune (mini)", ["100 s", "feature-extraction (mini)"], "10.0 s")
    rows = {row["strategy"]: row["standing"] for row in as_json(board)["rows"]}
    assert rows["finetune"] == {"best": "finetune (mini)", "value": 0.0, "as_good": True}


def test_time_that_a_cell_waited_for_a_stage_counts_once(toy: SimpleNamespace, write: Write) -> None:
    board = build(write(toy.replicates(3, "intermediate", 0.7, extra=took(100, upstream=90, spent=90))))
    assert board.rows[0].cost.standalone_seconds == 100


def test_a_wide_interval_is_not_as_good(toy: SimpleNamespace, write: Write) -> None:
    wild = [toy.Made("lora", r, quality, test=2000, extra=took(1)) for r, quality in enumerate((0.5, 0.7, 0.9))]
    board = build(write(toy.replicates(3, "finetune", 0.72, test=2000, extra=took(100)), wild))
    assert chosen(board.tables[0]) == ("finetune", "finetune")
    assert "| the same" in render(board)


def test_rows_with_collapsed_replicates_and_other_hardware_are_left_out(toy: SimpleNamespace, write: Write) -> None:
    broken = [toy.Made("lora", r, 0.72, test=2000, status="collapsed" if r == 2 else "ok",
                       reason="one class" if r == 2 else None, extra=took(1)) for r in range(3)]
    board = build(write(
        toy.replicates(3, "finetune", 0.736, test=2000, extra=took(100)), broken,
        toy.replicates(3, "prompt", 0.73, test=2000, extra=took(2), hardware="another"),
    ))
    assert standing(board, "prompt").as_good
    assert not standing(board, "lora").as_good
    assert chosen(board.tables[0]) == ("finetune", "finetune")


def test_two_replicates_or_a_hidden_best_row_give_no_advice(toy: SimpleNamespace, write: Write) -> None:
    assert "Which to take" not in render(build(write(toy.replicates(2, "finetune", 0.7))))
    board = build(write(toy.replicates(3, "linear", 0.5), toy.replicates(3, "finetune", 0.7)))
    view = select(board, strategies=("linear",))
    assert chosen(view.tables[0]) is None
    assert "Which to take" not in render(view)
