"""The markdown board: its claims in words, and tables that GitHub can render."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from tlbench.boards import as_json, build, render, text
from tlbench.boards.values import Board
from tlbench.records import Store

Write = Callable[..., Store]


def first_paragraph(text: str) -> str:
    return text.split("\n\n")[1]


def test_headline_says_where_a_classical_baseline_wins(board: Board) -> None:
    words = first_paragraph(render(board))
    assert "transfer **helps** in 2 of 10 conditions" in words
    assert "On names@300, a classical baseline without any neural model wins: linear" in words
    assert "1 cell collapsed and 1 cell failed" in words
    assert "3 tasks from 1 domain" in words


def test_headline_says_where_nothing_is_shown_to_beat_the_baseline(
    toy: SimpleNamespace, write: Write
) -> None:
    board = build(write(toy.replicates(3, "linear", 0.6), toy.replicates(3, "finetune", 0.61)))
    words = first_paragraph(render(board))
    assert "no setup with transfer is shown to beat linear" in words


def test_headline_says_ahead_and_not_wins_without_a_verdict(toy: SimpleNamespace, write: Write) -> None:
    words = first_paragraph(
        render(build(write(toy.replicates(1, "linear", 0.7), toy.replicates(1, "lora", 0.6))))
    )
    assert "linear scores" in words
    assert "is ahead" in words
    assert "wins" not in words


def test_harm_is_counted_over_all_tables_of_a_setup(toy: SimpleNamespace, write: Write) -> None:
    both = [cell for task in ("a", "b") for cell in toy.replicates(3, "linear", 0.7, task=task)]
    helped, harmed = (
        toy.replicates(3, "finetune", 0.9, task="a"),
        toy.replicates(3, "finetune", 0.4, task="b"),
    )
    board = build(write(both, helped, harmed, toy.replicates(3, "lora", 0.8, task="a")))
    found = next(a for a in board.aggregates if a.strategy == "finetune")
    assert (found.tables, found.offered) == (("a@300",), 2)
    assert (found.harmed, found.judged) == (1, 2)
    assert found.worst is not None
    assert found.worst[0] == "b@300"


def test_headline_says_where_no_transfer_took_part(toy: SimpleNamespace, write: Write) -> None:
    board = build(write(toy.replicates(3, "linear", 0.6), toy.replicates(3, "scratch", 0.6)))
    assert "say nothing about transfer" in first_paragraph(render(board))


def test_cap_stands_beside_every_delta_that_rests_on_it(board: Board) -> None:
    text = render(board)
    lines = [line for line in text.splitlines() if line.startswith("|") and "(cap)" in line]
    assert len(lines) == 3  # finetune, feature-extraction and lora of the same model on topic
    assert "scratch (mini): `stop_reason=cap` in 3 of 3 replicates" in text


def test_contended_times_are_upper_bounds(toy: SimpleNamespace, write: Write) -> None:
    text = render(build(write(toy.replicates(3, "linear", 0.6, contended=True))))
    assert "≤ 13.2 s" in text
    assert "Times with ≤ are upper bounds, since the machine was shared while these ran: linear." in text


def test_times_of_several_machines_are_marked(toy: SimpleNamespace, write: Write) -> None:
    text = render(
        build(write(toy.replicates(3, "linear", 0.6), toy.replicates(3, "finetune", 0.7, hardware="gpu-box")))
    )
    assert "come from different machines (gpu-box; toy-cpu)" in text


def test_rows_whose_replicates_share_a_stage_are_named_once_per_table(toy: SimpleNamespace, write: Write) -> None:
    def staged(shared: bool) -> dict[str, Any]:
        stage = {"task": "far", "labels": 9, "stage": "a", "shared": shared, "seconds": 5.0, "spent": 0.0}
        return {"training": {"steps": 2, "stop_reason": "steps", "curve": [], "upstream": [stage]}}

    cells = [
        *toy.replicates(3, "intermediate", 0.7, extra=staged(True)),
        *toy.replicates(3, "tapt", 0.6, extra=staged(True)),
        *toy.replicates(3, "intermediate(redraw=True)", 0.7, extra=staged(False)),
        *toy.replicates(1, "dapt", 0.7, extra=staged(True)),  # one replicate has no spread
        *toy.replicates(3, "finetune", 0.6),
    ]
    board = build(write(cells, toy.replicates(3, "finetune", 0.6, task="other")))
    (line,) = [line for line in render(board).splitlines() if "their spread does not hold" in line]
    assert line.startswith("- ")
    assert line.endswith("each replicate): intermediate (mini), tapt (mini).")
    assert {row["strategy"] for row in as_json(board)["rows"] if row["shared_stage"]} == {"intermediate", "tapt"}


def test_every_table_row_has_as_many_cells_as_its_head(board: Board) -> None:
    blocks = [block for block in render(board).split("\n\n") if block.startswith("|")]
    assert blocks
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
        assert widths.pop() <= 11


def test_text_from_records_cannot_break_out_of_its_line(toy: SimpleNamespace, write: Write) -> None:
    reason = "line one\n| a | b |\n`code`"
    text = render(
        build(write(toy.replicates(3, "linear", 0.6), toy.Made("fine|tune", status="failed", reason=reason)))
    )
    assert "- fine|tune (mini): `failed: line one | a | b | 'code' (replicate 0)`" in text
    assert "fine\\|tune" in text


def test_model_notes_and_leaks_are_printed(board: Board) -> None:
    text = render(board)
    assert "- Model leaky: v0: a first, weak model" in text
    assert "its declared training data include reviews" in text


def test_measurement_is_stated(board: Board) -> None:
    text = render(board)
    for fact in ("tlbench-1", "quick", "toy-cpu", "torch 2.13.0", "tlbench run --tasks all", "What was held "
                                                                                             "equal",
                 "BSD-3-Clause", "Noise floor: not measured", "16 comparisons of Δ best at tier quick"):
        assert fact in text


def test_no_number_is_missing_or_broken(board: Board) -> None:
    text = render(board)
    assert not re.search(r"\b(nan|None|inf)\b", text)
    assert "-0.000" not in text


def test_other_metrics_stand_beside_with_their_direction(board: Board) -> None:
    table = next(table for table in board.tables if table.id == "names@300")
    asked, silent = table.rows[0], table.rows[1]
    said = {"chrf": 0.5, "rouge_l": 0.25, "perplexity": 12_345.6}
    rows = (replace(asked, score=replace(asked.score, others=said)),
            replace(silent, score=replace(silent.score, others={"chrf": 0.4, "rouge_l": 0.2})))
    shown = replace(table, kind="text-generation", metric="chrf", rows=rows)
    lines = render(replace(board, tables=(shown,))).partition("Other metrics of names@300")[2].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[3:-1]] for line in lines if line.startswith("|")][:4]
    assert cells == [["rouge_l", "perplexity ↓"], cells[1], ["0.250", "12,345.600"], ["0.200", ""]]
    assert "perplexity is per token of each model's own vocabulary" in lines[0]


def test_a_measure_may_be_large() -> None:
    shown = [text.measure(value, 4) for value in (None, 0.25, 1234.5678, 3e20)]
    assert shown == ["", "0.2500", "1,234.5678", "3.0e+20"]
