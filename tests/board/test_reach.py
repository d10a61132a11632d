"""What a score is worth: labels saved against the best baseline, steps until training reaches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tlbench.boards import as_json, build, render
from tlbench.boards.facts import Reach, Saved
from tlbench.boards.reach import saved
from tlbench.records import Store

Write = Callable[..., Store]
BASELINE = {100: 0.40, 300: 0.60, 1000: 0.75}


@pytest.mark.parametrize(
    ("score", "labels", "low", "high"),
    [
        (0.59, 100, 1.0, 3.0),  # above the baseline at 100, not at 300
        (0.60, 100, 1.0, 3.0),  # the baseline reaches a score that it equals
        (0.61, 100, 3.0, 10.0),
        (0.76, 100, 10.0, None),  # never reached: an open end, no extrapolation
        (0.39, 100, None, 1.0),  # already reached with the fewest labels
        (0.70, 1000, 0.3, 1.0),  # transfer costs labels
        (0.41, 250, 0.4, 1.2),  # labels between those of the baseline
    ],
)
def test_labels_saved_is_a_range_between_budgets_that_were_run(
    score: float, labels: int, low: float | None, high: float | None
) -> None:
    assert saved(score, labels, BASELINE) == Saved(low, high)


def test_the_smallest_budget_counts_where_a_baseline_falls_again() -> None:
    assert saved(0.5, 100, {100: 0.4, 300: 0.6, 1000: 0.45}) == Saved(1.0, 3.0)


def test_rows_with_transfer_know_what_they_save_once_there_are_two_budgets(toy: SimpleNamespace, write: Write) -> None:
    cells = [
        cell
        for k, plain, transfer in ((100, 0.4, 0.55), (300, 0.6, 0.65), ("full", 0.8, 0.85))
        for strategy, quality in (("linear", plain), ("finetune", transfer))
        for cell in toy.replicates(3, strategy, quality, k=k, test=2000)
    ]
    board = build(write(cells))
    found = {row.budget: row.saved for row in board.rows if row.transfers}
    assert found == {100: Saved(1.0, 3.0), 300: Saved(1.0, 2000 / 300), "full": Saved(1.0, None)}
    assert all(row.saved is None for row in board.rows if not row.transfers)
    text = render(board)
    section = text[text.index("topic, labels saved:") :]
    assert [cell.strip() for cell in section.splitlines()[4].split("|")[3:6]] == ["1 to 3", "1 to 6.7", "> 1"]
    rows = [row for row in as_json(board)["rows"] if row["strategy"] == "finetune" and row["budget"] == 100]
    assert rows[0]["labels_saved"] == {"low": 1.0, "high": 3.0}


def test_other_test_sets_and_wrong_labels_are_no_curve(toy: SimpleNamespace, write: Write) -> None:
    def both(**given: object) -> list[object]:
        return [cell for s, q in (("linear", 0.4), ("finetune", 0.6)) for cell in toy.replicates(3, s, q, **given)]

    board = build(write([*both(k=100), *both(k=300, data="v2")]))
    assert [row.saved for row in board.rows] == [None] * 4
    assert "labels saved" not in render(board)


def test_one_budget_saves_nothing_that_is_known(toy: SimpleNamespace, write: Write) -> None:
    board = build(write([*toy.replicates(3, "linear", 0.4), *toy.replicates(3, "finetune", 0.6)]))
    assert [row.saved for row in board.rows] == [None, None]


def test_reach_is_the_first_step_at_the_baselines_validation_score(toy: SimpleNamespace, write: Write) -> None:
    seen = ((0.1, 0.5, 0.7), (0.1, 0.4, 0.5), (0.6, 0.2, 0.7))  # steps 10, 20, 30
    trained = [replace(cell, watched=scores)
               for cell, scores in zip(toy.replicates(3, "finetune", 0.7), seen, strict=True)]
    never = [replace(cell, watched=(0.1, 0.2)) for cell in toy.replicates(3, "scratch", 0.3)]
    unseen = toy.replicates(3, "lora", 0.7)
    board = build(write([*toy.replicates(3, "linear", 0.5, validation=0.6), *trained, *never, *unseen]))
    found = {row.strategy: row.reach for row in board.rows}
    assert found == {"finetune": Reach(20.0, 2, 3), "scratch": Reach(None, 0, 3), "lora": None, "linear": None}
    text = render(board)
    assert "20 (2/3)" in text
    assert "never (0/3)" in text
    assert "**to baseline** is" in text


def test_a_board_that_watched_nothing_has_no_column_for_it(toy: SimpleNamespace, write: Write) -> None:
    text = render(build(write([*toy.replicates(3, "linear", 0.5), *toy.replicates(3, "finetune", 0.7)])))
    assert "to baseline" not in text
