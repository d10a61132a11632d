"""A run says so when its corpus is not the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlbench import DataSource, Model, published
from tlbench.corpora.signatures import signatures
from tlbench.data import TaskData
from tlbench.grid import Cell, Condition, StrategyRef, TaskRef
from tlbench.published import FINGERPRINTS, differences, leaks
from tlbench.registry import Registry, load
from tlbench.setups import ModelRef, Setup
from tlbench.task import TextExample


def cell(model: str = "", **identity: str) -> Cell:
    task = TaskRef("api-topic", 1, "text-classification", "accuracy", 500, identity)
    ref = ModelRef(model, "encoder", "bert", "mean", {}) if model else None
    return Cell(Condition(task, ref, StrategyRef("floor", (), False, "none"), Setup(), 300), 0)


def test_differences_are_none_for_the_published_corpus() -> None:
    assert differences([cell(**FINGERPRINTS)]) == []


def test_differences_name_a_corpus_made_of_other_versions_once() -> None:
    found = differences([cell(apidoc="0" * 64), cell(apidoc="0" * 64)])
    assert len(found) == 1
    assert "'apidoc'" in found[0]


def test_differences_ignore_tasks_without_a_corpus() -> None:
    assert differences([cell(files="abc")]) == []


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return a registry with a model that has read one of the two long test texts of `api-topic`."""
    words = [f"word{number}" for number in range(400)]
    known, unknown = " ".join(words[:200]), " ".join(words[200:])
    examples = tuple(TextExample(f"{i}", text, "x") for i, text in enumerate((known, unknown, "too short")))
    monkeypatch.setattr(published, "task_data", lambda *given: TaskData((), (), examples, (), (), {}, {}))
    np.save(tmp_path / "signatures.npy", signatures([known]))
    registry = load()
    registry.models["reader"] = Model("reader", str(tmp_path))
    registry.models["silent"] = Model("silent", str(tmp_path.parent))
    return registry


def test_leaks_count_the_test_texts_that_a_model_has_read(read: Registry) -> None:
    cells = [cell("reader", apidoc="0" * 64), cell("reader", apidoc="0" * 64), cell("silent", apidoc="0" * 64)]
    (found,) = leaks(cells, read, DataSource())
    assert found == ("of the test texts of 'api-topic' 2 can be checked against what 'reader' has read, and 1 of them "
                     "share eight words in a row with it")


def test_leaks_are_not_looked_for_in_the_published_corpus(read: Registry) -> None:
    assert leaks([cell("reader", **FINGERPRINTS), cell("reader", files="abc")], read, DataSource()) == []


def test_damaged_signatures_are_a_sentence(read: Registry, tmp_path: Path) -> None:
    (tmp_path / "signatures.npy").write_bytes(b"no numbers")
    (found,) = leaks([cell("reader", apidoc="0" * 64)], read, DataSource())
    assert "cannot be compared with 'api-topic'" in found
    assert "check signatures.npy" in found
