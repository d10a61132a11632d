"""Transfer matrices: sources by targets, and whether predictors agree with what was gained."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tlbench.boards import build, render, transfer
from tlbench.boards.values import Board
from tlbench.errors import UserError
from tlbench.records import Store

Write = Callable[..., Store]
GAINS = {"near": 0.8, "far": 0.62, "odd": 0.5}
TOLD = {"near": 0.9, "far": 0.5, "odd": 0.6}


def learned(source: str, told: dict[str, float]) -> dict[str, Any]:
    stage = {"task": source, "labels": 1200, "stage": source, "shared": True, "seconds": 5.0, "spent": 0.0,
             "predictors": told}
    return {"training": {"optimizer": "adamw", "steps": 200, "stop_reason": "steps", "curve": [], "upstream": [stage]}}


@pytest.fixture
def board(toy: SimpleNamespace, write: Write) -> Board:
    cells = [
        cell
        for task in ("topic", "other")
        for name, quality in GAINS.items()
        for cell in toy.replicates(
            3, f"intermediate(source={name})", quality, task=task,
            extra=learned(name, {"knn": TOLD[name], "overlap": 0.5}),
        )
    ]
    both = [cell for task in ("topic", "other") for cell in toy.replicates(3, "finetune", 0.6, task=task)]
    return build(write(cells, both, toy.replicates(3, "lora", 0.6)))


def test_matrix_has_sources_by_targets_with_verdicts(board: Board) -> None:
    (matrix,) = transfer.matrices(board)
    assert (matrix.family, matrix.sources) == ("intermediate", ("far", "near", "odd"))
    assert matrix.targets == ("other@300", "topic@300")
    best = matrix.entries["near", "topic@300"].delta
    assert best.verdict == "HELPS"
    assert best.baseline == "finetune (mini)"
    text = render(board)
    assert "## Which source helps" in text
    assert "▲" in next(line for line in text.splitlines() if line.startswith("| near "))


def test_agreement_is_kendalls_tau_over_sources(board: Board) -> None:
    (matrix,) = transfer.matrices(board)
    found = matrix.agreements()
    assert found["knn"] == pytest.approx({"topic@300": 1 / 3, "other@300": 1 / 3})  # of three pairs one is swapped
    assert "overlap" not in found  # the same for all sources: it says nothing
    assert "| 5-NN probe |" in render(board).replace("  ", " ")


def test_values_of_predictors_stand_under_the_matrix_as_means_over_replicates(
    toy: SimpleNamespace, write: Write
) -> None:
    told = {"topic": [{"knn": 0.8, "overlap": 0.5}, {"knn": 0.9, "overlap": 0.5}], "other": [{"overlap": 0.25}] * 2}
    cells = [
        toy.Made(f"intermediate(source={source})", r, 0.7, task=task, extra=learned(source, told[task][r]))
        for task in told for source in ("near", "far") for r in range(2)
    ]
    bases = [toy.replicates(2, "finetune", 0.6, task=task) for task in told]
    lines = [line.replace(" ", "") for line in render(build(write(cells, *bases))).splitlines()]
    head = lines.index("|target|source|difference|5-NNprobe|wordoverlap|sourcelabels|")
    assert lines[head - 2].startswith("<details><summary>Predictorsofintermediate(mini)")
    assert lines[head + 7] == "</details>"
    rows = [[*line.split("|")[1:3], *line.split("|")[4:-1]] for line in lines[head + 2 : head + 6]]
    assert rows == [
        ["other@300", "far", "", "0.2500", "1,200"],
        ["other@300", "near", "", "0.2500", "1,200"],
        ["topic@300", "far", "0.8500", "0.5000", "1,200"],
        ["topic@300", "near", "0.8500", "0.5000", "1,200"],
    ]


def test_matrix_without_predictors_has_no_table_of_them(toy: SimpleNamespace, write: Write) -> None:
    names = ("finetune", "hybrid(source=a)", "hybrid(source=b)")
    text = render(build(write(*(toy.replicates(3, name, 0.7) for name in names))))
    assert "What hybrid (mini) adds" in text
    assert "<summary>Predictors" not in text


def test_one_source_or_an_automatic_one_makes_no_matrix(toy: SimpleNamespace, write: Write) -> None:
    names = ("finetune", "intermediate(source=a)", "intermediate(source=auto)")
    cells = [toy.replicates(3, name, 0.7) for name in names]
    assert transfer.matrices(build(write(*cells))) == []
    assert "Which source helps" not in render(build(write(*cells)))


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is optional")
def test_plot_writes_one_heat_map_per_matrix(board: Board, tmp_path: Path) -> None:
    (path,) = transfer.plot(board, tmp_path / "plots")
    assert path.name == "transfer-intermediate-mini.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib_is_one_sentence(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install matplotlib"):
        transfer.plot(board, tmp_path)


def test_compositions_have_a_matrix_of_their_own(toy: SimpleNamespace, write: Write) -> None:
    sources = [f"intermediate(source={name})" for name in GAINS]
    names = ["finetune", "lora", *sources, *(f"{name}+lora" for name in sources)]
    found = transfer.matrices(build(write(*(toy.replicates(3, name, 0.6) for name in names))))
    assert [matrix.family for matrix in found] == ["intermediate", "intermediate on lora"]
    assert all(len(matrix.entries) == 3 for matrix in found)
