"""What each part of a strategy adds: found by its absence, judged in a family of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from tlbench.boards import as_json, build, render, select
from tlbench.boards.values import Board
from tlbench.records import Store

Write = Callable[..., Store]


def parts(board: Board) -> dict[tuple[str, str], str | None]:
    return {(one.row, one.part): one.delta.baseline for table in board.tables for one in table.contributions}


def test_each_part_of_a_composition_is_compared_with_the_rest(toy: SimpleNamespace, write: Write) -> None:
    rows = {"finetune": 0.6, "lora": 0.55, "augment": 0.62, "augment+lora": 0.8, "scratch": 0.4}
    board = build(write(*(toy.replicates(3, name, quality) for name, quality in rows.items())))
    assert parts(board) == {
        ("augment (mini)", "augment"): "finetune (mini)",
        ("lora (mini)", "lora"): "finetune (mini)",
        ("augment+lora (mini)", "augment"): "lora (mini)",
        ("augment+lora (mini)", "lora"): "augment (mini)",
    }
    found = {one.part: one for one in board.tables[0].contributions if one.row == "augment+lora (mini)"}
    gain = found["augment"].delta
    assert gain.value is not None
    assert gain.lo is not None
    assert gain.hi is not None
    assert 0.25 < gain.value < 0.35
    assert gain.lo < 0.3125 < gain.hi  # the fakes are right with probability (quality - 0.1) / 0.8
    assert gain.verdict == "HELPS"
    assert {(family.kind, family.size) for family in board.families} >= {("part", 4)}
    text = render(board)
    assert "What each part adds on topic@300:" in text
    assert "| augment+lora (mini) | augment | lora (mini)     |" in text
    assert as_json(board)["tables"][0]["contributions"][0]["delta"]["baseline"] == "finetune (mini)"


def test_the_rest_has_the_same_settings_and_the_same_model(toy: SimpleNamespace, write: Write) -> None:
    cells = [
        *toy.replicates(3, "lora(rank=4)+augment", 0.7),
        *toy.replicates(3, "lora", 0.6),
        *toy.replicates(3, "augment", 0.6, model="other"),
        *toy.replicates(3, "linear", 0.6),
    ]
    assert parts(build(write(cells))) == {}


def test_a_source_task_is_named(toy: SimpleNamespace, write: Write) -> None:
    cells = [*toy.replicates(3, "intermediate(source=sst2)", 0.7), *toy.replicates(3, "finetune", 0.6)]
    (one,) = build(write(cells)).tables[0].contributions
    assert (one.source, one.part) == ("sst2", "intermediate(source=sst2)")


def test_two_rows_that_differ_in_their_seed_are_the_noise_floor(toy: SimpleNamespace, write: Write) -> None:
    board = build(write(toy.replicates(3, "finetune", 0.7), toy.replicates(3, "finetune(seed=1)", 0.7)))
    (one,) = board.tables[0].contributions
    assert one.seeds_only
    assert one.delta.value is not None
    assert one.delta.apart is not None
    assert one.delta.apart >= abs(one.delta.value)
    assert f"differ in nothing but their seeds: {one.delta.apart:.3f} on topic@300 (3 replicates)." in render(board)
    bare = build(write(toy.replicates(3, "finetune", 0.7)))
    assert "Noise floor: not measured" in render(bare)


def test_parts_of_what_starts_at_random_count_but_not_the_random_start(toy: SimpleNamespace, write: Write) -> None:
    rows = {"finetune": 0.6, "augment": 0.6, "distill": 0.6, "scratch": 0.4, "scratch+augment": 0.5,
            "scratch+distill": 0.5, "scratch+augment+distill": 0.55}
    board = build(write(*(toy.replicates(3, name, quality) for name, quality in rows.items())))
    assert {pair: rest for pair, rest in parts(board).items() if "scratch" in pair[0]} == {
        ("scratch+augment (mini)", "augment"): "scratch (mini)",
        ("scratch+distill (mini)", "distill"): "scratch (mini)",
        ("scratch+augment+distill (mini)", "augment"): "scratch+distill (mini)",
        ("scratch+augment+distill (mini)", "distill"): "scratch+augment (mini)",
    }


def test_noise_floor_is_of_plain_fine_tuning(toy: SimpleNamespace, write: Write) -> None:
    names = ("lora", "lora+finetune(seed=1)", "scratch", "scratch+finetune(seed=1)")
    board = build(write(*(toy.replicates(3, name, 0.6) for name in names)))
    assert {one.rest for one in board.tables[0].contributions if one.part == "finetune(seed=1)"} == {"lora", "scratch"}
    assert "Noise floor: not measured" in render(board)


def test_what_is_another_method_without_its_part_has_nothing_to_take_out(toy: SimpleNamespace, write: Write) -> None:
    def made(strategy: str, setup: dict[str, Any]) -> list[Any]:
        cells = toy.replicates(3, strategy, 0.6)
        return [replace(cell, setup=setup) for cell in cells]

    asked = made("prompt", {"learner": {"name": "prompt"}})
    read = made("self-pretrain", {"weights": {"type": "Continued", "start": {"type": "Random"}}})
    taught = made("scratch+distill", {"weights": {"type": "Random"}})
    tuned = toy.replicates(3, "finetune", 0.6)
    board = build(write(asked, read, taught, tuned, made("dapt", {"weights": {"type": "Continued", "start": {}}})))
    assert [one.row for one in board.tables[0].contributions] == ["dapt (mini)"]


def test_few_like_rows_are_sought_in_other_tables_of_the_metric(toy: SimpleNamespace, write: Write) -> None:
    def grid(task: str, spread: float) -> list[Any]:
        given = {"task": task}
        moved = [toy.Made("finetune", r, 0.66 + step, **given) for r, step in enumerate((-spread, 0.0, spread))]
        return [*toy.replicates(3, "linear", 0.6, **given), *moved]

    alone = build(write(grid("one", 0.0)))
    beside = build(write(grid("one", 0.0), grid("two", 0.15), grid("three", 0.15)))
    lucky = next(r.best for r in alone.rows if r.strategy == "finetune")
    held = next(r.best for r in beside.rows if (r.strategy, r.task) == ("finetune", "one"))
    assert (lucky.p, lucky.lo) == (held.p, held.lo)
    assert lucky.p_adjusted == lucky.p
    assert (held.p_adjusted or 0) > 30 * (lucky.p or 1)


def test_rest_at_another_precision_is_no_counterpart(toy: SimpleNamespace, write: Write) -> None:
    lower = [replace(cell, precision="bf16") for cell in toy.replicates(3, "finetune", 0.6)]
    assert parts(build(write(toy.replicates(3, "lora", 0.7), lower))) == {}


def test_verdict_between_two_rows_tells_their_ranks_apart_and_a_view_hides_parts_of_hidden_rows(
    toy: SimpleNamespace, write: Write
) -> None:
    board = build(write(toy.replicates(3, "lora", 0.8), toy.replicates(3, "finetune", 0.6)))
    assert board.tables[0].contributions[0].delta.verdict == "HELPS"
    assert {row.strategy: row.ranks for row in board.rows} == {"lora": (1, 1), "finetune": (2, 2)}
    assert select(board, strategies=["finetune"]).tables[0].contributions == ()
