"""A warm process: what cells share, and what they leave behind."""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch

from tlbench.cells import Shop, run_cell
from tlbench.engine import fit as loop
from tlbench.engine import neural, trained
from tlbench.engine.machine import Machine
from tlbench.engine.place import Place
from tlbench.grid import Cell


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's memory is collected")
@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
@pytest.mark.parametrize("strategy", ["finetune", "lora", "feature-extraction", "multitask(source=toy-names)"])
def test_machine_is_freed_without_a_collection(
    strategy: str, family: str, cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Machine]] = []
    original = neural.train

    def watched(*given: Any, **named: Any) -> Any:
        done = original(*given, **named)
        alive.append(weakref.ref(done.machine))
        return done

    monkeypatch.setattr(neural, "train", watched)
    outcome = run_cell(cell_of("text-classification", family, f"{strategy}+short"), shop)
    assert outcome.facts["status"] in ("ok", "collapsed"), outcome.facts["reason"]
    assert len(alive) == 1
    assert alive[0]() is None


def test_freed_memory_goes_back_to_the_system(place: Place) -> None:
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pytest.skip("this C library cannot")
    process = psutil.Process()
    small = [bytes(50_000) for _ in range(4000)]  # 200 MB in pieces that the C library keeps
    last = bytes(50_000)  # above them all, so that the heap cannot simply shrink
    del small
    held = process.memory_info().rss
    place.release()
    assert process.memory_info().rss < held - 100_000_000
    assert len(last) == 50_000


def test_cells_share_tokens_but_never_across_label_spaces_or_lengths(
    toys: ModuleType, machine_of: Callable[..., Machine]
) -> None:
    form = machine_of("text-classification", "encoder").form
    examples = tuple(toys.examples(toys.KINDS["text-classification"], 8))
    one = trained._encoded(type(form), form.frame, examples)
    again = trained._encoded(type(form), form.frame, tuple(toys.examples(toys.KINDS["text-classification"], 8)))
    assert again is one
    shorter = trained._encoded(type(form), replace(form.frame, max_length=4), examples)
    assert shorter.tokens.lengths.max() <= 4 < one.tokens.lengths.max()
    narrower = trained._encoded(type(form), replace(form.frame, labels=form.frame.labels[:1]), examples)
    assert set(narrower.per_row["labels"]) == {0, -100} != set(one.per_row["labels"])


def test_dropout_is_on_in_every_step_though_evaluations_switch_it_off(
    cell_of: Callable[..., Cell], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    original = loop._Training._backward

    def watched(self: Any, *given: Any, **named: Any) -> Any:
        seen.append(self.machine.training and self.machine.trunk.training)
        return original(self, *given, **named)

    monkeypatch.setattr(loop._Training, "_backward", watched)
    outcome = run_cell(cell_of("text-classification", "encoder", "finetune"), shop)
    assert len(outcome.facts["training"]["curve"]) > 1
    assert len(seen) > 10
    assert all(seen)
