"""Learning curves over budgets."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlbench.boards import build, curves, render
from tlbench.boards.values import Board
from tlbench.errors import UserError
from tlbench.records import Store

Write = Callable[..., Store]


@pytest.fixture
def store(toy: SimpleNamespace, write: Write) -> Store:
    cells = [cell for k, gain in ((100, 0.5), (1000, 0.75), ("full", 0.8)) for strategy, quality in
             (("linear", 0.6), ("finetune", gain)) for cell in toy.replicates(3, strategy, quality, k=k)]
    return write(cells)


def test_curve_has_a_column_per_budget_in_order(store: Store) -> None:
    text = render(build(store))
    assert "## Learning curves" in text
    head = next(line for line in text.splitlines() if line.startswith("| strategy") and " 1000 |" in line)
    assert [cell.strip() for cell in head.split("|")[3:6]] == ["100", "1000", "full"]
    assert "100: -0" in text
    assert "HARMS" in text
    assert "1000: +0" in text


def test_one_budget_is_no_curve(board: Board) -> None:
    assert "Learning curves" not in render(board)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is optional")
def test_plot_writes_one_picture_per_task(store: Store, tmp_path: Path) -> None:
    paths = curves.plot(build(store), tmp_path / "plots")
    assert [path.name for path in paths] == ["curve-topic.png"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib_is_one_sentence(store: Store, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install matplotlib"):
        curves.plot(build(store), tmp_path)
