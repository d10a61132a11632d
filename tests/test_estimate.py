"""`tlbench plan` times real steps of each row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tlbench.cli import cli

TOYS = Path(__file__).with_name("toys.py")


def test_plan_estimates_learners_and_neural_rows(
    zoo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert seconds["scratch"] > seconds["finetune"] > 0
    assert not (tmp_path / "r").exists()
