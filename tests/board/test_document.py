"""board.json: the fields that the issue names, finite rounded numbers, nothing that depends on the clock."""

from __future__ import annotations

import json
import math
from typing import Any

from tlbench.boards import as_json
from tlbench.boards.values import Board


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, float) else []


def test_rows_have_the_published_fields(board: Board) -> None:
    document = as_json(board)
    assert len(document["rows"]) == 21
    for row in document["rows"]:
        assert {
            "model",
            "strategy",
            "task",
            "budget",
            "n",
            "score",
            "delta_scratch",
            "delta_best",
            "states",
        } <= set(row)
        assert set(row["score"]) == {"mean", "sd"}
        assert set(row["states"]) == {"ok", "collapsed", "failed", "unsupported"}
        for delta in (row["delta_scratch"], row["delta_best"]):
            assert {
                "value",
                "lo",
                "hi",
                "p",
                "p_adjusted",
                "verdict",
                "baseline",
                "mde",
                "improve",
                "rer",
            } <= set(delta)
            assert delta["verdict"] in (None, "HELPS", "HARMS", "EQUAL", "UNCLEAR")


def test_a_gain_is_complete(board: Board) -> None:
    row = next(r for r in as_json(board)["rows"]
               if (r["strategy"], r["model"], r["task"]) == ("finetune", "mini", "topic"))
    best = row["delta_best"]
    assert best["baseline"] == "linear"
    assert best["lo"] < best["value"] < best["hi"]
    assert best["p"] <= best["p_adjusted"] < 0.05
    assert row["params"] == {"total": 22_713_216, "trainable": 22_713_216}
    assert row["leak"] == "no"
    assert row["outside"]["sources"] == ["books", "web"]
    assert row["cost"]["peak_memory_bytes"] == 700 * 2**20


def test_header_and_families_say_how_it_was_made(board: Board) -> None:
    document = as_json(board)
    header = document["header"]
    assert header["protocols"] == ["tlbench-1"]
    assert header["resamples"] == 1000
    assert header["commands"] == ["tlbench run --tasks all"]
    assert header["held_equal"]
    assert document["families"] == [{"kind": "best", "tier": "quick", "size": 16},
                                    {"kind": "part", "tier": "quick", "size": 6},
                                    {"kind": "scratch", "tier": "quick", "size": 9}]
    assert document["tables"][0]["task"]["fingerprints"]["test"]


def test_numbers_are_finite_rounded_and_survive_json(board: Board) -> None:
    document = as_json(board)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for number in numbers(document):
        assert math.isfinite(number)
        assert number == float(f"{number:.6g}")
