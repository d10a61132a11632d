"""Cells, shops and machines of toy tasks and tiny models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tlbench.cells import Shop
from tlbench.engine.families import Source
from tlbench.engine.machine import Machine, build
from tlbench.engine.place import Place
from tlbench.grid import Cell
from tlbench.kinds import kind_named
from tlbench.model import Model
from tlbench.planning import Plan, Request, make_plan
from tlbench.recipes import default_setup
from tlbench.registry import Registry
from tlbench.setups import Setup
from tlbench.sources import DataSource
from tlbench.stages.store import StageStore

collect_ignore = [] if os.environ.get("TLBENCH_TEST_GPU") else ["test_gpu.py"]
SEEDS = {"init": 1, "head": 2, "adapters": 3, "order": 4, "dropout": 5}


@pytest.fixture(scope="session")
def place() -> Place:
    """Return this process alone."""
    return Place()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Hold torch to one thread: tiny matrices gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture
def shop(registry: Registry, source: DataSource, place: Place) -> Shop:
    """Return a shop in full precision."""
    return Shop(registry, source, place, "fp32")


@pytest.fixture
def plan_of(shop: Shop, toys: ModuleType, zoo: Callable[..., Path]) -> Callable[..., Plan]:
    """Return a function from kind, family and strategy to the plan of one replicate."""

    def plan(kind: str, family: str, strategy: str, **config: Any) -> Plan:
        request = Request((toys.KINDS[kind],), (strategy,), (str(zoo(family, **config)),), replicates=1)
        return make_plan(request, shop.registry, shop.source)

    return plan


@pytest.fixture
def cell_of(plan_of: Callable[..., Plan]) -> Callable[..., Cell]:
    """Return a function from kind, family and strategy to a cell."""

    def cell(kind: str, family: str, strategy: str, **config: Any) -> Cell:
        return plan_of(kind, family, strategy, **config).cells[0]

    return cell


@pytest.fixture
def without_stages(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after whose call nothing that a stage keeps is used any more."""

    def forget() -> None:
        monkeypatch.setattr(StageStore, "holds", lambda *given: False)
        monkeypatch.setattr(StageStore, "get_or_make", lambda store, stage, made_from, make: make())

    return forget


@pytest.fixture
def machine_of(toys: ModuleType, zoo: Callable[..., Path]) -> Callable[..., Machine]:
    """Return a function from kind, family and Setup to a machine that is not trained yet."""

    def machine(kind: str, family: str, setup: Setup | None = None, **config: Any) -> Machine:
        model = Model("tiny", str(zoo(family, **config)))
        architecture = model.architecture(offline=True)
        source = Source(model, architecture, kind == "text-generation", offline=True)
        labels = kind_named(kind).labels(toys.examples(toys.KINDS[kind], 40))
        setup = setup or default_setup(kind, architecture.model_type, 40, architecture.family)
        return build(source, setup, kind, labels, SEEDS)

    return machine
