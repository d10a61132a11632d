"""One cell's page."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from tlbench.boards import show
from tlbench.errors import UserError
from tlbench.records import Record, Store

Write = Callable[..., Store]


def record(store: Store, task: str, strategy: str) -> Record:
    return next(r for r in store.load() if (r.task["name"], r.strategy["name"]) == (task, strategy))


def test_show_prints_scores_by_class_losses_confusion_and_samples(grid: Store) -> None:
    page = show.render(grid, record(grid, "topic", "feature-extraction").key[:12])
    for part in ("accuracy (primary)", "## By class", "**macro**", "**micro**", "## Confusion "
                                                                                "matrix", "### Loss",
                 "200 (kept)", "validation ", "## Sample predictions", "peak memory", "Status **ok**"):
        assert part in page


def test_show_prints_entity_types_and_learners_without_a_curve(grid: Store) -> None:
    page = show.render(grid, record(grid, "names", "linear").key)
    assert "| x " in page
    assert "features 1200" in page
    assert "### Loss" not in page


def test_show_prints_why_a_cell_failed(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.Made("finetune", status="failed", reason="MemoryError: too big"))
    page = show.render(store, store.load()[0].key[:6])
    assert "Status **failed**: `MemoryError: too big`" in page
    assert "## Metrics" not in page


def test_show_works_without_kept_predictions(toy: SimpleNamespace, write: Write) -> None:
    store = write(toy.Made("finetune", keep_predictions=False))
    assert "Predictions were not kept" in show.render(store, store.load()[0].key)


def test_an_unknown_key_names_near_ones(grid: Store) -> None:
    with pytest.raises(
        UserError, match=r"no cell begins with 'zz' in .*: give the first digits of one key, for"
    ):
        show.render(grid, "zz")


def test_an_ambiguous_key_names_its_cells(grid: Store) -> None:
    keys = sorted({r.key for r in grid.load()})
    digit = next(d for d in "0123456789abcdef" if sum(key.startswith(d) for key in keys) > 1)
    with pytest.raises(UserError, match=r"several cells \(\d+\) begin with"):
        show.render(grid, digit)


def test_an_empty_folder_is_one_sentence(write: Write) -> None:
    with pytest.raises(UserError, match="has no records"):
        show.render(write(), "ab")
