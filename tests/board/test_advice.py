"""Which setup to take: the cheapest of those that are as good as the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tlbench.boards import as_json, build, render, select, standings
from tlbench.boards.facts import Standing
from tlbench.boards.values import Advice, Board, Row
from tlbench.records import Store

Write = Callable[..., Store]


def took(seconds: float | None, upstream: float = 0.0, spent: float = 0.0) -> Mapping[str, Any]:
    stage = {"task": "source", "labels": 9, "stage": "abc", "shared": True, "seconds": upstream, "spent": spent}
    training = {"optimizer": "adamw", "steps": 200, "stop_reason": "steps", "curve": [],
                "upstream": [stage] if upstream else []}
    return {"cost": {"seconds": {} if seconds is None else {"total": seconds}}, "training": training}


def row(board: Board, strategy: str) -> Row:
    return next(row for row in board.rows if row.strategy == strategy)


def standing(board: Board, strategy: str) -> Standing:
    found = row(board, strategy).standing
    assert found is not None
    return found


def advice(board: Board) -> Advice:
    found = board.tables[0].advice
    assert found is not None
    return found


@pytest.fixture
def board(toy: SimpleNamespace, write: Write) -> Board:
    return build(write(
        toy.replicates(3, "floor", 0.3, test=2000, extra=took(0)),
        toy.replicates(3, "linear", 0.5, test=2000, extra=took(1)),  # cheaper, but worse
        toy.replicates(3, "feature-extraction", 0.72, test=2000, model="leaky", extra=took(10)),
        toy.replicates(3, "finetune", 0.726, test=2000, extra=took(100)),
        toy.replicates(3, "intermediate", 0.72, test=2000, extra=took(8, upstream=90)),  # its source is charged
    ))


def test_the_cheapest_row_that_is_as_good_is_named(board: Board) -> None:
    assert advice(board) == Advice("finetune (mini)", "feature-extraction (leaky)")
    assert standing(board, "finetune") == Standing("finetune (mini)", 0.0, 0.0, as_good=True)
    assert standing(board, "intermediate").as_good
    assert row(board, "intermediate").cost.standalone_seconds == 98
    assert not standing(board, "linear").as_good
    assert standing(board, "linear").value < -0.15
    found = standing(board, "feature-extraction")
    line = next(line for line in render(board).splitlines() if line.startswith("| topic@300"))
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    assert (cells[0], *cells[2:4]) == ("finetune (mini)", "100 s", "feature-extraction (leaky) ⚑")
    assert cells[5:] == [f"{found.at_worst:+.3f}", "10.0 s", "0.022", ""]
    tables = as_json(board)["tables"]
    assert tables[0]["advice"] == {"best": "finetune (mini)", "choice": "feature-extraction (leaky)", "reason": "",
                                   "unpaired": 0, "elsewhere": 0}


def test_a_view_changes_no_advice_and_hides_it_with_its_rows(board: Board) -> None:
    assert "feature-extraction (leaky) ⚑" in render(select(board, strategies=("finetune", "feature-extraction")))
    for hidden in ("finetune", "feature-extraction"):
        rest = tuple(one.strategy for one in board.rows if one.strategy != hidden)
        assert "Which to take" not in render(select(board, strategies=rest))


def test_time_that_a_cell_waited_for_a_stage_counts_once(toy: SimpleNamespace, write: Write) -> None:
    made = build(write(toy.replicates(3, "intermediate", 0.7, extra=took(100, upstream=90, spent=90))))
    assert row(made, "intermediate").cost.standalone_seconds == 100


def test_a_wide_interval_is_not_as_good(toy: SimpleNamespace, write: Write) -> None:
    wild = [toy.Made("lora", r, quality, test=2000, extra=took(1)) for r, quality in enumerate((0.5, 0.7, 0.9))]
    made = build(write(toy.replicates(3, "finetune", 0.72, test=2000, extra=took(100)), wild))
    assert advice(made) == Advice("finetune (mini)", "finetune (mini)")
    assert "| the same" in render(made)


def test_the_variance_of_like_rows_steadies_a_lucky_one(toy: SimpleNamespace, write: Write) -> None:
    best = toy.replicates(3, "lora", 0.718, test=2000)
    lucky = toy.replicates(3, "finetune", 0.72, test=2000)
    wild = [toy.Made(f"peft(method={name})", r, quality, test=2000) for name in ("ia3", "vera", "oft")
            for r, quality in enumerate((0.35, 0.5, 0.65))]
    assert standing(build(write(best, lucky)), "finetune").as_good
    assert not standing(build(write(best, lucky, wild)), "finetune").as_good


def test_many_rows_are_corrected_for(toy: SimpleNamespace, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [*toy.replicates(3, "lora", 0.718, test=2000), *toy.replicates(3, "finetune", 0.72, test=2000)]
    more = [cell for k in (2, 4) for cell in toy.replicates(3, f"lora(rank={k})", 0.72, test=2000)]
    monkeypatch.setattr(standings, "inferiority_p", lambda *given: 0.03)
    assert standing(build(write(pair)), "finetune").as_good
    assert not standing(build(write(pair, more)), "finetune").as_good


def test_a_row_that_a_better_one_is_told_apart_from_is_not_as_good(
    toy: SimpleNamespace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standings, "inferiority_p", lambda *given: 0.0)  # as with a margin as wide as the scale
    made = build(write(toy.replicates(3, "finetune", 0.8, test=2000), toy.replicates(3, "lora", 0.5, test=2000)))
    assert row(made, "lora").ranks == (2, 2)
    assert not standing(made, "lora").as_good


def test_rows_with_collapsed_replicates_and_other_hardware_are_left_out(toy: SimpleNamespace, write: Write) -> None:
    def broken(strategy: str, quality: float) -> list[Any]:
        return [replace(one, status="collapsed", reason="one class") if one.replicate == 2 else one
                for one in toy.replicates(3, strategy, quality, test=2000, extra=took(1))]

    made = build(write(
        toy.replicates(3, "finetune", 0.738, test=2000, extra=took(100)), broken("lora", 0.73), broken("peft", 0.8),
        toy.replicates(3, "prompt", 0.733, test=2000, extra=took(2), hardware="another"),
        toy.replicates(3, "tapt", 0.72, test=2000, extra=took(3), numerics="another"),
    ))
    assert standing(made, "prompt").as_good
    assert not standing(made, "lora").as_good
    assert standing(made, "peft").best == "finetune (mini)"  # the highest mean, but one replicate collapsed
    assert advice(made) == Advice("finetune (mini)", "finetune (mini)", unpaired=1, elsewhere=1)
    assert "1 unpaired, 1 other hardware" in render(made)


def test_another_seed_is_no_setup_of_its_own(toy: SimpleNamespace, write: Write) -> None:
    made = build(write(toy.replicates(3, "finetune", 0.7, extra=took(100)),
                       toy.replicates(3, "finetune(seed=1)", 0.75, extra=took(1))))
    assert row(made, "finetune(seed=1)").standing is None
    assert advice(made).choice == "finetune (mini)"


def test_no_advice_where_the_margin_is_as_wide_as_what_was_learned(toy: SimpleNamespace, write: Write) -> None:
    made = build(write(toy.replicates(3, "floor", 0.70), toy.replicates(3, "finetune", 0.72)))
    assert advice(made).choice is None
    assert "- (e is as large as all that was learned beyond the floor)" in render(made)


def test_unknown_time_is_no_advice(toy: SimpleNamespace, write: Write) -> None:
    made = build(write(toy.replicates(3, "finetune", 0.72, extra=took(None)),
                       toy.replicates(3, "lora", 0.72, extra=took(5))))
    assert (advice(made).choice is None) == (advice(made).best == "finetune (mini)")
    assert row(made, "finetune").cost.standalone_seconds is None
    assert "its time is not known" in render(made) or advice(made).elsewhere == 1


def test_labels_made_wrong_give_no_advice(toy: SimpleNamespace, write: Write) -> None:
    def noisy(cell: Any) -> Any:
        return replace(cell, extra={"budget": {**toy.outcome(cell).facts["budget"], "label_noise": 0.2}})

    cells = [*toy.replicates(3, "linear", 0.5), *toy.replicates(3, "finetune", 0.7)]
    assert "Which to take" in render(build(write(cells)))
    assert "Which to take" not in render(build(write([noisy(cell) for cell in cells])))


def test_two_replicates_or_baselines_alone_give_no_advice(toy: SimpleNamespace, write: Write) -> None:
    assert "Which to take" not in render(build(write(toy.replicates(2, "finetune", 0.7))))
    assert "Which to take" not in render(build(write(toy.replicates(3, "linear", 0.5, task="other"))))
