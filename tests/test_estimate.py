"""`tlbench plan` times real steps of each row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from tlbench import cells, estimate, timing
from tlbench.cli import cli
from tlbench.grid import Cell
from tlbench.records import Outcome

TOYS = Path(__file__).with_name("toys.py")


def test_plan_estimates_learners_and_neural_rows(
    zoo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []
    measure = timing._step_seconds

    def steady(*given: Any) -> float:
        """Time steps as ever, and answer a second, so that no stall of the machine decides what is compared."""
        measured.append(measure(*given))
        return 1.0

    monkeypatch.setattr(timing, "_step_seconds", steady)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    arguments = ["plan", "--plugin", str(TOYS), "--tasks", "toy-topic", "--models", str(zoo("encoder")), "--json"]
    arguments += [
        "--strategies",
        "floor,finetune,feature-extraction,scratch",
        "--budgets",
        "40",
        "--out",
        str(tmp_path / "r"),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    made = json.loads(result.stdout)
    assert made["cells"] == 12
    assert made["reused"] == 0
    seconds = {row["condition"].rpartition(" | ")[2]: row["seconds_each"] for row in made["rows"]}
    assert seconds["scratch"] > 2 * seconds["finetune"] >= 200
    assert seconds["feature-extraction"] > 0
    assert len(measured) == 2  # the head of feature extraction is not timed
    assert all(0 < step < math.inf for step in measured)
    assert not (tmp_path / "r").exists()


def test_plan_asks_a_prompted_model_about_a_few_examples_only(
    zoo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    found: list[float] = []
    run_cell, measured = cells.run_cell, estimate._measured

    def spy(cell: Cell, shop: cells.Shop) -> Outcome:
        asked.append(len(shop.data(cell.condition.task).test))
        return run_cell(cell, shop)

    def watched(cell: Cell, shop: cells.Shop) -> Any:
        seconds, made = measured(cell, shop)
        found.append(seconds)
        return seconds, made

    monkeypatch.setattr(cells, "run_cell", spy)
    monkeypatch.setattr(estimate, "_measured", watched)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    arguments = ["plan", "--plugin", str(TOYS), "--tasks", "toy-topic", "--models", str(zoo("decoder")), "--json",
                 "--strategies", "prompt(max_length=60)", "--budgets", "40", "--out", str(tmp_path / "r")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert asked == [8]
    assert found[0] > 0
    assert json.loads(result.stdout)["rows"][0]["seconds_each"] == round(found[0], 1)


def test_plan_counts_what_lies_before_the_cells_once(
    zoo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_step_seconds", lambda *given: 1.0)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    shared = "intermediate(source=toy-names,budget=20)"
    strategies = (f"{shared},{shared}+lora,intermediate(source=toy-names,budget=20,redraw=True),distill(members=2),"
                  "distill(members=3),tapt")
    arguments = ["plan", "--plugin", str(TOYS), "--tasks", "toy-topic", "--models", str(zoo("encoder")), "--json",
                 "--strategies", strategies, "--budgets", "40", "--replicates", "2", "--out", str(tmp_path / "r")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    made = json.loads(result.stdout)
    stages = [(row["stage"].partition(":")[0], row["times"]) for row in made["stages"]]
    # The redrawn source model of replicate 0 is the shared one, so one more is trained for the two replicates.
    assert stages == [("source model", 1), ("source model", 1), ("teacher", 4), ("teacher", 2), ("reading", 1)]
    assert all(row["seconds_each"] > 0 for row in made["stages"])
    cells = sum(row["cells"] * row["seconds_each"] for row in made["rows"])
    before = sum(row["times"] * row["seconds_each"] for row in made["stages"])
    assert made["seconds"] == pytest.approx(cells + before, abs=0.1)


def test_every_phase_counts_and_only_a_frozen_published_trunk_is_cached(
    zoo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_step_seconds", lambda *given: 1.0)
    monkeypatch.setattr(timing, "_prediction_seconds", lambda *given: 0.0)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    source = "intermediate(source=toy-names,budget=20)"
    arguments = ["plan", "--plugin", str(TOYS), "--tasks", "toy-topic", "--models", str(zoo("encoder")), "--json",
                 "--strategies", f"finetune,feature-extraction,lp-ft,{source}+feature-extraction",
                 "--budgets", "40", "--replicates", "1", "--out", str(tmp_path / "r")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["rows"]
    seconds = {row["condition"].rpartition(" | ")[2]: row["seconds_each"] for row in rows}
    assert seconds["lp-ft"] >= seconds["finetune"] >= 100
    assert seconds["feature-extraction"] < 20
    assert seconds[f"{source}+feature-extraction"] >= 100
