"""Toys for every test: a plugin file, tiny models made once per session, and a shop to run cells with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tlbench import registry as plugins
from tlbench.registry import Registry
from tlbench.sources import DataSource

for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "TLBENCH_MIRROR"):
    os.environ.pop(name, None)  # they change what is printed, or where data come from
TOYS = Path(__file__).with_name("toys.py")
if not os.environ.get("TLBENCH_TEST_GPU"):
    # Expected numbers are a CPU's, to the last bit; `make test-gpu` runs what holds on a GPU as well.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_configure(config: pytest.Config) -> None:
    """Let peft's use of a deprecated name of transformers and of sparse matrices pass, as `tlbench.workshop` does."""
    if os.environ.get("TLBENCH_TEST_GPU"):
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("TLBENCH_TEST_GPU is set, but torch sees no GPU")
    config.addinivalue_line("filterwarnings", "ignore:.*is_gradient_checkpointing.*:FutureWarning")
    config.addinivalue_line("filterwarnings", "ignore:Sparse invariant checks are implicitly disabled:UserWarning")


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """Return the module of toy tasks, strategies and models."""
    return sys.modules[type(plugins.load([TOYS]).task("toy-topic")).__module__]


@pytest.fixture
def registry(toys: ModuleType) -> Registry:
    """Return the installed plugins and the toys."""
    return plugins.load([TOYS])


@pytest.fixture(scope="session")
def zoo(toys: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives the folder of a tiny model of a family; each is made once."""
    root = tmp_path_factory.mktemp("zoo")

    def folder(family: str, **config: Any) -> Path:
        parts = [family, *(f"{name}={value}" for name, value in config.items())]
        path = root / "-".join(parts) / f"tiny-{family}"
        return path if path.is_dir() else toys.save(family, path, **config)

    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    """Return a data source with a cache of its own that opens no socket."""
    return DataSource(cache=tmp_path_factory.mktemp("cache"), offline=True)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results folder of a small finished run (floor on a data file); tests copy it before they harm it."""
    from tlbench import api
    from tlbench.planning import Request
    from tlbench.workshop import PluginSpec

    folder = tmp_path_factory.mktemp("finished")
    rows = [f"text number {at} is {'fine' if at % 2 else 'dull'},{'good' if at % 2 else 'bad'}" for at in range(60)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    source = DataSource(cache=folder / "cache", offline=True)
    api.execute(Request(("reviews",), ("floor",), replicates=2), api.Options(folder / "run"), source,
                PluginSpec(data=({"path": folder / "reviews.csv"},)))
    return folder / "run"
