"""What a GPU must do as a CPU does; collected by `make test-gpu` alone (`conftest.py`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pandas.testing import assert_frame_equal

from tlbench import api
from tlbench.cells import Shop, run_cell
from tlbench.engine import trained
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.grid import Cell
from tlbench.planning import Request
from tlbench.records import Store
from tlbench.registry import Registry
from tlbench.sources import DataSource
from tlbench.workshop import PluginSpec

KINDS = ("text-classification", "text-regression", "token-classification", "question-answering", "text-generation")
COMBINATIONS = [(kind, family) for kind in KINDS for family in ("encoder", "decoder", "encoder-decoder")
                if (kind, family) != ("text-generation", "encoder")]


@pytest.fixture(params=["fp32", "bf16"])
def precise(request: pytest.FixtureRequest, registry: Registry, source: DataSource, place: Place) -> Shop:
    """Return a shop of each precision."""
    return Shop(registry, source, place, request.param)


@pytest.mark.parametrize(("kind", "family"), COMBINATIONS)
def test_scores_are_those_of_a_cpu(
    kind: str, family: str, machine_of: Callable[..., Machine], toys: ModuleType, place: Place
) -> None:
    machine = machine_of(kind, family)
    examples = toys.examples(toys.KINDS[kind], 6)
    machine.form = machine.form.fitted(examples)
    encoded = machine.form.encode(examples)
    scores = []
    for device in (torch.device("cpu"), place.device):
        machine.to(device)
        with torch.no_grad():
            scores.append(machine.form.scores(machine, encoded.batch(range(len(encoded)), device)).cpu())
    real = encoded.tokens.lengths.max() if scores[0].ndim == 3 and kind != "text-generation" else None
    assert scores[0].std() > 0
    torch.testing.assert_close(scores[1][:, :real], scores[0][:, :real], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "family"), COMBINATIONS)
@pytest.mark.parametrize("strategy", ["finetune", "feature-extraction", "lora"])
def test_cell_is_the_same_twice(
    strategy: str, kind: str, family: str, cell_of: Callable[..., Cell], precise: Shop,
    without_stages: Callable[[], None],
) -> None:
    if (strategy, kind, family) == ("feature-extraction", "text-generation", "decoder"):
        pytest.skip("a decoder that generates has no part that could be frozen")
    without_stages()
    cell = cell_of(kind, family, f"{strategy}+short")
    first, second = (run_cell(cell, precise) for _ in range(2))
    assert first.facts["status"] in ("ok", "collapsed"), first.facts["reason"]
    assert first.facts["training"]["curve"] == second.facts["training"]["curve"] != []
    assert first.predictions is not None
    assert second.predictions is not None
    assert_frame_equal(first.predictions, second.predictions, check_exact=True)


def test_record_says_what_computed_it(cell_of: Callable[..., Cell], registry: Registry, source: DataSource) -> None:
    from tlbench.engine.precision import choose

    place = Place()
    assert place.device.type == "cuda"
    shop = Shop(registry, source, place, choose("auto", place.device, source.cache))
    facts = run_cell(cell_of("text-classification", "encoder", "finetune+short"), shop).facts
    name = torch.cuda.get_device_name(0)
    assert facts["numerics"]["device"] == name
    assert facts["environment"]["hardware"] == f"{torch.cuda.device_count()} x {name}"
    assert facts["cost"]["peak_memory_method"] == "torch.cuda.max_memory_allocated"
    assert 2**16 < facts["cost"]["peak_memory_bytes"] < 2**30


def test_full_memory_halves_the_micro_batch(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    forward, fit = Machine.forward, trained.fit
    third = torch.cuda.get_device_properties(0).total_memory // 3

    def hungry(machine: Machine, batch: Any) -> torch.Tensor:
        if len(batch["attention_mask"]) > 2:
            torch.empty(4, third, dtype=torch.uint8, device="cuda")  # more than there is: CUDA itself refuses
        return forward(machine, batch)

    def noted(machine: Any, job: Any, place: Any) -> Any:
        tried.append(job.micro_batch)
        return fit(machine, job, place)

    monkeypatch.setattr(Machine, "forward", hungry)
    monkeypatch.setattr(trained, "fit", noted)
    facts = run_cell(cell_of("text-classification", "encoder", "finetune+short"), shop).facts
    assert facts["status"] in ("ok", "collapsed"), facts["reason"]
    assert tried[-1] == 2 < tried[0]


def test_workers_share_one_gpu(zoo: Callable[..., Path], toys: ModuleType, tmp_path: Path) -> None:
    source = DataSource(cache=tmp_path / "cache", offline=True)
    plugins = PluginSpec(files=(Path(toys.__file__ or ""),))
    shas = []
    for workers in (1, 2):
        request = Request(("toy-topic", "toy-copy"), ("finetune+short", "lora+short"),
                          (str(zoo("encoder-decoder")),), replicates=1)
        folder = tmp_path / f"run-{workers}"
        api.execute(request, api.Options(folder, workers=workers), source, plugins)
        shas.append(sorted((r.key, r.predictions["sha256"]) for r in Store(folder).load() if r.predictions))
    assert len(shas[0]) == 4
    assert shas[0] == shas[1]
