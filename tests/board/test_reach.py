"""What a score is worth: labels that it saves against the best baseline, steps until training reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tlbench.boards import as_json, build, render
from tlbench.boards.facts import Reach, Saved
from tlbench.boards.reach import saved
from tlbench.boards.values import Board
from tlbench.records import Store

Write = Callable[..., Store]
BASELINE = {100: 0.40, 300: 0.60, 1000: 0.75}


def saved_by(board: Board, strategy: str) -> dict[Any, Saved | None]:
    return {row.budget: row.saved for row in board.rows if row.strategy == strategy}


@pytest.mark.parametrize(
    ("score", "labels", "low", "high"),
    [
        (0.59, 100, 100, 300),  # above the baseline at 100, not at 300
        (0.60, 100, 100, 300),  # the baseline reaches a score that it equals
        (0.61, 100, 300, 1000),
        (0.76, 100, 1000, None),  # never reached: an open end, no extrapolation
        (0.39, 100, None, 100),  # already reached with the fewest labels
        (0.70, 1000, 300, 1000),
        (0.41, 250, 100, 300),  # labels between those of the baseline
    ],
)
def test_labels_saved_is_a_range_between_budgets_that_were_run(
    score: float, labels: int, low: int | None, high: int | None
) -> None:
    assert saved(score, labels, BASELINE) == Saved(labels, low, high)


def test_the_smallest_budget_counts_where_a_baseline_falls_again() -> None:
    assert saved(0.5, 100, {100: 0.4, 300: 0.6, 1000: 0.45}) == Saved(100, 100, 300)


def test_rows_with_transfer_know_what_they_save_once_there_are_two_budgets(toy: SimpleNamespace, write: Write) -> None:
    cells = [
        cell
        for k, plain, transfer in ((100, 0.4, 0.55), (300, 0.6, 0.65), ("full", 0.8, 0.85))
        for strategy, quality in (("linear", plain), ("finetune", transfer))
        for cell in toy.replicates(3, strategy, quality, k=k, test=2000)
    ]
    board = build(write(cells))
    expected = {100: Saved(100, 100, 300), 300: Saved(300, 300, 2000), "full": Saved(2000, 2000, None)}
    assert saved_by(board, "finetune") == expected
    assert set(saved_by(board, "linear").values()) == {None}
    text = render(board)
    section = text[text.index("topic, labels saved:") :]
    found = [cell.strip() for cell in section.splitlines()[4].split("|")[3:6]]
    assert found == ["100 to 300", "300 to 2,000", "> 2,000"]
    rows = [row for row in as_json(board)["rows"] if row["strategy"] == "finetune" and row["budget"] == 100]
    assert rows[0]["labels_saved"] == {"own": 100, "low": 100, "high": 300}


def both(toy: SimpleNamespace, **given: Any) -> list[Any]:
    return [cell for s, q in (("linear", 0.4), ("finetune", 0.6)) for cell in toy.replicates(3, s, q, **given)]


def changed(toy: SimpleNamespace, cells: Sequence[Any], group: str, **fields: Any) -> list[Any]:
    """Return cells whose records hold other fields in one group, and so answer another question."""
    found = []
    for cell in cells:
        facts = toy.outcome(cell).facts
        found.append(replace(cell, extra={group: {**facts[group], **fields},
                                          "comparability": facts["comparability"][::-1]}))
    return found


def test_other_rows_are_another_curve(toy: SimpleNamespace, write: Write) -> None:
    board = build(write([*both(toy, k=100), *both(toy, k=300, data="v2")]))
    assert set(saved_by(board, "finetune").values()) == {None}
    assert "labels saved" not in render(board)


@pytest.mark.parametrize(("group", "fields"), [
    ("task", {"fingerprints": {}}),
    ("task", {"version": 2}),
    ("task", {"signature": "another"}),
    ("protocol", {"id": "tlbench-9"}),
])
def test_another_pool_version_metric_or_protocol_is_another_curve(
    toy: SimpleNamespace, write: Write, group: str, fields: dict[str, Any]
) -> None:
    later = both(toy, k=300)
    if "fingerprints" in fields:
        fields = {"fingerprints": {**toy.outcome(later[0]).facts["task"]["fingerprints"], "train": "another"}}
    board = build(write([*both(toy, k=100), *changed(toy, later, group, **fields)]))
    assert set(saved_by(board, "finetune").values()) == {None}
    assert "Learning curves" not in render(board)


def test_wrong_labels_are_on_no_curve(toy: SimpleNamespace, write: Write) -> None:
    noisy = changed(toy, both(toy, k=300), "budget", label_noise=0.2, wrong_labels=48)
    board = build(write([*both(toy, k=100), *noisy]))
    assert sorted(table.label_noise for table in board.tables) == [0.0, 0.2]
    assert set(saved_by(board, "finetune").values()) == {None}
    assert "Learning curves" not in render(board)


def test_a_baseline_with_more_unlabelled_text_is_no_yardstick(toy: SimpleNamespace, write: Write) -> None:
    reader = [cell for k in (100, 300) for cell in toy.replicates(3, "scratch", 0.9, k=k, unlabeled=5000)]
    plain = [cell for k, q in ((100, 0.4), (300, 0.7)) for cell in toy.replicates(3, "linear", q, k=k)]
    rows = [cell for k in (100, 300) for cell in toy.replicates(3, "finetune", 0.6, k=k)]
    assert saved_by(build(write([*reader, *plain, *rows])), "finetune")[100] == Saved(100, 100, 300)


def test_two_replicates_save_nothing_that_is_known(toy: SimpleNamespace, write: Write) -> None:
    for counts in ((2, 3), (3, 2)):
        cells = [cell for k in (100, 300) for count, s in zip(counts, ("linear", "finetune"), strict=True)
                 for cell in toy.replicates(count, s, 0.5, k=k)]
        assert set(saved_by(build(write(cells)), "finetune").values()) == {None}


def test_one_budget_saves_nothing_that_is_known(toy: SimpleNamespace, write: Write) -> None:
    assert saved_by(build(write(both(toy))), "finetune") == {300: None}


def watched(cells: Sequence[Any], scores: Sequence[Sequence[float]]) -> list[Any]:
    return [replace(cell, watched=seen) for cell, seen in zip(cells, scores, strict=True)]


def reached(board: Board) -> dict[str, Reach | None]:
    return {row.strategy: row.reach for row in board.rows}


def test_reach_is_the_first_step_at_the_baselines_validation_score(toy: SimpleNamespace, write: Write) -> None:
    trained = watched(toy.replicates(3, "finetune", 0.7), ((0.1, 0.5, 0.7), (0.1, 0.4, 0.5), (0.6, 0.2, 0.7)))
    never = watched(toy.replicates(3, "scratch", 0.3), [(0.1, 0.2)] * 3)
    once = watched(toy.replicates(3, "distill", 0.7), ((0.9,), (0.1,), (0.1,)))
    unseen = toy.replicates(3, "lora", 0.7)
    board = build(write([*toy.replicates(3, "linear", 0.5, validation=0.6), *trained, *never, *once, *unseen]))
    assert reached(board) == {"finetune": Reach(30.0, 2, 3), "scratch": Reach(None, 0, 3), "distill": Reach(None, 1, 3),
                              "lora": None, "linear": None}
    text = render(board)
    assert "30 (2/3)" in text
    assert "never (1/3)" in text
    assert "**to baseline** is" in text


def test_reach_counts_paired_replicates_alone(toy: SimpleNamespace, write: Write) -> None:
    trained = watched(toy.replicates(3, "finetune", 0.7), [(0.9,)] * 3)
    trained[1:] = [replace(cell, subset="another") for cell in trained[1:]]
    board = build(write([*toy.replicates(3, "linear", 0.5, validation=0.6), *trained]))
    assert reached(board)["finetune"] == Reach(10.0, 1, 1)


def test_odd_curves_are_read_as_far_as_they_go(toy: SimpleNamespace, write: Write) -> None:
    curves: list[Any] = [None, [{"step": 5, "validation_score": None}, {"validation_score": 0.9}], [{"step": 7}]]
    trained = [replace(cell, extra={"training": {"steps": 9, "curve": curve}})
               for cell, curve in zip(toy.replicates(3, "finetune", 0.7), curves, strict=True)]
    board = build(write([*toy.replicates(3, "linear", 0.5), *trained]))
    assert reached(board)["finetune"] is None


def test_a_board_that_watched_nothing_has_no_column_for_it(toy: SimpleNamespace, write: Write) -> None:
    assert "to baseline" not in render(build(write(both(toy))))
