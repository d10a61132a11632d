"""The benchmarks run, and both of their sides compute the same: teachers and frozen trunks in every step, or once."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlbench.cells import Shop
from tlbench.engine.place import Place
from tlbench.registry import Registry
from tlbench.sources import DataSource

ROOT = Path(__file__).parents[1]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module `benchmarks/stages.py`."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("stages")


@pytest.fixture
def shop(registry: Registry, source: DataSource) -> Shop:
    """Return a shop in full precision."""
    return Shop(registry, source, Place(), "fp32")


def test_teachers_asked_once_teach_as_those_asked_in_every_step(
    stages: Any, zoo: Callable[..., Path], shop: Shop
) -> None:
    made = stages.distilled(str(zoo("encoder")), shop, 1, 2, 40, task="toy-topic", epochs=2.0, min_steps=1)
    (found,) = made.values()
    assert found["same validation predictions"]
    assert found["largest difference of the training loss"] < 1e-5


def test_kept_features_train_heads_as_the_frozen_trunk_does(stages: Any, zoo: Callable[..., Path], shop: Shop) -> None:
    (found,) = stages.frozen(str(zoo("encoder")), shop, 1, 1.0, task="toy-topic").values()
    assert found["same predictions"]
    assert found["largest difference of the training loss"] < 1e-5
