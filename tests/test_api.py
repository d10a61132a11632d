"""The Python API takes what the command line takes, and is as strict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tlbench
from tlbench import UserError
from tlbench.cli import cli
from tlbench.planning import budget_of

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a data file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLBENCH_CACHE", str(tmp_path / "cache"))
    rows = [f"text number {at} is {'fine' if at % 2 else 'dull'},{1 + at % 2}" for at in range(120)]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["text,stars", *rows, ""]), encoding="utf-8")
    return path


def test_run_takes_a_data_file_and_resumes(reviews: Path) -> None:
    asked: dict[str, Any] = {"data": reviews.name, "label": "stars", "strategies": "floor,linear", "budgets": 50,
                             "replicates": 2}
    before = tlbench.plan("reviews", **asked)
    assert list(before.columns) == ["key", "task", "model", "strategy", "budget", "replicate", "done", "unsupported"]
    assert (len(before), before["done"].sum()) == (4, 0)
    rows = tlbench.run("reviews", **asked).set_index("strategy")
    assert rows.loc["linear", "score.mean"] == 1.0
    assert set(rows["n"]) == {2}
    assert tlbench.plan("reviews", **asked)["done"].all()
    assert not tlbench.plan("reviews", **asked, fresh=True)["done"].any()


@pytest.mark.parametrize(("given", "expected"), [
    ({"strategy": "floor"}, "argument 'strategy' is not known: did you mean 'strategies'"),
    ({"budgets": ["ten"]}, "budgets hold 'ten'"),
    ({"budgets": [1.5]}, "budgets hold 1.5"),
    ({"precision": "fp8"}, "--precision is 'fp8': give auto, fp32, bf16"),
    ({"workers": 0}, "--workers is 0"),
    ({"mirror": "absent"}, "mirror 'absent' is not a folder"),
    ({"data": (), "label": "stars"}, "label would say how to read a data file, but none is given"),
    ({"data": "absent.csv"}, "'absent.csv' does not exist"),
])
def test_run_refuses_what_the_command_line_refuses(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        tlbench.run("reviews", **{"data": "reviews.csv", "label": "stars", "strategies": "floor", **given})
    assert expected in str(caught.value)
    assert not Path("tlbench-run").exists()


@pytest.mark.parametrize(("given", "found"), [(100, [100]), ("100,full", [100, "full"]), (["30", 40], [30, 40])])
def test_budgets_may_be_one_or_several_and_text(given: Any, found: list[Any]) -> None:
    plan = tlbench.plan("reviews", data="reviews.csv", label="stars", strategies="floor", budgets=given, replicates=1)
    assert list(plan["budget"]) == found


def test_budget_is_a_whole_number_or_full() -> None:
    assert [budget_of("full"), budget_of("30"), budget_of(30)] == ["full", 30, 30]
    for wrong in ("", "3.5", True):
        with pytest.raises(UserError, match="give whole numbers or 'full'"):
            budget_of(wrong)


def test_mirror_of_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLBENCH_MIRROR", "nowhere")
    with pytest.raises(UserError, match="mirror 'nowhere' is not a folder"):
        tlbench.plan("reviews", data="reviews.csv", label="stars", strategies="floor")


def test_view_of_a_board_keeps_numbers_and_says_that_it_is_one() -> None:
    folder = ROOT / "results" / "strategies"
    whole = tlbench.board(folder).set_index(["task", "strategy"])
    shown = tlbench.board(folder, tasks="api-topic", strategies="floor,lora").set_index(["task", "strategy"])
    assert sorted(shown.index) == [("api-topic", "floor"), ("api-topic", "lora")]
    assert (shown["score.mean"] == whole.loc[shown.index, "score.mean"]).all()
    assert (shown["delta_best.verdict"].fillna("") == whole.loc[shown.index, "delta_best.verdict"].fillna("")).all()
    said = CliRunner().invoke(cli, ["board", str(folder), "--tasks", "api-topic", "--strategies", "floor,scratch"])
    assert "A view of 2 of 130 rows" in said.output
    assert "no setup with transfer" not in said.output
    assert "not measured" not in said.output


@pytest.mark.parametrize(("shown", "expected"), [
    ({"tasks": "api-topik"}, "task on this board 'api-topik' is not known: did you mean 'api-topic'"),
    ({"strategies": "floor", "models": "tlbench-mini"}, "no row of these tasks, strategies and models together"),
])
def test_view_without_rows_is_refused(shown: dict[str, str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        tlbench.board(ROOT / "results" / "strategies", **shown)
