"""Boards on disk: rendered again when records or code change, and those of the repository are up to date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from tlbench.boards import build, cached, render
from tlbench.records import Store

Write = Callable[..., Store]
RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in RESULTS.glob("*/records")))
def test_published_board_is_what_its_records_render_to(name: str) -> None:
    folder = RESULTS / name
    assert (folder / "README.md").read_text(encoding="utf-8") == render(build(Store(folder)))


def test_published_records_hold_no_text_of_the_data() -> None:
    """Answers and generated texts repeat what they were read from; `--no-predictions` leaves them out."""
    paths = sorted(RESULTS.glob("*/records/*.parquet"))
    assert len(paths) > 100
    assert [path.name for path in paths if "prediction" in pq.read_schema(path).names] == []


def test_board_is_rendered_again_only_for_other_records_or_other_code(
    toy: SimpleNamespace, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write(toy.replicates(3, "linear", 0.6))
    first = cached.render_folder(store.folder)
    written = (store.folder / "README.md").stat().st_mtime_ns
    assert cached.render_folder(store.folder) == first
    assert (store.folder / "README.md").stat().st_mtime_ns == written
    monkeypatch.setattr(cached, "_code", lambda: "other")
    assert cached.render_folder(store.folder) == first
    again = (store.folder / "README.md").stat().st_mtime_ns
    assert again > written
    for made in toy.replicates(3, "finetune", 0.8):
        store.write(toy.outcome(made))
    assert "finetune" in cached.render_folder(store.folder)
